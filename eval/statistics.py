"""Intervals for what an evaluation measures: shares of independent episodes, and means over tasks played repeatedly."""

import random
from collections.abc import Mapping, Sequence
from statistics import fmean

from agentrl.seeds import seed_of
from agentrl.statistics import wilson_interval

__all__ = ["bootstrap_interval", "paired_difference_interval", "wilson_interval"]


def bootstrap_interval(
    values_of_task: Mapping[str, Sequence[float]], *, seed: int = 0, draws: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap of the mean over tasks: episodes of one task are alike, so tasks are drawn, not episodes.

    values_of_task: task id -> one value an episode; a task without values is left out. The mean of a draw is over
    all its episodes. The same seed gives the same interval. Of no task it is (nan, nan).
    Source: Efron (1979), with the task as the unit that is drawn (the cluster bootstrap).
    """
    tasks = [(sum(values), len(values)) for _, values in sorted(values_of_task.items()) if values]
    if not tasks:
        return float("nan"), float("nan")
    generator = random.Random(seed_of(seed, "bootstrap"))
    means = []
    for _ in range(draws):
        drawn = generator.choices(tasks, k=len(tasks))
        means.append(sum(total for total, _ in drawn) / sum(count for _, count in drawn))
    means.sort()
    tail = (1 - level) / 2
    return _quantile(means, tail), _quantile(means, 1 - tail)


def paired_difference_interval(
    before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]], *, seed: int = 0, draws: int = 2000
) -> tuple[float, float, float]:
    """Mean over the tasks that both hold of (mean after - mean before), and its 95 % bootstrap interval over tasks.

    Returns (difference, low, high); all nan where the two share no task.
    """
    shared = [task for task in sorted(before) if before[task] and after.get(task)]
    if not shared:
        return float("nan"), float("nan"), float("nan")
    differences = {task: [fmean(after[task]) - fmean(before[task])] for task in shared}
    low, high = bootstrap_interval(differences, seed=seed, draws=draws)
    return fmean(d[0] for d in differences.values()), low, high


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The share's quantile of ordered numbers, interpolated between neighbours."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
