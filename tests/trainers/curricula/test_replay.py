"""Tasks that were nearly solved come again."""

import json

import pytest

from agentrl.errors import ConfigError, DataError
from agentrl.trainers.curricula.replay import Replay
from tests.trainers.played import group_of, ids, panel

TASKS = panel(8)


def started(**settings):
    curriculum = Replay(Replay.Config(**settings))
    curriculum.start(TASKS, 0)
    return curriculum


def near(*numbers):
    return [t for number in numbers for t in group_of(TASKS[number], [1, 0])]


def test_what_was_nearly_solved_comes_first_in_the_next_draw():
    curriculum = started()
    curriculum.update([*near(3), *group_of(TASKS[4], [1, 1]), *group_of(TASKS[5], [0, 0])])
    assert ids(curriculum.draw(4, 2))[0] == "3"
    assert curriculum.metrics()["curriculum/waiting"] == 1.0


def test_no_more_than_its_share_comes_again_and_who_waits_longest_comes_first():
    curriculum = started(share=0.5)
    curriculum.update(near(6, 1, 2))
    assert ids(curriculum.draw(4, 2))[:2] == ["6", "1"]
    curriculum.update([])
    assert curriculum.metrics()["curriculum/replayed"] == 2.0
    assert ids(curriculum.draw(4, 2))[0] == "2"


def test_a_task_leaves_when_it_is_solved_and_after_its_times():
    curriculum = started(times=2)
    curriculum.update(near(3))
    for still_there in (True, False):
        assert ids(curriculum.draw(4, 2))[0] == "3"
        curriculum.update(near(3))
        assert (curriculum.metrics()["curriculum/waiting"] == 1.0) is still_there
    curriculum.update(near(5))
    curriculum.draw(4, 2)
    curriculum.update(group_of(TASKS[5], [1, 1]))
    assert curriculum.metrics()["curriculum/waiting"] == 0.0


def test_the_queue_is_bounded():
    curriculum = started(capacity=2)
    curriculum.update(near(0, 1, 2, 3))
    assert curriculum.state_dict()["queue"] == ["2", "3"]


def test_it_goes_on_where_a_checkpoint_left_it():
    curriculum = started()
    curriculum.draw(4, 2)
    curriculum.update(near(1, 2))
    restored = started()
    restored.load_state_dict(json.loads(json.dumps(curriculum.state_dict())))
    for _ in range(3):
        assert restored.draw(8, 2) == curriculum.draw(8, 2)
        restored.update(near(7))
        curriculum.update(near(7))


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match="no task"):
        Replay().start([], 0)
    with pytest.raises(ConfigError, match="low"):
        Replay.Config(low=1.0, high=0.5)
