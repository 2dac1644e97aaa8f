"""TextWorld's engine made quick: the same texts as the native engine and as the stock one, and no trace left behind."""

import json
import random
import subprocess
import sys
import threading

import pytest

from agentrl.envs import alfworld
from agentrl.envs.alfworld.cache import cache_folder, read_json, write_json
from agentrl.envs.alfworld.engine import (
    AlfredDemangler,
    AlfredEngine,
    EnvInfos,
    PddlEnv,
    TextWorldPlayer,
    Translations,
    as_mapping,
)
from agentrl.envs.alfworld.native import Simulator
from agentrl.envs.alfworld.sources import GameRef, load_game, load_text, load_walkthrough
from agentrl.errors import DataError
from agentrl.panels import spread
from agentrl.types import Task
from tests.envs.alfworld_differential import compare, walk
from tests.envs.episodes import OFFICIAL, official, play
from tests.envs.small_game import CLEAN, LOOK, PROBLEM


def agree(player, ref, steps, seed):
    """Play a game on both engines; every text, list, score and end must be the same."""
    played = compare(player, Task("alfworld", ref.path or str(ref.index), ref.split, 0, data=ref), steps, seed)
    assert played.differences == [] and played.steps > 0
    return played


@pytest.fixture(scope="module")
def player():
    found = TextWorldPlayer()
    yield found
    found.close()


def written(folder, problem, **changes):
    """A game file of the official form."""
    text = load_text(official("train")[0].data)
    grammar = text.grammar.replace(text.sentence, "do it.")
    game = as_mapping(text) | {"pddl_problem": problem, "grammar": grammar, "walkthrough": []} | changes
    file = folder / "game.tw-pddl"
    file.write_text(json.dumps(game))
    return GameRef("folder", str(file), "train", 0)


@pytest.mark.parametrize("index", range(7))
def test_official_games_read_the_same_on_both_engines(player, index):
    games = [task.data for split in alfworld.SPLITS for task in official(split)]
    assert len(games) == 7
    agree(player, games[index], 24, seed=index)


@pytest.mark.parametrize("index", range(6))
def test_generated_games_read_the_same_on_both_engines(player, index):
    split = alfworld.SPLITS[index % 3]
    task = alfworld.tasks(split, alfworld.Config(data="generated"))[index]
    agree(player, task.data, 24, seed=index)


@pytest.mark.parametrize("goal", [CLEAN, LOOK])
def test_the_small_game_reads_the_same_on_both_engines(player, goal, tmp_path):
    for seed in range(3):
        agree(player, written(tmp_path, PROBLEM.replace("GOAL", goal)), 40, seed)


def test_the_quick_engine_says_what_the_stock_engine_says(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", list(sys.argv))  # the stock engine overwrites it
    infos = EnvInfos(feedback=True, won=True, admissible_commands=True, moves=True, facts=True)
    game = as_mapping(load_text(written(tmp_path, PROBLEM.replace("GOAL", CLEAN))))
    engines = [AlfredDemangler(kind(infos), shuffle=False) for kind in (PddlEnv, AlfredEngine)]
    for engine in engines:
        engine.load(game)
    stock, quick = (engine.reset() for engine in engines)
    rng = random.Random(4)
    for _ in range(30):
        for field in ("feedback", "admissible_commands", "won", "moves", "score", "done"):
            assert stock.get(field) == quick.get(field)
        assert sorted(map(str, stock["facts"])) == sorted(map(str, quick["facts"]))
        command = walk(quick["admissible_commands"], rng)
        (stock, *paid), (quick, *also) = (engine.step(command) for engine in engines)
        assert paid == also


@pytest.mark.parametrize("engine", ["native", "textworld"])
def test_walkthroughs_win_on_the_native_engine_and_on_the_real_one(engine):
    panel = [
        *spread(alfworld.tasks("valid_unseen", alfworld.Config(data="generated")), 3),
        *official("valid_unseen")[:1],
    ]
    env = alfworld.Env(alfworld.Config(engine=engine))
    for task in panel:
        _, results, outcome = play(env, task, alfworld.solution(task))
        assert outcome.success and all(result.valid for result in results)
    env.close()


def test_every_engine_gives_the_same_observations_through_the_env(tmp_path):
    task = Task("alfworld", "small", "train", 0, data=written(tmp_path, PROBLEM.replace("GOAL", LOOK)))
    actions = ["look", "frobnicate", " HELP", "go to desk 1", "take mug 2 from desk 1", "use desklamp 1"]
    engines = ("native", "textworld", "stock")
    native, *real = [play(alfworld.Env(alfworld.Config(engine=engine)), task, actions) for engine in engines]
    assert alfworld.Config().engine == "native" and native[2].success
    assert real == [native, native]


def test_a_second_load_takes_the_translation_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AGENTRL_CACHE", str(tmp_path))
    text = load_text(written(tmp_path, PROBLEM.replace("GOAL", LOOK)))
    first = Translations().get(text.domain, text.problem)
    (file,) = (cache_folder() / "alfworld" / "translated").rglob("*.json.z")
    write_json(file, {**first, "mark": "from the cache"})
    assert Translations().get(text.domain, text.problem)["mark"] == "from the cache"
    file.write_bytes(file.read_bytes()[:100])  # a torn file is made again
    assert Translations().get(text.domain, text.problem) == first
    assert read_json(file) == first


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AGENTRL_CACHE", str(tmp_path / "file" / "below"))
    text = load_text(written(tmp_path, PROBLEM.replace("GOAL", LOOK)))
    assert "sas" in Translations().get(text.domain, text.problem)


def test_importing_and_loading_leave_the_process_as_it_was(tmp_path):
    code = f"""
import os, sys
from agentrl.envs import alfworld
config = alfworld.Config(data={str(OFFICIAL)!r})
task = alfworld.tasks("train", config)[0]
assert not {{"textworld", "alfworld", "torch"}} & set(sys.modules)
out = sys.stdout
env = alfworld.Env(config)
env.reset(task)
assert not {{"textworld", "alfworld", "torch"}} & set(sys.modules)  # the native engine needs none
env = alfworld.Env(alfworld.Config(data={str(OFFICIAL)!r}, engine="textworld"))
env.reset(task)
assert "textworld" in sys.modules and "torch" not in sys.modules
assert sys.argv == ["-c", "mine"] and sys.stdout is out and "ALFWORLD_DATA" not in os.environ
assert not os.listdir(os.environ["HOME"])
"""
    env = {"HOME": str(tmp_path / "home"), "AGENTRL_CACHE": str(tmp_path / "cache")}
    (tmp_path / "home").mkdir()
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, "mine"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""


def test_threads_take_turns():
    games = [task.data for task in official("train")]
    expected = [Simulator(load_game(ref)).opening for ref in games]
    found = [""] * len(games)

    def work(number):
        mine = TextWorldPlayer()
        found[number] = mine.start(games[number])
        for command in load_walkthrough(games[number]):
            mine.play(command)
        assert mine.won
        mine.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(games))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


@pytest.mark.parametrize(
    "expression",
    [
        "{__import__('os').mkdir('harm')}",
        "{r.name.__class__}",
        "{open('harm', 'w')}",
        "[{r.name.upper() | openable(r:receptacle)}]",
    ],
)
def test_a_grammar_that_could_run_code_is_refused(player, tmp_path, monkeypatch, expression):
    monkeypatch.chdir(tmp_path)
    text = load_text(official("train")[0].data)
    grammar = text.grammar.replace("You close the {r.name}.", expression)
    assert grammar != text.grammar
    with pytest.raises(DataError, match="may do harm"):
        player.start(written(tmp_path, PROBLEM.replace("GOAL", CLEAN), grammar=grammar))
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"pddl_problem": "(define (problem"}, "cannot be translated"),
        ({"pddl_problem": PROBLEM}, "cannot be translated"),
        ({"pddl_domain": "(define (domain chess))"}, "cannot be"),
        ({"grammar": "no sentence here"}, "Your task is to"),
        ({"grammar": 'grammar :: "Your task is to: do it."'}, "cannot be loaded"),
    ],
)
def test_a_damaged_game_is_an_error_of_one_line_and_the_engine_goes_on(player, tmp_path, changes, wrong):
    with pytest.raises(DataError, match=wrong) as raised:
        player.start(written(tmp_path, PROBLEM.replace("GOAL", CLEAN), **changes))
    assert "\n" not in str(raised.value) and "game.tw-pddl" in str(raised.value)
    assert sys.argv[0] != "translate.py"
    agree(player, official("train")[0].data, 2, seed=0)
