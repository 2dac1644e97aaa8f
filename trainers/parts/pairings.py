"""Pairings: which trajectories of a group are compared with each other, the better one first.

Logged preferences are groups of two; of rollouts of one task pairs are made by what the trajectories are worth, and
those that are no members of group statistics stand in none. A group weighs the same however many pairs it gives
(`all-pairs` counts a trajectory up to G - 1 times). Ties give no pair, unless they are asked for: methods that read the
size of the gap (CoPG, P3O) learn from a tie too, which is a pull towards the reference and no more. Ours.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from agentrl.seeds import seed_of
from agentrl.segments import count_by, mean_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Part
from agentrl.trainers.parts.advantages import return_of_trajectory
from agentrl.trainers.step_view import Pairs, StepView

Choice = Callable[[Sequence[float], Sequence[int]], list[tuple[int, int]]]
"""(scores, keys) of one group's members -> pairs of their numbers, the better one first."""


@dataclass(frozen=True, kw_only=True)
class PairingConfig:
    margin: float = 0.0
    """Two trajectories make a pair where what they are worth differs by more than this."""
    ties: bool = False
    """Take trajectories that differ by no more than `margin` too, in their order; for methods that read the gap."""

    def __post_init__(self) -> None:
        require(self.margin >= 0, f"margin is {self.margin}; it must not be negative")


def trajectory_return(view: StepView) -> Tensor:
    """What a trajectory is worth: what the returns part credits its turns with, on average.   Returns [J]."""
    assert view.returns is not None
    return return_of_trajectory(view.returns, view.trajectory_of_turn, view.num_trajectories)


def best_worst(scores: Sequence[float], margin: float = 0.0, ties: bool = False) -> list[tuple[int, int]]:
    """The best and the worst, the first of equals; [] where they differ by no more than the margin.

    ties: take them then too, the first two of the group.   A group of one gives none.
    """
    if len(scores) < 2:
        return []
    best, worst = max(range(len(scores)), key=lambda i: scores[i]), min(range(len(scores)), key=lambda i: scores[i])
    if scores[best] - scores[worst] > margin:
        return [(best, worst)]
    return [(0, 1) if scores[0] >= scores[1] else (1, 0)] if ties else []


def all_pairs(scores: Sequence[float], margin: float = 0.0, ties: bool = False) -> list[tuple[int, int]]:
    """Every two that differ by more than the margin, the better one first; with `ties` every two."""
    found = []
    for i in range(len(scores)):
        for j in range(i + 1, len(scores)):
            if ties or abs(scores[i] - scores[j]) > margin:
                found.append((j, i) if scores[j] > scores[i] else (i, j))
    return found


def random_pairs(
    scores: Sequence[float], keys: Sequence[int], margin: float = 0.0, ties: bool = False
) -> list[tuple[int, int]]:
    """For every trajectory one partner that differs by more than the margin, drawn by its key; with `ties` any."""
    found = []
    for i, key in enumerate(keys):
        others = [j for j in range(len(scores)) if j != i and (ties or abs(scores[i] - scores[j]) > margin)]
        if others:
            j = random.Random(key).choice(others)
            found.append((j, i) if scores[j] > scores[i] else (i, j))
    return found


def pairs_within(
    value: Tensor, group: Tensor, counted: Tensor, num_groups: int, choose: Choice, key: Tensor | None = None
) -> Pairs:
    """Pairs of the counted members of each group; a group's pairs weigh 1 together.

    value: [J] float.   group: [J] int.   counted: [J] bool.   key: [J] int: which of equals comes first, and what
    `choose` may draw by, so that the order of the batch does not matter; None: as they stand.
    """
    members: list[list[int]] = [[] for _ in range(num_groups)]
    numbers = counted.nonzero()[:, 0]
    ordered = numbers if key is None else numbers[key[numbers].argsort()]
    for number in ordered.tolist():
        members[int(group[number])].append(number)
    found: list[tuple[int, int]] = []
    for own in members:
        keys = own if key is None else key[own].tolist()
        found += [(own[a], own[b]) for a, b in choose(value[own].tolist(), keys)]
    pairs = torch.tensor(found, dtype=torch.int64).reshape(-1, 2)
    of_pair = group[pairs[:, 0]]
    return Pairs(pairs, 1 / count_by(of_pair, num_groups)[of_pair].to(value))


def _pairs(view: StepView, choose: Choice) -> Pairs:
    counted, value = view.in_statistics & _has_tokens(view), trajectory_return(view)
    return pairs_within(value, view.group_of_trajectory, counted, view.num_groups, choose, view.key)


def _has_tokens(view: StepView) -> Tensor:
    """[J] bool: some of its tokens carry loss."""
    return count_by(view.trajectory_of_token[view.trained], view.num_trajectories) > 0


def _best_worst(view: StepView, config: PairingConfig, state: None) -> Pairs:
    return _pairs(view, lambda scores, keys: best_worst(scores, config.margin, config.ties))


def _all_pairs(view: StepView, config: PairingConfig, state: None) -> Pairs:
    return _pairs(view, lambda scores, keys: all_pairs(scores, config.margin, config.ties))


def _random_pairs(view: StepView, config: PairingConfig, state: None) -> Pairs:
    def choose(scores: Sequence[float], keys: Sequence[int]) -> list[tuple[int, int]]:
        drawn = [seed_of(view.seed, "pairs", view.step, key) for key in keys]
        return random_pairs(scores, drawn, config.margin, config.ties)

    return _pairs(view, choose)


def _metrics(view: StepView, config: PairingConfig, state: None) -> dict[str, float]:
    """How many pairs there were, and how the sides of a pair differ in worth and length."""
    assert view.pairs is not None
    pairs, num_groups = view.pairs, max(len(view.group_of_trajectory.unique()), 1)
    with_pair = len(view.group_of_trajectory[pairs[:, 0]].unique())
    lengths = count_by(view.trajectory_of_token, view.num_trajectories).to(view.score)
    turns = count_by(view.trajectory_of_turn, view.num_trajectories).to(view.score)
    shown = {"pairs/per_group": len(pairs) / num_groups, "pairs/groups_without_pair": 1 - with_pair / num_groups}
    sizes = {"score_gap": trajectory_return(view), "length_gap": lengths, "turn_gap": turns}
    zero = torch.zeros(len(pairs), dtype=torch.int64)
    for name, size in sizes.items():
        gap = size[pairs[:, 0]] - size[pairs[:, 1]]
        shown[f"pairs/{name}"] = float(mean_by(gap, zero, 1)[0])
    return shown


def _part(name: str, bind: Callable[..., Pairs]) -> Part:
    return Part(
        name=name, kind="pairing", bind=bind, config=PairingConfig, section="pairing", metrics=_metrics, ours=True
    )


BEST_WORST = _part("best-worst", _best_worst)
"""The best of a group against its worst; of logged pairs the pair itself."""
ALL_PAIRS = _part("all-pairs", _all_pairs)
"""Every two of a group that differ."""
RANDOM_PAIRS = _part("random-pairs", _random_pairs)
"""For every trajectory of a group another one that differs, at random."""
