"""D3S: dynamic dual-level down-sampling (arXiv 2509.22115).

    rollouts  of each group the N whose advantages have the largest variance; among those of all groups together the
              `batch_rollouts` with the largest variance, where that is asked for
    tokens    of the rollouts that are kept, the K % with the largest |A_n| * H_n
    N, K      (1 - p) * initial + p * final,   p = step / (num_steps - 1): few at first, more later

What is not kept carries no loss, and denominators are over what does; advantages stay as they were taken over all.
H_n is the entropy of the token when it was sampled. With N not below the groups' size and K = 100 it is GRPO.

Neither text nor code were at hand: formulas follow notes of others, in which the values of N and K are missing (those
here are ours), as is how many the second stage keeps. Ours too: N is rounded half up, K % of the tokens up; variance is
the population's; of all subsets with the largest variance it is the one with the lowest keys; a group without variance
keeps none, or all where N is not below its size.
"""

import math
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.advantages import return_of_trajectory
from agentrl.trainers.parts.chance import largest
from agentrl.trainers.parts.places import token_rank, trajectory_rank
from agentrl.trainers.parts.selections import StepCounts
from agentrl.trainers.step_view import StepView

TIE = 1e-12
"""Variances that differ by less are equal."""
GRID = 2.0**40
"""Advantages that differ by less than 1 / GRID are equal."""


@dataclass(frozen=True, kw_only=True)
class D3SConfig:
    initial_rollouts: float = 4.0
    """N at the first step: rollouts that a group keeps."""
    final_rollouts: float = 8.0
    """N at the last step."""
    initial_percent: float = 20.0
    """K at the first step: percent of the kept rollouts' tokens."""
    final_percent: float = 100.0
    """K at the last step."""
    batch_rollouts: int = 0
    """Rollouts that all groups together keep; 0: all that their groups kept."""

    def __post_init__(self) -> None:
        for name in ("initial_rollouts", "final_rollouts", "batch_rollouts"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must not be negative")
        for name in ("initial_percent", "final_percent"):
            require(0 < getattr(self, name) <= 100, f"{name} is {getattr(self, name)}; it must be above 0, at most 100")


def scheduled(initial: float, final: float, progress: float) -> float:
    """(1 - p) * initial + p * final.   progress: p, from 0 to 1."""
    return (1 - progress) * initial + progress * final


def rounded(value: float) -> int:
    """Half up."""
    return math.floor(value + 0.5)


def widest(value: list[float], num: int) -> list[int]:
    """The `num` values with the largest population variance: the smallest and the largest, by the best split.

    Returns their sorted places; of subsets that tie, the one that comes first. No variance at all: none, or all where
    `num` is not below how many there are.
    """
    if num >= len(value):
        return list(range(len(value)))
    if num <= 0 or min(value) == max(value):
        return []
    if num == 1:
        return [0]  # one alone has no variance, whichever it is
    by_value = sorted(range(len(value)), key=lambda i: (value[i], i))
    best, kept = -1.0, list[int]()
    for low in range(num + 1):
        split = [*by_value[:low], *by_value[len(value) - (num - low) :]]
        chosen = _first_of_equals(value, sorted(value[i] for i in split))
        mean = sum(value[i] for i in chosen) / num
        variance = sum((value[i] - mean) ** 2 for i in chosen) / num
        if variance > best + TIE or (variance > best - TIE and chosen < kept):
            best, kept = max(variance, best), chosen
    return kept


def _first_of_equals(value: list[float], wanted: list[float]) -> list[int]:
    """Sorted places that hold the wanted values, the first ones where several do."""
    left, places = Counter(wanted), []
    for i, v in enumerate(value):
        if left[v]:
            left[v] -= 1
            places.append(i)
    return places


def kept_rollouts(
    advantage: Tensor, group: Tensor, counted: Tensor, order: Tensor, num: int, num_in_batch: int
) -> Tensor:
    """Which rollouts carry loss.

    advantage: [J].   group: [J] int.   counted: [J] bool, to choose among.   order: [J] int, which goes first in a tie.
    num: N.   num_in_batch: 0, no second stage.   Returns [J] bool.
    """
    advantage = (advantage.double() * GRID).round() / GRID  # sums in another order differ by less
    among = order.argsort()
    among = among[counted[among]]
    survivors: list[int] = []
    for g in group[among].unique():
        own = among[group[among] == g]
        survivors += own[widest(advantage[own].tolist(), num)].tolist()
    if num_in_batch:
        survivors.sort(key=order.tolist().__getitem__)
        chosen = widest(advantage[survivors].tolist(), num_in_batch)
        survivors = [survivors[i] for i in chosen]
    kept = torch.zeros_like(counted)
    kept[survivors] = True
    return kept


def kept_tokens(score: Tensor, candidates: Tensor, percent: float, order: Tensor) -> Tensor:
    """ceil(percent / 100 * candidates) of them, with the largest score.

    score: [N].   candidates: [N] bool.   order: [N] int, which goes first in a tie.   Returns [N] bool.
    """
    num = math.ceil(percent * int(candidates.sum()) / 100 - 1e-9)
    return largest(score, candidates, num, order)


def _d3s(view: StepView, config: D3SConfig, state: StepCounts) -> Tensor:
    assert view.advantage is not None and view.sampled_entropy is not None
    progress = view.step / max(view.num_steps - 1, 1)
    num = rounded(scheduled(config.initial_rollouts, config.final_rollouts, progress))
    percent = scheduled(config.initial_percent, config.final_percent, progress)
    trajectory = view.trajectory_of_token
    of_trajectory = return_of_trajectory(view.advantage, trajectory, view.num_trajectories)
    counted = torch.zeros(view.num_trajectories, dtype=torch.bool).index_fill(0, trajectory[view.trained], True)
    order = trajectory_rank(view)
    kept = kept_rollouts(of_trajectory, view.group_of_trajectory, counted, order, num, config.batch_rollouts)
    candidates = view.trained & kept[trajectory]
    chosen = kept_tokens(view.advantage.abs() * view.sampled_entropy, candidates, percent, token_rank(view))
    state.counts["d3s/kept_rollouts"] = float(kept.sum()) / max(int(counted.sum()), 1)
    state.counts["d3s/kept_tokens"] = float(chosen.sum()) / max(int(view.trained.sum()), 1)
    return chosen


def _metrics(view: StepView, config: D3SConfig, state: StepCounts) -> dict[str, float]:
    return {name: count for name, count in state.counts.items() if name.startswith("d3s/")}


DUAL_DOWN_SAMPLING = Part(
    name="dual-down-sampling",
    kind="selection",
    bind=_d3s,
    config=D3SConfig,
    section="d3s",
    state=StepCounts,
    needs=("sampled_entropy", "advantage"),
    metrics=_metrics,
)
"""D3S's: the rollouts whose advantages differ most, and of their tokens those where much was undecided."""
D3S = Algorithm(
    name="d3s",
    citation="C. Wang et al.: Learning more with less: a dynamic dual-level down-sampling framework for efficient "
    "policy optimization. arXiv 2509.22115.",
    returns="outcome",
    advantage="group-norm",
    selections=(DUAL_DOWN_SAMPLING,),
    surrogate="ppo-clip",
    regularisers=("kl",),
    aggregate="token-mean",
    settings={"ppo-clip": {"dual_clip": 0.0}, "kl": {"coef": 0.0}},
)
