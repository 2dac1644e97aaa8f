"""95 % intervals hold the truth in about 95 % of simulated evaluations; the small form of benchmarks/coverage.py."""

import random

import pytest

from agentrl.eval.statistics import (
    bootstrap_interval,
    mean_over_tasks,
    paired_difference_interval,
    pass_hat_k,
    share_interval,
    wilson_interval,
)

TASKS, REPEATS, SHARE, SIZE = 25, 4, 0.3, 2.0
"""Tasks differ: the chance of success of each is drawn from Beta(share * size, (1 - share) * size)."""


def evaluations(num, seed=0):
    """Simulated evaluations: task -> successes of REPEATS episodes."""
    drawn = random.Random(seed)
    for _ in range(num):
        chances = [drawn.betavariate(SHARE * SIZE, (1 - SHARE) * SIZE) for _ in range(TASKS)]
        yield {str(n): sum(drawn.random() < chance for _ in range(REPEATS)) for n, chance in enumerate(chances)}


def share_held(intervals, truth):
    held = [low <= truth <= high for low, high in intervals]
    return sum(held) / len(held)


def values(won):
    return {task: [1.0] * count + [0.0] * (REPEATS - count) for task, count in won.items()}


def test_success_over_tasks_holds_the_truth_and_episodes_as_tasks_of_their_own_do_not():
    over_tasks = [share_interval(values(won)) for won in evaluations(400)]
    as_one = [wilson_interval(sum(won.values()), TASKS * REPEATS) for won in evaluations(400)]
    assert share_held(over_tasks, SHARE) == pytest.approx(0.95, abs=0.025)  # 2.3 standard errors
    assert share_held(as_one, SHARE) < 0.9


def test_pass_hat_k_holds_the_truth():
    truth = SHARE * (SHARE * SIZE + 1) / (SIZE + 1)  # the mean of the square of a Beta chance
    found = [mean_over_tasks({t: (c, REPEATS) for t, c in won.items()}, 2, pass_hat_k) for won in evaluations(400)]
    assert share_held([ends for _, *ends in found], truth) == pytest.approx(0.95, abs=0.025)


@pytest.mark.parametrize("chances", [(0.3, 0.5), (0.05, 0.1)], ids=["many tasks differ", "few do"])
def test_a_paired_difference_holds_the_truth(chances):
    drawn, found = random.Random(1), []
    for _ in range(400):
        sides = [{str(n): [float(drawn.random() < chance)] for n in range(TASKS)} for chance in chances]
        found.append(paired_difference_interval(*sides)[1:])
    held = share_held(found, chances[1] - chances[0])
    assert 0.925 <= held <= (0.975 if chances[0] > 0.1 else 1.0)  # cautious where hardly a task differs


def test_the_bootstrap_holds_the_mean_of_skewed_scores():
    drawn = random.Random(2)
    scores = ({str(n): [drawn.expovariate(1.0)] for n in range(TASKS)} for _ in range(80))
    held = share_held([bootstrap_interval(of_task, draws=100) for of_task in scores], 1.0)
    assert 0.88 <= held <= 1.0
