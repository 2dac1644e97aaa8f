"""How often the 95 % intervals of an evaluation hold the truth, by simulation.

    python -m benchmarks.coverage
    python -m benchmarks.coverage --draws 500 --tasks 20 50

Tasks are drawn from a population in which the chance of success varies from task to task (Beta, by its intra-class
correlation: 0 all alike, 1 always the same outcome), each is played so many times, and the interval is right where it
holds the mean of the population. A cell is one population; a row shows the mean coverage over its cells, the lowest and
the highest, and how many of the cells are within 94 and 96 %, give or take the noise of the simulation (two standard
errors). `as one` is Wilson's interval of all episodes as if each were a task of its own, `percentile` the plain
bootstrap over tasks: what is not used, and why.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from agentrl.eval.statistics import (
    bootstrap_interval,
    mean_over_tasks,
    paired_difference_interval,
    pass_hat_k,
    share_interval,
    wilson_interval,
)

SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
CORRELATIONS = (0.1, 0.4)
LEVELS = ((-3.0, -3.0), (-3.0, -2.0), (-1.5, 0.0), (0.0, 0.0), (0.0, 0.7), (2.0, 3.0))
"""Log-odds of success of the two sides of a comparison, at a task of middling difficulty."""
SPREADS = (0.0, 1.5)
"""Standard deviation of the log-odds over tasks; the two sides share 0.8 of it."""
LOW, HIGH = 0.94, 0.96
Interval = tuple[float, float]
Counts = np.ndarray


@dataclass(frozen=True)
class Row:
    """What one interval came to over its cells."""

    name: str
    tasks: int
    repeats: int
    coverage: Sequence[float]
    draws: int

    def text(self) -> str:
        """A line of the table."""
        noise = 2 * math.sqrt(0.95 * 0.05 / self.draws)
        inside = sum(LOW - noise <= one <= HIGH + noise for one in self.coverage)
        mean, low, high = (100 * value for value in (np.mean(self.coverage), min(self.coverage), max(self.coverage)))
        counts = (
            f"{self.tasks} | {self.repeats} | {mean:.1f} | {low:.1f} to {high:.1f} | {inside} of {len(self.coverage)}"
        )
        return f"| {self.name} | {counts} |"


def share_rows(tasks: int, repeats: int, draws: int, generator: np.random.Generator) -> Iterator[Row]:
    """Success, and with repeats pass@k and pass^k of half as many; beside what is not used."""
    k = repeats // 2
    cells: dict[str, list[float]] = {}
    for share in SHARES:
        for correlation in CORRELATIONS if repeats > 1 else (0.0,):
            chances = _chances(share, correlation, (draws, tasks), generator)
            counts = generator.binomial(repeats, chances)
            measured: dict[str, tuple[float, Callable[[Counts], Interval]]] = {"success": (share, _success(repeats))}
            if repeats > 1:
                at_k, hat_k = _truths(share, correlation, k)
                measured[f"pass@{k}"] = at_k, lambda won: _of_tasks(won, repeats, k, None)
                measured[f"pass^{k}"] = hat_k, lambda won: _of_tasks(won, repeats, k, pass_hat_k)
                measured["(as one)"] = share, lambda won: wilson_interval(int(won.sum()), won.size * repeats)
                measured["(percentile)"] = share, lambda won: _percentile(won / repeats, generator)
            for name, (truth, interval) in measured.items():
                held = [low <= truth <= high for low, high in map(interval, counts)]
                cells.setdefault(name, []).append(sum(held) / draws)
    for name, coverage in cells.items():
        yield Row(name, tasks, repeats, coverage, draws)


def _chances(share: float, correlation: float, shape: tuple[int, int], generator: np.random.Generator) -> Counts:
    if correlation == 0:
        return np.full(shape, share)
    size = 1 / correlation - 1
    return generator.beta(share * size, (1 - share) * size, shape)


def _success(repeats: int) -> Callable[[Counts], Interval]:
    """What an evaluation shows: Wilson's where every task was played once, else that over tasks."""
    if repeats == 1:
        return lambda won: wilson_interval(int(won.sum()), won.size)
    return lambda won: share_interval({str(n): [c / repeats] * repeats for n, c in enumerate(won.tolist())})


def _of_tasks(won: Counts, repeats: int, k: int, of: Callable[[int, int, int], float] | None) -> Interval:
    counts = {str(n): (count, repeats) for n, count in enumerate(won.tolist())}
    _, low, high = mean_over_tasks(counts, k, of) if of else mean_over_tasks(counts, k)
    return low, high


def _truths(share: float, correlation: float, k: int) -> tuple[float, float]:
    """Mean over the population of the chance that one of k succeeds, and that all do."""
    size = 1 / correlation - 1
    a, b = share * size, (1 - share) * size
    none = math.prod((b + i) / (size + i) for i in range(k))
    return 1 - none, math.prod((a + i) / (size + i) for i in range(k))


def _percentile(values: Counts, generator: np.random.Generator, draws: int = 300) -> Interval:
    means = generator.multinomial(values.size, np.full(values.size, 1 / values.size), draws) @ values / values.size
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def difference_row(tasks: int, repeats: int, draws: int, generator: np.random.Generator) -> Row:
    """The difference of two policies on the same tasks."""
    coverage = []
    for before, after in LEVELS:
        for spread in SPREADS:
            one, two = _paired_chances(before, after, spread, (200_000, 1), generator)
            truth = float(two.mean() - one.mean())
            chances = _paired_chances(before, after, spread, (draws, tasks), generator)
            sides = [generator.binomial(repeats, side) / repeats for side in chances]
            held = 0
            for values in zip(*sides, strict=True):
                of_task = [{str(n): [value] for n, value in enumerate(side.tolist())} for side in values]
                _, low, high = paired_difference_interval(*of_task)
                held += low <= truth <= high
            coverage.append(held / draws)
    return Row("difference", tasks, repeats, coverage, draws)


def _paired_chances(
    before: float, after: float, spread: float, shape: tuple[int, int], generator: np.random.Generator
) -> list[Counts]:
    shared, own = generator.standard_normal(shape), generator.standard_normal(shape)
    odds = before + spread * shared, after + spread * (0.8 * shared + 0.6 * own)
    return [1 / (1 + np.exp(-log_odds)) for log_odds in odds]


def score_row(tasks: int, draws: int, generator: np.random.Generator) -> Row:
    """The mean of scores of any size, skewed over tasks, by the bootstrap."""
    coverage = []
    for skew in (0.25, 0.5, 1.0):  # standard deviation of the logarithm
        scores = generator.lognormal(0, skew, (draws, tasks))
        truth, held = math.exp(skew * skew / 2), 0
        for drawn in scores.tolist():
            low, high = bootstrap_interval({str(n): [value] for n, value in enumerate(drawn)}, draws=300)
            held += low <= truth <= high
        coverage.append(held / draws)
    return Row("score", tasks, 1, coverage, draws)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000, help="simulated evaluations a cell")
    parser.add_argument("--tasks", nargs="+", type=int, default=[20, 50, 100, 134, 500])
    parser.add_argument("--repeats", nargs="+", type=int, default=[1, 4, 8])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print("| interval | tasks | repeats | mean | lowest to highest | cells within 94 and 96 % |")
    print("|---|---|---|---|---|---|")
    for tasks in args.tasks:
        for repeats in args.repeats:
            generator = np.random.default_rng([args.seed, tasks, repeats])
            for row in share_rows(tasks, repeats, args.draws, generator):
                print(row.text(), flush=True)
            print(difference_row(tasks, repeats, args.draws, generator).text(), flush=True)
        fewer = max(100, args.draws // 4)  # the bootstrap takes a hundred times as long as the others
        print(score_row(tasks, fewer, np.random.default_rng([args.seed, tasks])).text(), flush=True)


if __name__ == "__main__":
    main()
