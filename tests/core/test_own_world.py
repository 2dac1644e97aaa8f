"""A world made of one's own Env class."""

import pytest

from agentrl.api import own_world
from agentrl.errors import ConfigError
from agentrl.own_world import OwnWorld
from tests.core.counter_world import TASKS, Counter, task


def test_tasks_are_split_by_what_they_say():
    world = OwnWorld.of(Counter, TASKS)
    assert world.SPLITS == ("train", "valid") and world.VALIDATION == "valid"
    assert [t.seed for t in world.tasks("train")] == [1, 2, 3]
    assert world.instructions(world.Config()) == Counter.instructions and world.tools(world.Config()) is None
    with pytest.raises(ConfigError, match="no split 'tran'; did you mean 'train'"):
        world.tasks("tran")


def test_one_panel_is_trained_on_and_judged_on():
    world = OwnWorld.of(Counter, {"train": [task(1, "train")]})
    assert world.VALIDATION == "train"


def test_a_class_may_bring_its_own_panels():
    class Whole(Counter):
        SPLITS = ("train", "test")

        @staticmethod
        def tasks(split, config):
            return [task(1, split)]

        @staticmethod
        def solution(task):
            return ["up"] * task.seed

    world = own_world(Whole, None)
    assert world.tasks("test")[0].id == "test-1" and world.solution(task(3)) == ["up"] * 3


def test_a_world_s_module_is_taken_as_it_is():
    from agentrl.envs import alfworld

    assert own_world(alfworld, None) is alfworld and own_world("alfworld", None) is alfworld
    with pytest.raises(ConfigError, match="tasks are given without a world"):
        own_world(None, TASKS)
