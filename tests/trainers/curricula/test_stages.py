"""The difficulty stages."""

import json

import pytest

from agentrl.errors import ConfigError, DataError
from agentrl.trainers.curricula.stages import Stages, cut_into_stages
from tests.trainers.played import episode, group_of, ids, panel

TASKS = panel(6)


def started(tasks=TASKS, **settings):
    curriculum = Stages(Stages.Config(**settings))
    curriculum.start(tasks, 0)
    return curriculum


def test_a_panel_is_cut_into_parts_of_the_same_size():
    assert cut_into_stages(range(7), 3) == [[0, 1, 2], [3, 4], [5, 6]]
    assert cut_into_stages(range(2), 5) == [[0], [1]]


def test_it_begins_with_the_easy_ones_whatever_their_order_in_the_panel():
    assert set(ids(started(TASKS[::-1], stages=3).draw(4, 8))) == {"0", "1"}


def test_a_stage_ends_after_its_steps():
    curriculum = started(stages=3, steps=2)
    for expected in ("01", "01", "23", "23", "45", "45", "45"):
        assert set(ids(curriculum.draw(2, 1))) == set(expected)
        curriculum.update([])


def test_a_stage_ends_when_its_last_episodes_succeed():
    curriculum = started(stages=2, steps=0, threshold=0.75, window=4)
    curriculum.update(group_of(TASKS[0], [1, 1]))
    assert set(ids(curriculum.draw(3, 1))) == {"0", "1", "2"}  # too few episodes to judge by
    curriculum.update(group_of(TASKS[0], [1, 0]))
    assert curriculum.metrics()["curriculum/stage_success"] == 0.75
    assert set(ids(curriculum.draw(3, 1))) == {"3", "4", "5"}


def test_episodes_that_the_infrastructure_failed_judge_nothing():
    curriculum = started(stages=2, steps=0, threshold=1.0, window=1)
    curriculum.update([episode(TASKS[0], 0.0, ended="world_failure")])
    assert curriculum.metrics()["curriculum/stage_success"] == 0.0
    assert set(ids(curriculum.draw(3, 1))) == {"0", "1", "2"}


def test_earlier_tasks_can_stay():
    curriculum = started(stages=3, steps=1, keep_earlier=True)
    curriculum.update([])
    assert set(ids(curriculum.draw(4, 1))) == {"0", "1", "2", "3"}


def test_difficulty_can_be_measured_by_a_first_pass():
    tasks = panel(4, difficulty=None)
    curriculum = started(tasks, stages=2, order="measured")
    assert sorted(ids(curriculum.draw(4, 2))) == ["0", "1", "2", "3"]
    rates = [[0, 0], [1, 1], [0, 1], [0, 0]]
    curriculum.update([t for task, rate in zip(tasks, rates, strict=True) for t in group_of(task, rate)])
    assert set(ids(curriculum.draw(2, 1))) == {"1", "2"}


def test_a_world_that_tells_no_difficulty_is_refused_with_what_helps():
    with pytest.raises(DataError, match="order=measured"):
        started(panel(2, difficulty=None))
    with pytest.raises(DataError, match="no task"):
        started([])
    with pytest.raises(ConfigError, match="threshold"):
        Stages.Config(threshold=1.5)


@pytest.mark.parametrize("order", ["difficulty", "measured"])
def test_it_goes_on_where_a_checkpoint_left_it(order):
    def played(curriculum, steps):
        drawn = []
        for _ in range(steps):
            draws = curriculum.draw(4, 2)
            drawn.append(ids(draws))
            curriculum.update([t for d in draws for t in group_of(d.task, [1, int(d.task.id) % 2])])
        return drawn

    curriculum = started(stages=3, order=order, steps=2, threshold=0.9, window=8)
    played(curriculum, 3)
    restored = started(stages=3, order=order, steps=2, threshold=0.9, window=8)
    restored.load_state_dict(json.loads(json.dumps(curriculum.state_dict())))
    assert played(restored, 5) == played(curriculum, 5)
