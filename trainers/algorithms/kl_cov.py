"""KL-Cov: tokens whose covariance drives the entropy down are held near the old policy (arXiv 2505.22617).

    L     = mean over the response tokens n of  -A r  +  coef * |log p(n) - log p_old(n)| if n is in S
    S     = the max(1, int(share * N)) tokens with the largest cov_n
    cov_n = (A_n - mean A) * (log p(n) - mean log p)

Formulas from the released code (PRIME-RL/Entropy-Mechanism-of-RL, 8850579) and verl's `compute_policy_loss_kl_cov`,
which was read and run. There is no clip anywhere. The paper speaks of a KL penalty; the code has |log r|. The authors
give the share in percent (0.2 for 7B, which is 2e-3 here, 0.02 for 32B, which is verl's default). Means are over the
whole batch of an update, not over a micro-batch as released; ties are broken by chance.

In the first update after a rollout log r is 0, and so is the gradient of its size: then this is REINFORCE with a
ratio. It acts from the second update on: `trainer: {minibatches: 4}`, or epochs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.chance import largest, token_chance
from agentrl.trainers.parts.covariance import covariance_metrics, token_covariance
from agentrl.trainers.step_view import StepView, Term


@dataclass(frozen=True, kw_only=True)
class KLCovConfig:
    share: float = 2e-3
    """Share of the tokens that are held, at least one; 2e-3 as in the authors' 7B runs, 2e-4 in those with 32B."""
    coef: float = 1.0
    """Weight of |log r| on those tokens; 1 as in the authors' runs."""

    def __post_init__(self) -> None:
        require(0 <= self.share <= 1, f"share is {self.share}; it must be from 0 to 1")
        require(self.coef >= 0, f"coef is {self.coef}; it must not be negative")


def held_by_covariance(covariance: Tensor, counted: Tensor, share: float, chance: Tensor) -> Tensor:
    """The max(1, int(share * N)) counted tokens with the largest covariance.

    covariance: [N].   counted: [N] bool.   chance: [N] in [0, 1), breaks ties.   Returns [N] bool.
    """
    return largest(covariance, counted, max(1, int(share * int(counted.sum()))), chance)


def _held(view: StepView, config: KLCovConfig) -> tuple[Tensor, Tensor]:
    """[N] covariance, [N] bool the held tokens."""
    assert view.current is not None and view.advantage is not None
    covariance = token_covariance(view.current, view.advantage, view.trained)
    return covariance, held_by_covariance(covariance, view.trained, config.share, token_chance(view, "kl-cov"))


def _kl_cov(view: StepView, config: KLCovConfig, state: None) -> Term:
    assert view.current is not None and view.old is not None
    _, held = _held(view, config)
    size = (view.current - view.old.detach()).abs()
    return Term(torch.where(held, size, torch.zeros_like(size)), weight=config.coef)


def _metrics(view: StepView, config: KLCovConfig, state: None) -> dict[str, float]:
    return covariance_metrics(view, *_held(view, config))


KL_COV_TERM = Part(
    name="kl-cov",
    kind="regulariser",
    bind=_kl_cov,
    config=KLCovConfig,
    needs=("old", "advantage"),
    couples="batch",
    active=lambda config: config.coef > 0,
    metrics=_metrics,
)
"""KL-Cov's: the tokens with the highest covariance are held near the old policy."""
KL_COV = Algorithm(
    name="kl-cov",
    citation=(
        "G. Cui et al.: The entropy mechanism of reinforcement learning for reasoning language models. "
        "arXiv 2505.22617."
    ),
    returns="outcome",
    advantage="group-norm",
    surrogate="ratio",
    regularisers=(KL_COV_TERM,),
    aggregate="token-mean",
)
