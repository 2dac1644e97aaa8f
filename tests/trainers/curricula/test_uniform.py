"""The uniform curriculum."""

import json

import pytest

from agentrl.errors import DataError
from agentrl.trainers.curricula.uniform import Uniform
from agentrl.types import Task

TASKS = [Task(env="guess", id=str(number), split="train", seed=number) for number in range(5)]


def started(seed=0, **settings):
    curriculum = Uniform(Uniform.Config(**settings))
    curriculum.start(TASKS, seed)
    return curriculum


def drawn(curriculum, num):
    return [draw.task.id for draw in curriculum.draw(num, 8)]


def test_every_task_comes_once_a_pass_in_a_new_order():
    curriculum = started()
    passes = [drawn(curriculum, 5) for _ in range(3)]
    assert all(sorted(ids) == ["0", "1", "2", "3", "4"] for ids in passes)
    assert len({tuple(ids) for ids in passes}) == 3


def test_the_same_seed_draws_the_same_whatever_the_size_of_a_draw():
    whole = drawn(started(), 12)
    in_parts = started()
    assert [*drawn(in_parts, 3), *drawn(in_parts, 7), *drawn(in_parts, 2)] == whole
    assert drawn(started(seed=1), 12) != whole


def test_without_shuffling_the_panel_keeps_its_order():
    assert drawn(started(shuffle=False), 7) == ["0", "1", "2", "3", "4", "0", "1"]


def test_a_draw_says_how_many_rollouts_each_task_gets():
    assert [draw.num_rollouts for draw in started().draw(2, 8)] == [8, 8]


def test_it_goes_on_where_a_checkpoint_left_it():
    curriculum = started()
    drawn(curriculum, 7)
    restored = started()
    restored.load_state_dict(json.loads(json.dumps(curriculum.state_dict())))
    curriculum.update([])
    assert drawn(restored, 6) == drawn(curriculum, 6)


def test_an_empty_panel_is_refused():
    with pytest.raises(DataError, match="no task"):
        Uniform().start([], 0)
