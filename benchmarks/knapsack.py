"""How long it takes to spread a step's rollouts over its tasks, against a dynamic programme in plain Python.

    python benchmarks/knapsack.py [--tasks 1024] [--rollouts 16] [--up 128]

Prints the median and the worst of several runs in milliseconds. The programme tries every number for every task and is
exact without an argument about concavity; it is run on a small problem, where it takes seconds already.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch

from agentrl.trainers.curricula.knapsack import allocate, chance_of_signal, info_gain


def by_dynamic_programme(rates: list[float], budget: int, low: int, up: int) -> float:
    """The largest sum of values.   rates: success rates."""
    rate = torch.tensor(rates, dtype=torch.float64)
    values = (chance_of_signal(torch.arange(low, up + 1), rate[:, None]) * info_gain(rate)[:, None]).tolist()
    best = {0: 0.0}
    for own in values:
        following: dict[int, float] = {}
        for spent, value in best.items():
            for extra, gained in enumerate(own):
                total = spent + low + extra
                if total <= budget and value + gained > following.get(total, -1.0):
                    following[total] = value + gained
        best = following
    return best[budget]


def milliseconds(run: Callable[[], object], times: int) -> list[float]:
    """Of several runs, after one that is not counted."""
    run()
    found = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        found.append(1000 * (time.perf_counter() - started))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="How long it takes to spread a step's rollouts over its tasks.")
    parser.add_argument("--tasks", type=int, default=1024)
    parser.add_argument("--rollouts", type=int, default=16)
    parser.add_argument("--up", type=int, default=128)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    chance = random.Random(0)
    rates = torch.tensor([chance.random() for _ in range(asked.tasks)], dtype=torch.float64)
    took = milliseconds(lambda: allocate(rates, asked.tasks * asked.rollouts, 2, asked.up), 20)
    print(
        f"{asked.tasks} tasks, {asked.rollouts} rollouts each: median {statistics.median(took):.1f} ms, "
        f"worst {max(took):.1f} ms"
    )
    small = rates[:24]
    got = allocate(small, 24 * 8, 2, 32)
    value = sum(float(chance_of_signal(torch.tensor(n), p) * info_gain(p)) for n, p in zip(got, small, strict=True))
    started = time.perf_counter()
    best = by_dynamic_programme(small.tolist(), 24 * 8, 2, 32)
    print(
        f"24 tasks, 8 rollouts each, by dynamic programme: {1000 * (time.perf_counter() - started):.0f} ms, "
        f"and the same value to {abs(best - value):.0e}"
    )


if __name__ == "__main__":
    main()
