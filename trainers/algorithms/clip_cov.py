"""Clip-Cov: tokens whose covariance drives the entropy down lose their gradient (arXiv 2505.22617).

    L     = mean over the response tokens n of  0 if n is in S, else max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high))
    S     = min(max(int(share * N), 1), number of candidates) tokens, drawn at random among the candidates
    cand. = tokens with  low < cov_n < high  that the clip did not take already
    cov_n = (A_n - mean A) * (log p(n) - mean log p)

Formulas from the released code (PRIME-RL/Entropy-Mechanism-of-RL, 8850579) and verl's `compute_policy_loss_clip_cov`,
which was read and run. The masked tokens stay in the denominator. Means are over the whole batch of an update, not
over a micro-batch as released; the draw is keyed by the run's seed, the step and the token. The ranges of cov are in
units of a standardised advantage; with other advantages they select nothing or everything, so that they can be
quantiles instead (ours). No dual clip; clip_low and clip_high are 1 in the authors' recipes, which have no KL.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.chance import largest, token_chance
from agentrl.trainers.parts.covariance import covariance_metrics, token_covariance
from agentrl.trainers.parts.surrogates import ppo_clip
from agentrl.trainers.step_view import StepView, Term


@dataclass(frozen=True, kw_only=True)
class ClipCovConfig:
    clip_low: float = 1.0
    """The ratio is held above 1 - clip_low; 1 is no bound, as in the authors' recipes."""
    clip_high: float = 1.0
    """The ratio is held below 1 + clip_high."""
    share: float = 2e-4
    """Share of the tokens that lose their gradient, at least one token; 2e-4 as in the authors' recipes."""
    low: float = 1.0
    """A candidate's covariance is above this."""
    high: float = 5.0
    """A candidate's covariance is below this."""
    bounds: Literal["covariance", "quantile"] = "covariance"
    """Whether low and high are covariances (released), or shares of the tokens in order of their covariance (ours)."""

    def __post_init__(self) -> None:
        require(0 <= self.clip_low <= 1, f"clip_low is {self.clip_low}; it must be from 0 to 1")
        require(self.clip_high >= 0, f"clip_high is {self.clip_high}; it must not be negative")
        require(0 <= self.share <= 1, f"share is {self.share}; it must be from 0 to 1")
        require(self.low <= self.high, f"low is {self.low}; it must not be above high, {self.high}")
        quantiles = self.bounds == "covariance" or (self.low >= 0 and self.high <= 1)
        require(quantiles, f"low is {self.low} and high is {self.high}; quantiles are from 0 to 1")


def candidates(covariance: Tensor, free: Tensor, config: ClipCovConfig) -> Tensor:
    """Free tokens whose covariance is inside the bounds.   covariance: [N].   free: [N] bool.   Returns [N] bool."""
    low, high = config.low, config.high
    if config.bounds == "quantile" and bool(free.any()):
        ordered = covariance[free].sort().values
        low, high = (float(ordered[int(q * (len(ordered) - 1))]) for q in (low, high))
        return free & (covariance >= low) & (covariance <= high)
    return free & (covariance > low) & (covariance < high)


def masked_by_covariance(candidate: Tensor, num_tokens: int, share: float, chance: Tensor) -> Tensor:
    """min(max(int(share * N), 1), candidates) of the candidates: those with the largest chance.

    candidate: [N] bool.   chance: [N] in [0, 1).   Returns [N] bool.
    """
    return largest(torch.zeros_like(chance), candidate, max(int(share * num_tokens), 1), chance)


def _parts_of(view: StepView, config: ClipCovConfig) -> tuple[Tensor, Tensor, Tensor]:
    """[N] loss before the mask, [N] covariance, [N] bool the masked ones."""
    assert view.current is not None and view.old is not None and view.advantage is not None
    advantage = view.advantage.detach()
    clip = ppo_clip(view.current, view.old.detach(), advantage, config.clip_low, config.clip_high, 0.0)
    covariance = token_covariance(view.current, advantage, view.trained)
    candidate = candidates(covariance, view.trained & ~clip.clipped, config)
    masked = masked_by_covariance(candidate, int(view.trained.sum()), config.share, token_chance(view, "clip-cov"))
    return clip.loss, covariance, masked


def _clip_cov(view: StepView, config: ClipCovConfig, state: None) -> Term:
    loss, _, masked = _parts_of(view, config)
    return Term(loss.masked_fill(masked, 0.0))


def _metrics(view: StepView, config: ClipCovConfig, state: None) -> dict[str, float]:
    with torch.no_grad():
        _, covariance, masked = _parts_of(view, config)
    return covariance_metrics(view, covariance, masked)


CLIP_COV_SURROGATE = Part(
    name="clip-cov",
    kind="surrogate",
    bind=_clip_cov,
    config=ClipCovConfig,
    needs=("old", "advantage"),
    couples="batch",
    metrics=_metrics,
)
"""Clip-Cov's: a random few of the tokens with a high covariance lose their gradient."""
CLIP_COV = Algorithm(
    name="clip-cov",
    citation=(
        "G. Cui et al.: The entropy mechanism of reinforcement learning for reasoning language models. "
        "arXiv 2505.22617."
    ),
    returns="outcome",
    advantage="group-norm",
    surrogate=CLIP_COV_SURROGATE,
    aggregate="token-mean",
)
