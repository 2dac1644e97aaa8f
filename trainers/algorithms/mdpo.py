"""MDPO: mirror descent policy optimisation, on-policy (arXiv 2005.09814).

    L    = mean over the response tokens n of  -A r  +  (1 / t_k) K(r),   r = exp(log p(n) - log p_old(n))
    K    = r log r - r + 1  (nonnegative), or  r log r  (plain);  both have the mean KL(policy || old policy)
    1/t  = coef (constant),  or  coef / max(1 - k / num_steps, floor)  in step k  (linear)

Not one of the methods for preferences that share the name. The step is found by several updates from where the policy
stood when it sampled: in the first of them the gradient of K is 0 (nonnegative), so that at least two updates a
rollout are needed, `trainer: {epochs: 4}`. From the released code (manantomar/Mirror-Descent-Policy-Optimization,
c9bd3ba), read, which has Gaussian policies and their divergence in closed form; the token form is derived. As released
nothing is clipped, the advantage is standardised, and the coefficient grows hyperbolically from 1 (linear). What is in
the paper about language models: nothing; 4 to 8 updates and a constant 1 are our start. The off-policy form needs a
critic of actions; for stale data take `parts: {surrogate: dro}`, the mirror step with a quadratic distance.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.step_view import StepView, Term

Estimator = Literal["nonnegative", "plain"]


@dataclass(frozen=True, kw_only=True)
class MDPOConfig:
    coef: float = 1.0
    """1 / t: weight of the distance from the old policy; in the first step, where a schedule changes it."""
    schedule: Literal["constant", "linear"] = "constant"
    """linear: t falls to 0 over the run, so that the weight grows hyperbolically, as released."""
    floor: float = 1e-2
    """t does not fall below this share of where it began."""
    estimator: Estimator = "nonnegative"
    """nonnegative: r log r - r + 1. plain: r log r, which has a gradient in the first update too."""

    def __post_init__(self) -> None:
        require(self.coef >= 0, f"coef is {self.coef}; it must not be negative")
        require(0 < self.floor <= 1, f"floor is {self.floor}; it must be above 0 and at most 1")


def distance_from_old(logp: Tensor, old: Tensor, estimator: Estimator) -> tuple[Tensor, Tensor]:
    """r and K(r) of each token; log r is clamped to [-20, 20], and r log r is 0 where r is.

    logp: [N] log-probs, with gradient.   old: [N].   Returns [N], [N].
    """
    log_ratio = (logp - old).clamp(-20, 20)
    ratio = log_ratio.exp()
    distance = ratio * log_ratio
    return ratio, distance - ratio + 1 if estimator == "nonnegative" else distance


def proximal_weight(step: int, num_steps: int, config: MDPOConfig) -> float:
    """1 / t_k.   step: steps of the run that are done."""
    if config.schedule == "constant":
        return config.coef
    return config.coef / max(1 - step / max(num_steps, 1), config.floor)


def _mdpo(view: StepView, config: MDPOConfig, state: None) -> list[Term]:
    assert view.current is not None and view.old is not None and view.advantage is not None
    ratio, distance = distance_from_old(view.current, view.old.detach(), config.estimator)
    weight = proximal_weight(view.step, view.num_steps, config)
    return [Term(-view.advantage.detach() * ratio), Term(distance, weight=weight)]


def _metrics(view: StepView, config: MDPOConfig, state: None) -> dict[str, float]:
    assert view.current is not None and view.old is not None
    with torch.no_grad():
        ratio, distance = distance_from_old(view.current, view.old, "nonnegative")
    own, num = ratio[view.trained], max(int(view.trained.sum()), 1)
    return {
        "mdpo/weight": proximal_weight(view.step, view.num_steps, config),
        "mdpo/kl_from_old": float(distance[view.trained].sum()) / num,
        "mdpo/ratio_min": float(own.min()) if len(own) else 1.0,
        "mdpo/ratio_max": float(own.max()) if len(own) else 1.0,
    }


MDPO_SURROGATE = Part(
    name="mdpo",
    kind="surrogate",
    bind=_mdpo,
    config=MDPOConfig,
    needs=("old", "advantage"),
    metrics=_metrics,
)
"""MDPO's: an unclipped ratio and the distance from the old policy that the mirror step pays for."""
MDPO = Algorithm(
    name="mdpo",
    citation="M. Tomar, L. Shani, Y. Efroni, M. Ghavamzadeh: Mirror descent policy optimization. arXiv 2005.09814.",
    returns="outcome",
    advantage="group-norm",
    surrogate=MDPO_SURROGATE,
    aggregate="token-mean",
)
