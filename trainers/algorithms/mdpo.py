"""MDPO: mirror descent policy optimisation, on-policy and off-policy (arXiv 2005.09814).

    L    = mean over the response tokens n of  -A r  +  (1 / t_k) K(r),   r = exp(log p(n) - log p_old(n))
    K    = r log r - r + 1  (nonnegative), or  r log r  (plain);  both have the mean KL(policy || old policy)
    1/t  = coef (constant),  or  coef / max(1 - k / num_steps, floor)  in step k  (linear)

    off-policy:   L = mean over the tokens n of this step's and of stored rollouts of
                      w (-(A - lambda log p_old(n)) r  +  (1 / t_k) K(r)),   w = min(p_old(n) / p_sampled(n), cap)

Not one of the methods for preferences that share the name. The step is found by several updates from where the policy
stood when it sampled: in the first of them the gradient of K is 0 (nonnegative), so that at least two updates a
rollout are needed, `trainer: {epochs: 4}`. From the released code (manantomar/Mirror-Descent-Policy-Optimization,
c9bd3ba), read, which has Gaussian policies and their divergence in closed form; the token form is derived. As released
nothing is clipped, the advantage is standardised, and the coefficient grows hyperbolically from 1 (linear). What is in
the paper about language models: nothing; 4 to 8 updates and a constant 1 are our start.

Off-policy, states come from a buffer (`past-rollouts`), as they were met. Released, actions for them are drawn anew
from the policy, and the loss is the mean of c log p + (lambda - c) log p_old - Q, with c = 1 / t_k and lambda .2; where
c = lambda it is SAC's. Here the stored token stands for the drawn one, weighed by w r = p / p_sampled: without the cap,
its mean over what sampled is that loss at Q = A (derived; exactly with `estimator: plain`), and of this step's rollouts
it is the on-policy form. The paper learns Q by twin critics with slow targets; here A is the return of the stored
episode against its group (ours), and lambda, `entropy_coef`, is 0. Nearest to the paper is the one-step credit of a
critic that is read anew: `parts: {returns: last-turn-outcome, advantage: gae, value_loss: value-clip}`, with `settings:
{gae: {lam: 0}}`. The mirror step with a quadratic distance is `parts: {surrogate: dro}`.

On logged data (`data`) p_sampled is what the episodes were played with. So they have to be a run's, by a model of the
same tokenizer, memory and format; what others wrote has no such number, and is refused: without it w is not known. The
buffer can be left out then, `parts: {rewrites: []}`.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.modifiers import engine_weight
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


@dataclass(frozen=True, kw_only=True)
class MDPOOffPolicyConfig(MDPOConfig):
    cap: float = 2.0
    """The weight p_old / p_sampled of a token is cut off here, as engine-correction's is; ours."""
    entropy_coef: float = 0.0
    """lambda: the advantage falls by this times log p_old, so that the unlikely gains; .2 as released, for actions of
    robots."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.cap > 0, f"cap is {self.cap}; it must be above 0")
        require(self.entropy_coef >= 0, f"entropy_coef is {self.entropy_coef}; it must not be negative")


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


def _off_policy(view: StepView, config: MDPOOffPolicyConfig, state: None) -> list[Term]:
    assert view.old is not None and view.sampled is not None and view.advantage is not None
    old = view.old.detach()
    soft = view.with_fields(advantage=view.advantage.detach() - config.entropy_coef * old)
    weight = engine_weight(old, view.sampled, config.cap)
    return [Term(weight * term.values, weight=term.weight) for term in _mdpo(soft, config, None)]


def _off_policy_metrics(view: StepView, config: MDPOOffPolicyConfig, state: None) -> dict[str, float]:
    assert view.old is not None and view.sampled is not None
    weight, num = engine_weight(view.old, view.sampled, config.cap)[view.trained], max(int(view.trained.sum()), 1)
    return _metrics(view, config, state) | {
        "mdpo/age_weight": float(weight.sum()) / num,
        "mdpo/capped_share": float((weight == config.cap).sum()) / num,
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
MDPO_OFF_POLICY_SURROGATE = Part(
    name="mdpo-off-policy",
    kind="surrogate",
    bind=_off_policy,
    config=MDPOOffPolicyConfig,
    needs=("old", "sampled", "advantage"),
    metrics=_off_policy_metrics,
)
"""MDPO's on stored rollouts: weighed by how much likelier the old policy finds a token than the one that sampled it."""
MDPO_OFF_POLICY = Algorithm(
    name="mdpo-off-policy",
    citation=MDPO.citation,
    rewrites=("past-rollouts",),
    returns="outcome",
    advantage="group-norm",
    surrogate=MDPO_OFF_POLICY_SURROGATE,
    aggregate="token-mean",
    learns_from="both",
)
