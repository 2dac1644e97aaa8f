"""Policies without a model."""

import asyncio
import io

import pytest

from agentrl.config import RolloutConfig
from agentrl.errors import ConfigError, PolicyFailure
from agentrl.policies.human import Human
from agentrl.policies.scripted import Expert, RandomAdmissible
from agentrl.prompts.tags import Tags
from agentrl.runner import Job, Runner
from agentrl.types import Observation, Request, Sampling, Task, View
from tests.core import worlds

WORLD = worlds.world(worlds.InLoop)
ACTIONS = ("left", "right", "7")


def request(turn=0, seed=0, admissible=ACTIONS):
    task = Task("steps", "t", "train", seed=1)
    view = View(task, "Walk.", Observation("You are here.", admissible=admissible), turn=turn)
    return Request(view, (), None, (), Sampling(seed=seed), "e")


def reply(policy, **kwargs):
    return asyncio.run(policy.generate(request(**kwargs))).text


def test_a_random_policy_writes_in_its_format_and_follows_the_seeds():
    policy = RandomAdmissible(3, format=Tags())
    replies = [reply(policy, seed=seed) for seed in range(30)]
    assert set(replies) == {f"<action>{action}</action>" for action in ACTIONS}
    assert replies == [reply(RandomAdmissible(3, format=Tags()), seed=seed) for seed in range(30)]


def test_a_random_policy_guesses_where_the_world_tells_no_actions():
    class World:
        guess = staticmethod(lambda task, seed: f"{task.id}{seed % 7}")

    policy = RandomAdmissible(3, world=World, format=Tags())
    guesses = [reply(policy, seed=seed, admissible=None) for seed in range(30)]
    assert len(set(guesses)) == 7 and guesses == [reply(policy, seed=seed, admissible=None) for seed in range(30)]
    assert reply(policy, seed=1) in {f"<action>{action}</action>" for action in ACTIONS}
    with pytest.raises(ConfigError, match="tells no admissible actions"):
        reply(RandomAdmissible(3, format=Tags()), admissible=None)


def test_a_policy_without_a_format_takes_the_runners():
    policy = Expert(WORLD)
    with pytest.raises(ConfigError, match="pass format="):
        reply(policy)
    Runner(WORLD, policy, format="tags")
    assert reply(policy, turn=1) == "<action>right</action>"


def test_an_expert_without_a_solution_takes_the_first_admissible_action():
    world = worlds.world(worlds.InLoop)
    world.solution = lambda task: None
    assert reply(Expert(world, format=Tags())) == "<action>left</action>"


def test_a_person_reads_and_answers_by_word_or_number():
    out = io.StringIO()
    policy = Human(io.StringIO("right\n2\n7\n\n"), out, format=Tags())
    replies = [reply(policy) for _ in range(4)]
    assert replies == ["<action>right</action>", "<action>right</action>", "<action>7</action>", ""]
    assert out.getvalue().startswith("Walk.\n\nYou are here.\n\n  1 left\n  2 right\n  3 7\n> ")


def test_the_end_of_a_persons_input_is_told():
    with pytest.raises(PolicyFailure, match="the input has ended"):
        reply(Human(io.StringIO(""), format=Tags()))


def test_a_person_plays_a_whole_episode():
    policy = Human(io.StringIO("left\n1\nstraight on\n"))
    runner = Runner(WORLD, policy, format="action", rollout=RolloutConfig(tries=1))
    (found,) = runner.play([Job(worlds.tasks()[0], "g")])
    assert [turn.action for turn in found.turns] == ["left", "left", "straight on"]
    assert found.ended == "done" and found.policy == "human"
