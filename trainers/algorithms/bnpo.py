"""BNPO: beta normalisation policy optimisation (arXiv 2506.02864).

    s    = (R - low) / (high - low)                                  p_g = mean of s over the group
    M, V = mean and unbiased variance of p over the groups           c = M (1 - M) / V - 1
    alpha = max(1, 1 + c M / 3)        beta = max(1, 1 + c (1 - M) / 3)
    w_g  = min(1 / f(p_g; alpha, beta), cap)                         f: density of the Beta distribution
    A    = w_g * (s - p_g)

The normaliser follows how hard the batch's tasks are: with alpha = beta = 1 this is REINFORCE with the group's mean as
its baseline, with 3/2 GRPO (population deviation) times pi / 8. Where the score has components, each can be normalised
on its own and averaged: `parts: {advantage: decomposed}`, `settings: {decomposed: {estimator: beta-norm}}`.

The paper's text was not at hand: steps follow the released code (changyi7231/BNPO, a9c51b9), which was read and run;
the special cases are from summaries. Ours: where V is undefined or 0 (the released code gives nan or raises),
alpha = beta = 1; a group of one is in neither M nor V (released, and with `trainer.singleton: raw`: its p is 0). TRL's
`loss_type="bnpo"` is another thing, a mean over tokens.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from agentrl.errors import ConfigError
from agentrl.segments import count_by, mean_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.advantages import Singleton, members_of_groups
from agentrl.trainers.parts.gates import groups_that_differ
from agentrl.trainers.step_view import StepView


@dataclass(frozen=True, kw_only=True)
class BetaNormConfig:
    low: float = 0.0
    """Smallest return that can be."""
    high: float = 1.0
    """Largest return that can be."""
    cap: float = 1e6
    """No weight is larger; lower it where returns are graded. 1e6 as released."""

    def __post_init__(self) -> None:
        require(self.low < self.high, f"low is {self.low}; it must be below high, {self.high}")
        require(self.cap > 0, f"cap is {self.cap}; it must be above 0")


def beta_parameters(p: Tensor) -> tuple[float, float]:
    """alpha and beta, from the groups' mean returns.   p: [G] float, of the groups that count."""
    if len(p) < 2 or bool((p == p[0]).all()):
        return 1.0, 1.0
    mean, variance = float(p.mean()), float(p.var())
    c = mean * (1 - mean) / variance - 1
    return max(1.0, 1 + c * mean / 3), max(1.0, 1 + c * (1 - mean) / 3)


def inverse_density(p: Tensor, alpha: float, beta: float, cap: float) -> Tensor:
    """w = min(1 / f(p; alpha, beta), cap), with 0 * log 0 = 0.   p: [G] in [0, 1].   Returns [G]."""
    constant = math.lgamma(alpha + beta) - math.lgamma(alpha) - math.lgamma(beta)
    log_density = constant + torch.special.xlogy(alpha - 1, p) + torch.special.xlogy(beta - 1, 1 - p)
    return (-log_density).clamp(max=math.log(cap)).exp()


def beta_norm(
    share: Tensor, group: Tensor, counted: Tensor, num_groups: int, cap: float = 1e6, singleton: Singleton = "zero"
) -> Tensor:
    """A = w_g * (s - p_g).

    share: [K] float, s in [0, 1].   group: [K] int.   counted: [K] bool.   Returns [K]; 0: not counted, or all equal.
    """
    s, g = share[counted], group[counted]
    count, p = count_by(g, num_groups), mean_by(s, g, num_groups)
    signal = groups_that_differ(share, group, counted, num_groups)
    in_moments = count > 1
    if singleton == "raw":
        p, signal, in_moments = p.masked_fill(count == 1, 0.0), signal | (count == 1), count > 0
    alpha, beta = beta_parameters(p[in_moments])
    weight = inverse_density(p.clamp(0, 1), alpha, beta, cap)
    advantage = torch.where(signal[g], weight[g] * (s - p[g]), torch.zeros_like(s))
    return torch.zeros_like(share).masked_scatter(counted, advantage)


def _shares(view: StepView, config: BetaNormConfig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    value, group, counted, member_of_token = members_of_groups(view, "trajectory")
    share = (value - config.low) / (config.high - config.low)
    outside = share[counted & ((share < -1e-9) | (share > 1 + 1e-9))]
    if len(outside):
        found = float(outside[0]) * (config.high - config.low) + config.low
        raise ConfigError(
            f"beta-norm met a return of {found:g}, outside of {config.low:g} to {config.high:g}; set the range with "
            "settings.beta-norm.low and high"
        )
    return share, group, counted, member_of_token


def _beta_norm(view: StepView, config: BetaNormConfig, state: None) -> Tensor:
    share, group, counted, member_of_token = _shares(view, config)
    return beta_norm(share, group, counted, view.num_groups, config.cap, view.singleton)[member_of_token]


def _metrics(view: StepView, config: BetaNormConfig, state: None) -> dict[str, float]:
    """Of the groups at hand; `view` may be a minibatch."""
    share, group, counted, _ = _shares(view, config)
    p = mean_by(share[counted], group[counted], view.num_groups)[count_by(group[counted], view.num_groups) > 1]
    alpha, beta = beta_parameters(p)
    solved = float(((p == 0) | (p == 1)).sum()) / max(len(p), 1)
    return {"bnpo/alpha": alpha, "bnpo/beta": beta, "bnpo/decided_groups": solved}


BETA_NORM = Part(name="beta-norm", kind="advantage", bind=_beta_norm, config=BetaNormConfig, metrics=_metrics)
"""BNPO's: return against the group's mean, by the density of a Beta distribution fitted to the batch's groups."""
BNPO = Algorithm(
    name="bnpo",
    citation="C. Xiao et al.: BNPO: beta normalization policy optimization. arXiv 2506.02864.",
    returns="outcome",
    advantage=BETA_NORM,
    surrogate="ppo-clip",
    aggregate="token-sum",
    settings={
        "ppo-clip": {"clip_low": 0.2, "clip_high": 0.28, "dual_clip": 10.0},
        "token-sum": {"mean_over": "trajectory"},
    },
)
