"""Native against real, over whole panels: by what the real engine was heard to say of each game, and by playing it."""

import os
from pathlib import Path

import pytest

from agentrl.envs import alfworld
from agentrl.envs.alfworld.engine import TextWorldPlayer
from agentrl.envs.alfworld.generator import SPLITS
from agentrl.envs.alfworld.native import Simulator
from agentrl.panels import spread
from tests.envs import alfworld_differential as differential
from tests.envs.alfworld_differential import compare, done_before, read_digests, replay
from tests.envs.episodes import OFFICIAL, official

HEARD = Path(__file__).parent / "data" / "alfworld_heard.json"
"""Digests of games that both engines played, from one run of the differential; its `about` says how they are made."""
DATA = os.environ.get("AGENTRL_ALFWORLD_GAMES") or str(OFFICIAL)
"""Official games for the slow tests: a folder of all of them, or the seven that are shipped."""
GENERATED = alfworld.Config(data="generated", num_train=3555, num_valid=136)


UNHEARD = "-" * differential.DIGITS


def heard(source, split):
    """The digests of a panel, in its order."""
    return read_digests(HEARD, f"{source}/{split}")


@pytest.mark.parametrize("split", SPLITS)
def test_generated_games_say_what_the_real_engine_was_heard_to_say(split):
    panel, digests = alfworld.tasks(split, GENERATED), heard("generated", split)
    assert len(digests) == len(panel)
    played = [number for number in range(len(panel)) if digests[number] != UNHEARD]
    for number in spread(played, 40):
        assert replay(panel[number]).digest == digests[number], panel[number].id


def test_official_games_say_what_the_real_engine_was_heard_to_say():
    for split in SPLITS:
        digests = set(heard("official", split))
        for task in official(split):
            assert replay(task).digest in digests or UNHEARD in digests, task.id


def test_a_fault_of_the_native_engine_is_found_by_playing_and_by_the_digest(monkeypatch):
    task = official("valid_unseen")[0]
    player = TextWorldPlayer()
    sound = compare(player, task)
    assert sound.differences == [] and sound.walkthrough_wins and replay(task).digest == sound.digest
    assert sound.refused > 0 and sum(sound.verbs.values()) + sound.refused == sound.steps
    use = Simulator._use
    monkeypatch.setattr(Simulator, "_use", lambda self, thing: use(self, thing).replace("turn on", "switch on"))
    faulty = compare(player, task)
    player.close()
    assert faulty.digest == sound.digest, "it is of what the real engine said"
    assert faulty.differences and "You switch on the desklamp 1." in faulty.differences[0]
    assert replay(task).digest != sound.digest


def test_a_run_goes_on_where_it_was_cut_and_shards_share_the_work(tmp_path, capsys):
    out = tmp_path / "played.jsonl"
    common = [str(OFFICIAL), "--out", str(out), "--steps", "3"]
    assert differential.main([*common, "--num", "2", "--shard", "0/2"]) == 0
    first = done_before(out)
    with out.open("a") as file:
        file.write('{"id": "torn')
        file.write("\n")
    assert differential.main([*common, "--num", "2", "--shard", "1/2"]) == 0
    assert [len(first), len(done_before(out))] == [1, 2] and done_before(out)[:1] == first
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "differences: 0 in 0 games"


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
def test_every_generated_game_says_what_the_real_engine_was_heard_to_say(split):
    for task, digest in zip(alfworld.tasks(split, GENERATED), heard("generated", split), strict=True):
        assert digest in (replay(task).digest, UNHEARD), task.id


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
def test_every_official_game_says_what_the_real_engine_was_heard_to_say(split):
    digests = heard("official", split)
    panel = sorted(alfworld.tasks(split, alfworld.Config(data=DATA)), key=lambda task: task.id)
    if len(panel) < 100:  # the samples
        assert UNHEARD in digests or {replay(task).digest for task in panel} <= {*digests}
    else:
        for task, digest in zip(panel, digests, strict=True):
            assert digest in (replay(task).digest, UNHEARD), task.id


@pytest.mark.slow
def test_the_stock_engine_says_the_same_of_games_of_every_split():
    player = TextWorldPlayer("stock")
    for split in SPLITS:
        for task in spread(alfworld.tasks(split, alfworld.Config(data=DATA)), 2):
            played = compare(player, task)
            assert played.differences == [] and played.walkthrough_wins
    player.close()
