"""Intervals for what an evaluation measures: shares of episodes, means over tasks, differences, pass@k and pass^k.

Episodes of one task are alike, so what is counted is tasks: every interval here is one over tasks, and says how far the
mean would lie from this one with other tasks of the same sort. `python -m benchmarks.coverage` measures how often they
hold the truth; docs/statistics.md shows it.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist, correlation, fmean, stdev

from agentrl.seeds import seed_of
from agentrl.statistics import wilson_interval

__all__ = [
    "bootstrap_interval",
    "holm",
    "mean_over_tasks",
    "paired_difference_interval",
    "pass_at_k",
    "pass_hat_k",
    "share_interval",
    "t_quantile",
    "wilson_interval",
]

Values = Mapping[str, Sequence[float]]
"""task id -> one value an episode; a task without values is left out."""
Interval = tuple[float, float]
NOTHING = (math.nan, math.nan)
ENOUGH = 10
"""Tasks that must differ between two sides before Student's interval of their differences is taken."""


def pass_at_k(successes: int, repeats: int, k: int) -> float:
    """Of one task: how likely at least one of k episodes succeeds, from `repeats` that were played; unbiased.

        1 - C(n - c, k) / C(n, k)      with c = successes, n = repeats

    Source: Chen et al. (2021), "Evaluating large language models trained on code" (arXiv 2107.03374), equation 1.
    Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    _check_counts(successes, repeats, k)
    return 1 - math.comb(repeats - successes, k) / math.comb(repeats, k)


def pass_hat_k(successes: int, repeats: int, k: int) -> float:
    """pass^k of one task: how likely all of k episodes succeed, from `repeats` that were played; unbiased.

        C(c, k) / C(n, k)              with c = successes, n = repeats

    Source: Yao et al. (2024), "tau-bench" (arXiv 2406.12045).
    Raises ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    _check_counts(successes, repeats, k)
    return math.comb(successes, k) / math.comb(repeats, k)


def _check_counts(successes: int, repeats: int, k: int) -> None:
    if not (0 <= successes <= repeats and 1 <= k <= repeats):
        raise ValueError(f"k = {k} of {successes} successes in {repeats} episodes cannot be")


def mean_over_tasks(
    counts: Mapping[str, tuple[int, int]], k: int, of: Callable[[int, int, int], float] = pass_at_k
) -> tuple[float, float, float]:
    """Mean over tasks of pass@k, or of pass^k (`of=pass_hat_k`), with its 95 % interval over tasks.

    counts: task id -> (successes, repeats). A task that was played less than k times is left out.
    Returns (mean, low, high); all nan where no task was played so often.
    """
    values = {task: [of(won, played, k)] for task, (won, played) in counts.items() if played >= k}
    if not values:
        return math.nan, *NOTHING
    return fmean(value for (value,) in values.values()), *share_interval(values)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of m tests made together, adjusted: below alpha means significant at alpha for all of them at once.

        p'_(i) = max_{j <= i} min(1, (m - j + 1) p_(j))      of the p-values in rising order, j from 1

    Returned in the order given; nan (a test that could not be made) stays nan and does not count.
    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        adjusted[place] = highest
    return adjusted


def share_interval(values_of_task: Values, *, level: float = 0.95) -> Interval:
    """Interval of the mean of values in [0, 1] (successes, pass@k) over tasks of which some were played repeatedly.

    Wilson's interval of m* episodes, as many independent ones as would tell as much as these do:

        v    = n / (n-1) * sum_i (sum_j (y_ij - p))^2 / (sum_i m_i)^2     variance of p between tasks, i = 1..n
        1/m  = v / (p (1-p)) * (t_{n-1} / z)^2                            t, z: Student's and the normal quantile
        1/m* = w / m + (1-w) max(1/m, 1/n)        w = k / (k + 1/4)       k: tasks that say that p is not 0, or not 1

    The last line is ours: of few tasks that came out otherwise than the rest, v is hardly known, and what it says is
    drawn towards episodes of a task being copies (m = n), which is where it starts with none. So one success more
    never makes a much narrower interval.   Of no task it is (nan, nan).
    Source: Korn and Graubard (1998), "Confidence intervals for proportions with small expected number of positive
    counts estimated from survey data", for m; Dean and Pagano (2015), "Evaluating confidence interval methods for
    binomial proportions in clustered surveys", for Wilson's interval with it.
    """
    tasks = [(sum(values), len(values)) for values in values_of_task.values() if values]
    if not tasks:
        return NOTHING
    return _effective_wilson(_share(tasks), effective_episodes(tasks, level), level)


def _share(tasks: Sequence[tuple[float, int]]) -> float:
    return min(1.0, max(0.0, sum(total for total, _ in tasks) / sum(count for _, count in tasks)))


def effective_episodes(tasks: Sequence[tuple[float, int]], level: float = 0.95) -> float:
    """m* of `share_interval`.   tasks: (sum of values, number of values) of each."""
    num_tasks, episodes, share = len(tasks), sum(count for _, count in tasks), _share(tasks)
    telling = min(sum(total > 0 for total, _ in tasks), sum(total < count for total, count in tasks))
    if num_tasks < 2 or not telling or not 0 < share < 1:
        return float(num_tasks)
    variance = num_tasks / (num_tasks - 1) * sum((total - count * share) ** 2 for total, count in tasks) / episodes**2
    tail = (1 + level) / 2
    each = variance / (share * (1 - share)) * (t_quantile(tail, num_tasks - 1) / NormalDist().inv_cdf(tail)) ** 2
    weight = telling / (telling + 0.25)
    return 1 / (weight * each + (1 - weight) * max(each, 1 / num_tasks))


def _effective_wilson(share: float, episodes: float, level: float) -> Interval:
    """Wilson's interval of a share of so many episodes, which need not be a whole number."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    square = z * z / episodes
    centre = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / episodes + square / (4 * episodes)) / (1 + square)
    return (0.0 if share == 0 else max(0.0, centre - half)), (1.0 if share == 1 else min(1.0, centre + half))


def bootstrap_interval(values_of_task: Values, *, seed: int = 0, draws: int = 2000, level: float = 0.95) -> Interval:
    """Studentised bootstrap of the mean over tasks, for values of any size; `share_interval` is for shares.

    Tasks are drawn, not episodes (the cluster bootstrap); the mean of a draw is over all its episodes.

        (m - s q(1 - tail), m - s q(tail))      q: quantiles over the draws of t = (m_draw - m) / s_draw
        s^2 = n / (n-1) * sum_i (sum_j (y_ij - m))^2 / (sum_i m_i)^2

    Draws whose tasks are all the same are left out. No end lies beyond the least or the greatest value seen. The same
    seed gives the same interval. Of no task it is (nan, nan); where all tasks came out alike it is their mean.
    Source: Efron (1982), "The jackknife, the bootstrap and other resampling plans", 10.9; Hall (1988), "Theoretical
    comparison of bootstrap confidence intervals", for why: the plain percentiles are too narrow, and blind to skewness.
    """
    tasks = [(sum(values), len(values)) for _, values in sorted(values_of_task.items()) if values]
    if not tasks:
        return NOTHING
    mean, spread = _mean_and_error(tasks)
    generator = random.Random(seed_of(seed, "bootstrap"))
    found = []
    for _ in range(draws if spread else 0):
        drawn, error = _mean_and_error(generator.choices(tasks, k=len(tasks)))
        if error:
            found.append((drawn - mean) / error)
    if not found:
        return mean, mean
    found.sort()
    tail = (1 - level) / 2
    least, most = (pick(pick(values) for values in values_of_task.values() if values) for pick in (min, max))
    low, high = mean - spread * _quantile(found, 1 - tail), mean - spread * _quantile(found, tail)
    return max(least, low), min(most, high)


def _mean_and_error(tasks: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """The mean over all episodes, and its standard error over tasks; 0 where they came out alike.

    tasks: (sum of values, number of values) of each.
    """
    totals, counts = zip(*tasks, strict=True)
    episodes = sum(counts)
    mean = sum(totals) / episodes
    spread = sum((total - count * mean) ** 2 for total, count in tasks)
    if len(tasks) < 2 or spread <= 1e-20 * sum(total * total for total in totals):
        return mean, 0.0
    return mean, math.sqrt(len(tasks) / (len(tasks) - 1) * spread) / episodes


def paired_difference_interval(
    before: Values, after: Values, *, seed: int = 0, draws: int = 2000
) -> tuple[float, float, float]:
    """Mean over the tasks that both hold of d = mean after - mean before, and its 95 % interval over tasks.

    Values in [0, 1]: Student's interval of d where ten tasks or more differ; where fewer do, of which it would make
    too much, the intervals of both sides joined with their correlation r over tasks:

        d -+ sqrt((p - end_p)^2 - 2 r (p - end_p)(end_q - q) + (end_q - q)^2)      ends of `share_interval`

    Other values: the bootstrap over tasks of d.   Returns (difference, low, high); all nan where no task is shared.
    Source: Newcombe (1998), "Improved confidence intervals for the difference between binomial proportions based on
    paired data", method 10 (without its continuity correction), with shares over tasks for single ones, as Zou and
    Donner (2008), "Construction of confidence limits about effect measures", allow.
    """
    shared = [task for task in sorted(before) if before[task] and after.get(task)]
    if not shared:
        return math.nan, *NOTHING
    old, new = ([fmean(values[task]) for task in shared] for values in (before, after))
    differences = [b - a for a, b in zip(old, new, strict=True)]
    mean = fmean(differences)
    if min(*old, *new) < 0 or max(*old, *new) > 1:
        of_task = {task: [difference] for task, difference in zip(shared, differences, strict=True)}
        return mean, *bootstrap_interval(of_task, seed=seed, draws=draws)
    if sum(difference != 0 for difference in differences) >= ENOUGH:
        half = t_quantile(0.975, len(shared) - 1) * stdev(differences) / math.sqrt(len(shared))
        return mean, max(-1.0, mean - half), min(1.0, mean + half)
    return mean, *_joined_interval(old, new, mean)


def _joined_interval(old: Sequence[float], new: Sequence[float], difference: float) -> Interval:
    """Interval of the difference of two means over the same tasks, from those of both and their correlation."""
    ends = [share_interval({str(place): [value] for place, value in enumerate(side)}) for side in (old, new)]
    (low_p, high_p), (low_q, high_q) = ends
    p, q = fmean(old), fmean(new)
    varied = len(old) > 1 and len(set(old)) > 1 and len(set(new)) > 1
    r = correlation(old, new) if varied else 0.0

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one * one - 2 * r * one * other + other * other))

    return max(-1.0, difference - reach(q - low_q, high_p - p)), min(1.0, difference + reach(high_q - q, p - low_p))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The share's quantile of ordered numbers, interpolated between neighbours."""
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def t_quantile(share: float, degrees: int) -> float:
    """The quantile of Student's t; right to 1e-4 of its value from one degree on, and to 1e-6 from five.

    Source: Hill (1970), algorithm 396, "Student's t-quantiles"; closed forms for one and two degrees.
    Raises ValueError unless 0 < share < 1 and there is at least one degree.
    """
    if not 0 < share < 1 or degrees < 1:
        raise ValueError(f"there is no quantile {share} of Student's t with {degrees} degrees of freedom")
    if share < 0.5:
        return -t_quantile(1 - share, degrees)
    tails = 2 * (1 - share)
    if degrees == 1:
        return 1 / math.tan(tails * math.pi / 2)
    if degrees == 2:
        return math.sqrt(2 / (tails * (2 - tails)) - 2)
    a = 1 / (degrees - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * degrees
    y = (d * tails) ** (2 / degrees)
    if y > 0.05 + a:
        x = NormalDist().inv_cdf(tails / 2)
        y = x * x
        if degrees < 5:
            c += 0.3 * (degrees - 4.5) * (x + 0.6)
        c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = math.expm1(a * y * y)
    else:
        y = (
            (1 / (((degrees + 6) / (degrees * y) - 0.089 * d - 0.822) * (degrees + 2) * 3) + 0.5 / (degrees + 4)) * y
            - 1
        ) * (degrees + 1) / (degrees + 2) + 1 / y
    return math.sqrt(degrees * y)
