"""Our way of playing a compiled game against the original engine, and our way of making one against the package's."""

import itertools
import json
import random

import pytest

from agentrl.envs import textworld
from agentrl.envs.textworld import generator
from agentrl.envs.textworld.engine import Player
from agentrl.envs.textworld.games import GameRef, cached_file, load
from agentrl.envs.textworld.text import shown
from agentrl.panels import spread
from tests.envs.episodes import play
from tests.envs.test_conformity import TEXTWORLD
from tests.envs.textworld_stock import heard, ours, written

PANEL = textworld.Config(**TEXTWORLD)
ODD = ["take all", "open", "wait", "go nowhere", "examine me", "x door", "i", "take the coin", "eat knife", "north"]


def panel(split):
    return textworld.tasks(split, PANEL)


def wandering(task, seed, num=25):
    """A random walk with commands in it that the game refuses; it is a walk of our engine."""
    rng, player, commands = random.Random(seed), Player(), []
    player.start(task.data, 1)
    while len(commands) < num and not (player.won or player.lost):
        command = rng.choice(ODD) if rng.random() < 0.2 else rng.choice(player.admissible())
        commands.append(command)
        player.play(command)
    player.close()
    return commands


def compared(task, folder):
    file = written(task.data, folder)
    plan = textworld.solution(task)
    for commands in (plan, wandering(task, task.seed)):
        assert ours(task, commands) == heard(file, commands), (task.id, commands)
    assert ours(task, plan) == heard(file, plan), "also in an interpreter that was used for this game before"


@pytest.mark.parametrize("split", textworld.SPLITS)
def test_walkthroughs_and_random_walks_are_as_the_original_engine_plays_them(split, tmp_path):
    for task in panel(split):
        compared(task, tmp_path)


def test_an_episode_is_the_original_engines_with_cleaned_texts_and_score_gains_as_rewards(tmp_path):
    for task in panel("train"):
        plan = textworld.solution(task)
        stock = heard(written(task.data, tmp_path), plan)
        first, results, outcome = play(textworld.Env(PANEL), task, plan)
        seen = [first, *(result.observation for result in results)]
        assert [(o.text, o.admissible) for o in seen] == [(shown(text), commands) for text, commands, *_ in stock]
        most = max(score for _, _, score, *_ in stock)
        gains = [(b[2] - a[2]) / most for a, b in itertools.pairwise(stock)]
        assert [result.reward for result in results] == pytest.approx(gains)
        assert [result.terminated for result in results] == [won or lost for *_, won, lost in stock[1:]]
        assert outcome.success and outcome.score == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("split", textworld.SPLITS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"levels": (4, 5), "num_train": 60, "num_valid": 30},
        {"objective": "steps", "challenges": ("simple", "custom"), "num_train": 60, "num_valid": 30},
    ],
    ids=str,
)
def test_twenty_games_of_each_split_are_as_the_original_engine_plays_them(split, settings, tmp_path):
    for task in spread(textworld.tasks(split, textworld.Config(**settings)), 20):
        compared(task, tmp_path)


def test_a_game_that_is_made_quickly_is_the_packages_own(monkeypatch):
    ref = panel("train")[0].data
    assert cached_file(ref).is_file(), (
        "the tests' games are of this version of TextWorld, or tests.envs.textworld_games"
    )
    monkeypatch.setattr(generator, "_set_walkthrough", generator._STOCK_WALKTHROUGH)
    made, stored = generator.make(ref), load(ref)
    assert (_undated(made.story), made.walkthrough) == (_undated(stored.story), stored.walkthrough)
    assert _unordered(json.loads(made.about)) == _unordered(json.loads(stored.about))


def _undated(story):
    """The compiler writes the day into the header (bytes 18 to 23: the serial number)."""
    return story[:18] + story[24:]


def _unordered(value):
    """The package writes some sets as lists, in the order of the process's hash seed, and where it is installed."""
    if isinstance(value, dict):
        return {key: _unordered(item) for key, item in value.items() if not key.endswith("path")}
    return sorted(map(_unordered, value), key=repr) if isinstance(value, list) else value


@pytest.mark.slow
@pytest.mark.parametrize(
    "word",
    [
        "coin-collector:105",
        "simple:dense",
        "simple:sparse",
        "cooking:take=1+open+cook",
        "cooking:recipe=3+take=3+go=9+open+cook+cut",
    ],
)
@pytest.mark.parametrize("steps", [False, True])
def test_larger_games_too(word, steps, monkeypatch):
    for number in range(3):
        ref = GameRef(word, 4 * number, "train", steps)
        quick = generator.make(ref)
        with monkeypatch.context() as patch:
            patch.setattr(generator, "_set_walkthrough", generator._STOCK_WALKTHROUGH)
            assert generator.make(ref) == quick


def test_games_in_play_at_once_do_not_touch_each_other():
    tasks = panel("train")
    plans = [textworld.solution(task) for task in tasks]
    envs = [textworld.Env(PANEL) for _ in tasks]
    seen = [[env.reset(task)] for env, task in zip(envs, tasks, strict=True)]
    for turn in range(max(map(len, plans))):
        for env, plan, told in zip(envs, plans, seen, strict=True):
            if turn < len(plan):
                told.append(env.step(plan[turn]))
    for task, env, plan, told in zip(tasks, envs, plans, seen, strict=True):
        assert env.outcome().success
        env.close()
        first, results, _ = play(textworld.Env(PANEL), task, plan)
        assert told == [first, *results]


def test_the_banner_the_prompt_and_the_status_line_are_left_out():
    for task in panel("valid"):
        first, results, _ = play(textworld.Env(PANEL), task, textworld.solution(task))
        for text in (first.text, *(result.observation.text for result in results)):
            assert text and text == text.strip() and not text.endswith("=-0/1")
            assert not [part for part in ("$$$", "\n>", "\n\n", "RESTART", "<score>", "succeeded") if part in text]
        assert "The End" in results[-1].observation.text
