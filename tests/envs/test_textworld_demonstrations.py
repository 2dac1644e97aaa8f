"""Demonstrations: the searching expert knows only what it has read, wins, and recovers from planted faults."""

import dataclasses
import re

import pytest

from agentrl.envs import textworld
from agentrl.errors import ConfigError
from tests.envs.episodes import play
from tests.envs.test_conformity import TEXTWORLD

PANEL = textworld.Config(**TEXTWORLD)


def shown(num=6, seed=0, **settings):
    return list(textworld.demonstrations("train", PANEL, num, seed, **settings))


def test_the_searching_expert_wins_every_game_and_plays_what_is_admissible():
    demonstrations = shown()
    assert {d.task.id for d in demonstrations} == {task.id for task in textworld.tasks("train", PANEL)}
    for demonstration in demonstrations:
        assert demonstration.outcome.success and demonstration.outcome.score == 1.0
        assert all(command in o.admissible and learn for o, command, learn in demonstration.steps)


def test_it_cooks_only_what_the_cookbook_said():
    for demonstration in shown():
        read = ""
        for observation, command, _ in demonstration.steps:
            read += observation.text
            if command.startswith("cook "):
                thing = re.sub(r"cook (.+) with \w+", r"\1", command)
                assert re.search(rf"(fry|roast|grill) the {thing}", read), (command, read)


def test_a_demonstration_replays_in_the_world_word_for_word():
    for demonstration in shown(3):
        actions = [command for _, command, _ in demonstration.steps]
        first, results, outcome = play(textworld.Env(PANEL), demonstration.task, actions)
        seen = [first, *(result.observation for result in results)]
        assert seen == [*(observation for observation, _, _ in demonstration.steps), demonstration.final_observation]
        assert outcome == demonstration.outcome


def test_the_walkthrough_may_demonstrate_instead():
    for demonstration in shown(direct=1.0):
        plan = textworld.solution(demonstration.task)
        assert [command for _, command, _ in demonstration.steps] == plan[: len(demonstration.steps)]


def test_games_come_in_a_seeded_order_each_once_before_any_again():
    ids = [d.task.id for d in shown(12)]
    assert set(ids[:6]) == set(ids[6:]) and len(set(ids)) == 6
    assert ids == [d.task.id for d in shown(12)] != [d.task.id for d in shown(12, seed=1)]


def test_clumsy_turns_are_admissible_and_recovered_from():
    clumsy = shown(12, eps=0.3)
    assert all(command in o.admissible for d in clumsy for o, command, _ in d.steps)
    assert all(d.outcome.success for d in clumsy) and clumsy != shown(12)
    assert sum(len(d.steps) for d in clumsy) > sum(len(d.steps) for d in shown(12))


def test_an_expert_that_has_too_few_steps_is_no_demonstration():
    hurried = dataclasses.replace(PANEL, max_steps=4)
    kinds = {d.task.kind for d in textworld.demonstrations("train", hurried, 6)}
    assert "cooking" not in kinds and "treasure-hunter" in kinds


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [({"directs": 0.1}, "did you mean 'demonstration_settings.direct'"), ({"eps": 1.5}, "from 0 to 1")],
)
def test_a_setting_of_the_demonstrators_that_cannot_be_is_refused(settings, wrong):
    with pytest.raises(ConfigError, match=wrong):
        shown(1, **settings)
