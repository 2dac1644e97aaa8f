"""Demonstrations: what the experts know, what is planted in them, and that they repeat."""

import dataclasses
import re

import pytest

from agentrl.envs import alfworld
from agentrl.errors import ConfigError
from tests.envs.episodes import OFFICIAL, play

GENERATED = alfworld.Config(engine="native", data="generated")
THING = re.compile(r"[a-z]+ \d+")


def shown(num, split="train", seed=0, **shares):
    return list(alfworld.demonstrations(split, GENERATED, num, seed, **shares))


def turns(demonstrations):
    return sum(len(d.steps) for d in demonstrations) / len(demonstrations)


def test_the_searching_expert_wins_and_names_only_what_it_has_read():
    demonstrations = shown(60)
    for demonstration in demonstrations:
        read = ""
        for observation, command, learn in demonstration.steps:
            read += observation.text + "\n"
            names = set(THING.findall(read))
            assert learn and set(THING.findall(command)) <= names, (command, read)
    assert sum(d.outcome.success for d in demonstrations) >= 57


def test_a_demonstration_replays_in_the_world_word_for_word():
    for demonstration in shown(6, eps=0.1, slips=0.1):
        actions = [command for _, command, _ in demonstration.steps]
        first, results, outcome = play(alfworld.Env(GENERATED), demonstration.task, actions)
        seen = [first, *(result.observation for result in results)]
        assert seen == [*(observation for observation, _, _ in demonstration.steps), demonstration.final_observation]
        assert outcome == demonstration.outcome


def test_the_same_seed_gives_the_same_demonstrations_and_another_seed_others():
    assert shown(5, eps=0.1) == shown(5, eps=0.1)
    assert {d.task.id for d in shown(5)}.isdisjoint(d.task.id for d in shown(5, seed=1))


def test_generated_demonstrations_are_of_games_that_no_panel_has():
    panel = {task.id for task in alfworld.tasks("train", GENERATED)}
    demonstrations = shown(50)
    assert len({d.task.id for d in demonstrations}) == 50 and not panel & {d.task.id for d in demonstrations}
    assert {d.task.split for d in demonstrations} == {"train"}


def test_official_games_are_shown_each_once_before_any_again():
    config = alfworld.Config(engine="native", data=str(OFFICIAL))
    ids = [d.task.id for d in alfworld.demonstrations("train", config, 7, 0)]
    assert set(ids[:3]) == set(ids[3:6]) and len(set(ids)) == 3
    assert len(list(alfworld.demonstrations("train", config, 0, 0))) == 3


def test_the_privileged_expert_goes_straight_there():
    direct, searching = shown(40, direct=1.0), shown(40)
    assert all(d.outcome.success for d in direct)
    assert turns(direct) < 7.5 < 10 < turns(searching)


def test_slips_are_refused_by_the_world_and_not_learned():
    demonstrations = shown(40, slips=0.2)
    slips = [s for d in demonstrations for s in d.steps if not s[2]]
    assert 0.08 < len(slips) / sum(len(d.steps) for d in demonstrations) < 0.25
    assert all(command not in observation.admissible for observation, command, _ in slips)
    assert all(command in o.admissible for d in demonstrations for o, command, learn in d.steps if learn)


def test_clumsy_turns_are_admissible_learned_and_recovered_from():
    demonstrations = shown(60, eps=0.15)
    assert all(command in o.admissible and learn for d in demonstrations for o, command, learn in d.steps)
    assert turns(demonstrations) > turns(shown(60))
    assert sum(d.outcome.success for d in demonstrations) >= 54


def test_searching_in_rounds_starts_anywhere_and_wins_too():
    rounds, order = shown(60, search="rounds"), shown(60)
    assert sum(d.outcome.success for d in rounds) >= 55
    assert [d.steps[0][1] for d in rounds] != [d.steps[0][1] for d in order]
    assert shown(3, search="rounds", direct=1.0) == shown(3, direct=1.0)


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [({"slip": 0.1}, "did you mean 'demonstration_settings.slips'"), ({"eps": 1.5}, "from 0 to 1")],
)
def test_a_setting_of_the_demonstrators_that_cannot_be_is_refused(settings, wrong):
    with pytest.raises(ConfigError, match=wrong):
        shown(1, **settings)


@pytest.mark.parametrize("tell", [True, False])
def test_what_the_game_accepts_is_told_only_where_asked_for(tell):
    config = dataclasses.replace(GENERATED, admissible=tell)
    for demonstration in alfworld.demonstrations("valid_seen", config, 2, 0):
        assert all((observation.admissible is not None) == tell for observation, _, _ in demonstration.steps)
