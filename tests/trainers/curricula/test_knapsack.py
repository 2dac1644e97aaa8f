"""The budget of rollouts: exact, bounded, quick, and deterministic."""

import itertools
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrl.errors import ConfigError, DataError
from agentrl.trainers.curricula.knapsack import (
    Knapsack,
    allocate,
    chance_of_signal,
    info_gain,
    rollouts_until_signal,
)
from tests.trainers.played import episode, group_of, ids, panel, rollouts

TASKS = panel(6)
RATES = st.sampled_from([0.0, 0.01, 0.1, 1 / 3, 0.5, 0.875, 0.99, 1.0]) | st.floats(0, 1)


def value(rates, numbers):
    return sum(
        float(chance_of_signal(torch.tensor(n), torch.tensor(p).double()) * info_gain(torch.tensor(p).double()))
        for n, p in zip(numbers, rates, strict=True)
    )


def test_the_value_by_hand():
    half = torch.tensor([0.5], dtype=torch.float64)
    assert chance_of_signal(torch.tensor(2), half).item() == 0.5
    assert info_gain(half).item() == 0.125
    assert rollouts_until_signal(half).item() == 3.0
    assert math.isinf(rollouts_until_signal(torch.zeros(1)).item())


@settings(max_examples=60)
@given(rates=st.lists(RATES, min_size=1, max_size=4), low=st.integers(1, 3), extra=st.integers(0, 5), data=st.data())
def test_no_allocation_within_the_bounds_is_worth_more(rates, low, extra, data):
    up = low + extra
    budget = data.draw(st.integers(len(rates) * low, len(rates) * up))
    got = allocate(torch.tensor(rates, dtype=torch.float64), budget, low, up)
    assert sum(got) == budget
    assert all(low <= n <= up for n in got)
    every = itertools.product(range(low, up + 1), repeat=len(rates))
    best = max(value(rates, numbers) for numbers in every if sum(numbers) == budget)
    assert value(rates, got) == pytest.approx(best, rel=1e-12, abs=1e-15)


def test_what_is_left_goes_to_tasks_never_solved_and_then_to_those_always_solved():
    rates = torch.tensor([1.0, 0.0, 0.5, 0.0], dtype=torch.float64)
    assert allocate(rates, 4 * 2 + 6, 2, 8) == [2, 2, 8, 2]
    assert allocate(rates, 4 * 2 + 9, 2, 8) == [2, 5, 8, 2]
    assert allocate(rates, 4 * 2 + 20, 2, 8) == [4, 8, 8, 8]


def test_equal_tasks_are_served_in_their_order():
    assert allocate(torch.full((3,), 0.5), 11, 2, 8) == [4, 4, 3]


@pytest.mark.parametrize("budget", [5, 25])
def test_a_budget_that_the_bounds_cannot_meet_is_refused(budget):
    with pytest.raises(ConfigError, match=str(budget)):
        allocate(torch.full((3,), 0.5), budget, 2, 8)


def started(**settings):
    curriculum = Knapsack(Knapsack.Config(**settings))
    curriculum.start(TASKS, 0)
    return curriculum


def test_a_first_pass_is_uniform_and_the_next_spends_as_much_where_it_teaches():
    curriculum = started(up=32)
    first = curriculum.draw(6, 4)
    assert rollouts(first) == [4] * 6
    rates = {"0": [0, 0, 0, 0], "1": [1, 1, 1, 1], "2": [0, 0, 0, 1]}
    curriculum.update([t for task in TASKS for t in group_of(task, rates.get(task.id, [0, 1]))])
    second = curriculum.draw(6, 4)
    by_task = dict(zip(ids(second), rollouts(second), strict=True))
    assert sum(by_task.values()) == 24
    assert by_task["0"] == by_task["1"] == 2
    assert by_task["2"] == max(by_task.values())
    assert curriculum.metrics()["curriculum/moved_rollouts"] > 0
    assert curriculum.metrics()["curriculum/known_tasks"] == 1.0


def test_tasks_that_were_not_played_keep_the_plain_number():
    curriculum = started()
    curriculum.update([*group_of(TASKS[0], [0, 0]), *group_of(TASKS[1], [0, 1])])
    draws = curriculum.draw(6, 4)
    by_task = dict(zip(ids(draws), rollouts(draws), strict=True))
    assert (by_task["0"], by_task["1"]) == (2, 6)
    assert [by_task[task] for task in "2345"] == [4] * 4


def test_a_task_that_the_infrastructure_failed_keeps_what_is_known_of_it():
    curriculum = started(momentum=0.5)
    curriculum.update(group_of(TASKS[0], [1, 0]))
    curriculum.update([episode(TASKS[0], 0.0, ended="time_limit")])
    assert curriculum.state_dict()["rate"] == {"0": 0.5}
    curriculum.update(group_of(TASKS[0], [1, 1]))
    assert curriculum.state_dict()["rate"] == {"0": 0.75}


def test_it_goes_on_where_a_checkpoint_left_it():
    curriculum = started()
    curriculum.draw(4, 4)
    curriculum.update(group_of(TASKS[3], [1, 0, 0]))
    restored = started()
    restored.load_state_dict(json.loads(json.dumps(curriculum.state_dict())))
    assert restored.draw(5, 4) == curriculum.draw(5, 4)


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match="no task"):
        Knapsack().start([], 0)
    with pytest.raises(ConfigError, match="up"):
        Knapsack.Config(low=4, up=2)
    with pytest.raises(ConfigError, match=r"rollout\.group_size is 1"):
        started().draw(2, 1)
