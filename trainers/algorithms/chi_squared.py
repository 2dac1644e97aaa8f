"""Correlated proxies: a chi-squared regulariser over trajectories (arXiv 2403.03185).

    L    = L_policy + coef * sqrt(max(X, 1e-4))
    X    = mean over the trajectories j of  e(L_j) + e(-L_j),   an estimate of chi^2(policy || reference)
    L_j  = sum over the response tokens of j of  log p(n) - log p_reference(n)
    e(x) = exp(x) - 1 up to x = clip, from there on its tangent:  exp(clip) * (1 + x - clip) - 1

Formulas from the released code for language models (cassidylaidlaw/llm_optimization, ff5c7bb), which was read and run;
the paper's method, called ORPO there (occupancy-regularised, not the odds ratio), was read in summaries. What the world
does cancels in L_j, so that an agent's trajectory takes all of its response tokens (derived). e(-L) is a control
variate; samples are of the old policy and are not reweighted, as released. The gradient is that of the whole batch's
X: w / (2 sqrt X) * (e'(L_j) - e'(-L_j)) / J. The released trainer also takes a KL off the rewards with the same
weight; here there is one regulariser. The theory's weight is std of the proxy * sqrt(1 - r^2), r its correlation with
the true reward, under the reference; 8e-4 is that of the released runs. Long episodes saturate `clip`: `per_token`
(ours) takes the mean over tokens for L_j. The form with a discriminator, for other policies, is not built.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.segments import count_by, sum_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.step_view import StepView, Term


@dataclass(frozen=True, kw_only=True)
class ChiSquaredConfig:
    coef: float = 8e-4
    """Weight of the term; 0 leaves it out, and the reference model with it. 8e-4 as in the released runs."""
    statistic: Literal["sqrt-chi-squared", "chi-squared", "kl"] = "sqrt-chi-squared"
    """What is held down; kl is mean(L + e(-L)) of the same samples, and chi-squared without the root is explosive."""
    clip: float = 10.0
    """Above this log-ratio the exponential goes on as its tangent; 10 as released."""
    per_token: bool = False
    """L_j is the mean over its tokens, not the sum; ours, for long episodes."""

    def __post_init__(self) -> None:
        require(self.coef >= 0, f"coef is {self.coef}; it must not be negative")
        require(self.clip > 0, f"clip is {self.clip}; it must be above 0")


def tangent_expm1(x: Tensor, clip: float) -> Tensor:
    """exp(x) - 1 for x <= clip, else exp(clip) * (1 + x - clip) - 1.   x: [K], with gradient.   Returns [K]."""
    beyond = math.exp(clip) * (1 + x - clip) - 1
    return torch.where(x <= clip, torch.expm1(x.clamp(max=clip)), beyond)


def chi_squared(log_ratio: Tensor, clip: float) -> Tensor:
    """e(L) + e(-L) of each trajectory; without the tangent, 2 cosh(L) - 2.   log_ratio: [J].   Returns [J]."""
    return tangent_expm1(log_ratio, clip) + tangent_expm1(-log_ratio, clip)


def kl_of_trajectories(log_ratio: Tensor, clip: float) -> Tensor:
    """L + e(-L) of each trajectory, never negative.   log_ratio: [J].   Returns [J]."""
    return log_ratio + tangent_expm1(-log_ratio, clip)


def root_of_mean(value: Tensor, filled: Tensor, floor: float = 1e-4) -> Tensor:
    """Values whose mean over `filled` is sqrt(max(m, floor)), m the mean of `value`, with that root's gradient.

    value: [J], with gradient.   filled: [J] bool, what counts.   Returns [J]; below the floor without a gradient.
    """
    mean = float(value.detach()[filled].sum()) / max(int(filled.sum()), 1)
    if mean < floor:
        return torch.full_like(value, math.sqrt(floor))
    root = math.sqrt(mean)
    return value / (2 * root) + root / 2


def log_ratio_of_trajectories(view: StepView, per_token: bool) -> tuple[Tensor, Tensor]:
    """L_j [J], and [J] bool whether a trajectory has a token that carries loss."""
    assert view.current is not None and view.reference is not None
    trajectory = view.trajectory_of_token[view.trained]
    total = sum_by((view.current - view.reference.detach())[view.trained], trajectory, view.num_trajectories)
    count = count_by(trajectory, view.num_trajectories)
    return (total / count.clamp(min=1) if per_token else total), count > 0


def _chi_squared(view: StepView, config: ChiSquaredConfig, state: None) -> Term:
    log_ratio, filled = log_ratio_of_trajectories(view, config.per_token)
    if config.statistic == "kl":
        values = kl_of_trajectories(log_ratio, config.clip)
    else:
        values = chi_squared(log_ratio, config.clip)
    if config.statistic == "sqrt-chi-squared":
        values = root_of_mean(values, filled)
    return Term(values, "trajectory", config.coef, aggregate="trajectory-mean")


def _metrics(view: StepView, config: ChiSquaredConfig, state: None) -> dict[str, float]:
    with torch.no_grad():
        log_ratio, filled = log_ratio_of_trajectories(view, config.per_token)
    own = log_ratio[filled]
    num = max(len(own), 1)
    mean = float(chi_squared(own, config.clip).sum()) / num
    return {
        "chi_squared/chi2": mean,
        "chi_squared/root": math.sqrt(max(mean, 0.0)),
        "chi_squared/kl": float(kl_of_trajectories(own, config.clip).sum()) / num,
        "chi_squared/clipped_above": float((own > config.clip).sum()) / num,
        "chi_squared/clipped_below": float((own < -config.clip).sum()) / num,
    }


CHI_SQUARED_TERM = Part(
    name="chi-squared",
    kind="regulariser",
    bind=_chi_squared,
    config=ChiSquaredConfig,
    needs=("reference",),
    couples="batch",
    active=lambda config: config.coef > 0,
    metrics=_metrics,
)
"""Holds the chi-squared divergence of whole trajectories from the reference model down."""
CHI_SQUARED = Algorithm(
    name="chi-squared",
    citation=(
        "C. Laidlaw, S. Singhal, A. Dragan: Correlated proxies: a new definition and improved mitigation for reward "
        "hacking. arXiv 2403.03185."
    ),
    returns="outcome",
    advantage="group-norm",
    surrogate="ppo-clip",
    regularisers=(CHI_SQUARED_TERM,),
    aggregate="token-mean",
    settings={"ppo-clip": {"clip_low": 0.4, "clip_high": 0.4, "dual_clip": 0.0}},  # the released runs' range
)
