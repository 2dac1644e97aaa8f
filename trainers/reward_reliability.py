"""How far a proxy can be trusted, filter by filter: PF-PPO's R^2 criterion on any run that a reward model paid.

    from agentrl.foreign import read_episodes
    from agentrl.trainers.reward_reliability import reliability
    for row in reliability(read_episodes("runs/guess-grpo-0")): ...

Responses of a task in a step are a group; each has the proxy's score and the world's own (`Outcome.components`). The
filter to choose is the one of highest R^2 at several stages of the policy (arXiv 2409.06957, section 4).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agentrl.errors import DataError
from agentrl.trainers.algorithms.pf_ppo import PFPPOConfig, Strategy, bin_means, kept_of_group, r_squared
from agentrl.types import ENDS, Trajectory

FILTERS: tuple[Strategy, ...] = ("best-worst", "best-random", "best")


@dataclass(frozen=True)
class Reliability:
    """Of one filter."""

    filter: str
    """Its name, or `all` for none."""
    points: int
    """Responses that it keeps."""
    pointwise: float | None
    """R^2 over them; None where either score is constant."""
    binned: float | None
    """R^2 over bins of equal number, by the proxy's score, which the order of filters depends on."""


def reliability(
    trajectories: Sequence[Trajectory], *, keep: int = 2, num_bins: int = 10, seed: int = 0
) -> list[Reliability]:
    """R^2 of the world's score with the proxy's, of all responses and of what each filter keeps.

    keep: responses of a group; of the filter `best` one.   seed: of best-random's choice, and of ties.
    Raises DataError where the episodes do not have both scores: their reward was no reward model and no judge.
    """
    scored = [t for t in trajectories if {"proxy", "world"} <= set(t.outcome.components)]
    if not scored:
        raise DataError("none of the episodes has a proxy's score beside the world's; train with --reward model:FOLDER")
    groups: dict[str, list[Trajectory]] = {}
    for trajectory in scored:
        if not ENDS[trajectory.ended].infrastructure:
            groups.setdefault(trajectory.group, []).append(trajectory)
    chance = torch.Generator().manual_seed(seed)
    proxies = [_scores(group, "proxy") for group in groups.values()]
    worlds = [_scores(group, "world") for group in groups.values()]
    draws = [torch.rand(len(group), generator=chance) for group in proxies]
    found = [_row("all", torch.cat(proxies), torch.cat(worlds), num_bins)]
    for name in FILTERS:
        config = PFPPOConfig(strategy=name, keep=1 if name == "best" else keep)
        kept = torch.cat([kept_of_group(own, draw, config) for own, draw in zip(proxies, draws, strict=True)])
        found.append(_row(name, torch.cat(proxies)[kept], torch.cat(worlds)[kept], num_bins))
    return found


def _scores(group: Sequence[Trajectory], name: str) -> Tensor:
    return torch.tensor([t.outcome.components[name] for t in group], dtype=torch.float64)


def _row(name: str, proxy: Tensor, world: Tensor, num_bins: int) -> Reliability:
    return Reliability(name, len(proxy), r_squared(proxy, world), r_squared(*bin_means(proxy, world, num_bins)))
