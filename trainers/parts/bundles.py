"""Bundles of groups (RiskPO): the i-th rollouts of several questions make one paper, scored as a whole."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.segments import count_by, mean_by, min_by, std_by, sum_by

NOT_IN_A_PAPER = -1
Credit = Literal["uniform", "score", "std", "sum_mean"]


@dataclass(frozen=True)
class Papers:
    """The level beside groups: trajectories in papers, papers in bundles."""

    of_trajectory: Tensor
    """[J] int64; NOT_IN_A_PAPER: surplus, or not counted."""
    bundle: Tensor
    """[I] int64."""
    score: Tensor
    """[I] float, S."""


def papers(value: Tensor, group: Tensor, counted: Tensor, place: Tensor, bundle_of_group: Tensor) -> Papers:
    """Paper i of a bundle: the i-th rollout of each of its questions; as many as the question with the fewest has.

    value: [J] float.   group, place: [J] int, place among the question's counted ones.   counted: [J] bool.
    bundle_of_group: [G] int, -1: in none.
    """
    size = count_by(group[counted], len(bundle_of_group))
    bundled = (size > 0) & (bundle_of_group >= 0)
    num_bundles = int(bundle_of_group.max()) + 1 if len(bundle_of_group) else 0
    fewest = min_by(size[bundled].double(), bundle_of_group[bundled], num_bundles)
    num_papers = torch.where(fewest.isinf(), 0.0, fewest).long()
    bundle = bundle_of_group[group].clamp(min=0)
    inside = counted & bundled[group] & (place < num_papers[bundle]) if num_bundles else torch.zeros_like(counted)
    first = num_papers.cumsum(0) - num_papers
    paper = torch.full_like(group, NOT_IN_A_PAPER)
    paper[inside] = (first[bundle] + place)[inside] if num_bundles else paper[inside]
    total = int(num_papers.sum())
    return Papers(
        paper,
        torch.repeat_interleave(torch.arange(num_bundles), num_papers),
        sum_by(value[inside], paper[inside], total),
    )


def credited(of_paper: Tensor, made: Papers, value: Tensor, group: Tensor, counted: Tensor, credit: Credit) -> Tensor:
    """A paper's advantage handed to its rollouts.   of_paper: [I].   value, group, counted: [J].   Returns [J]."""
    inside, num_groups = made.of_trajectory >= 0, int(group.max()) + 1 if len(group) else 0
    paper = made.of_trajectory[inside]
    advantage, own = of_paper[paper], value[inside]
    if credit == "score":
        advantage = advantage * torch.where(own > 0, 0.5, 1.5)
    elif credit == "std":
        spread = std_by(value[counted], group[counted], num_groups)
        advantage = advantage / (torch.where(spread <= 1e-3, 1.0, spread) + 1e-6)[group[inside]]
    elif credit == "sum_mean":
        deviation = own - mean_by(value[counted], group[counted], num_groups)[group[inside]]
        total = sum_by(deviation, paper, len(of_paper))[paper]
        equal = 1 / count_by(paper, len(of_paper))[paper].to(value)
        share = torch.where(total.abs() <= 1e-6, equal, deviation / torch.where(total == 0, 1.0, total))
        advantage = advantage * share
    return torch.zeros_like(value).masked_scatter(inside, advantage)


def bundles_of(group_rank: Tensor, present: Tensor, size: int) -> Tensor:
    """Groups in bundles of `size`, by rank; the last one may have fewer.

    group_rank: [G] int.   present: [G] bool.   Returns [G] int64; -1 for a group that is not present.
    """
    bundle = torch.full_like(group_rank, -1)
    here = present.nonzero()[:, 0]
    bundle[here[group_rank[here].argsort()]] = torch.arange(len(here)) // size
    return bundle
