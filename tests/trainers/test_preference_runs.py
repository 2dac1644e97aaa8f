"""Whole runs that learn from preferences: from a file, from rollouts of one's own, guided, interrupted and resumed."""

import json
from pathlib import Path
from typing import Any

import pytest

import agentrl
from agentrl.cli.main import main
from agentrl.errors import ConfigError
from agentrl.records import read_trajectories
from agentrl.registry import load
from agentrl.trainers.frozen_models import FrozenModels
from agentrl.types import Trajectory
from tests.trainers.test_seams import StopAfter
from tests.trainers.toy import final_weights, model_folder, toy_settings

ROWS = [
    ("Higher.", "ask 7", "ask 3"),
    ("Lower.", "ask 2", "ask 9"),
    ("number", "ask 5", "ask 5 5"),
    ("Ask.", "ask 1", "2"),
]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Twenty prompts whose better answer is the same for the same word."""
    rows = []
    for number in range(20):
        word, better, worse = ROWS[number % len(ROWS)]
        sides = {"chosen": better, "rejected": worse}
        said = {name: [{"role": "assistant", "content": text}] for name, text in sides.items()}
        rows.append({"prompt": [{"role": "user", "content": f"{word} {number + 1}"}], **said})
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return file


def settings_of(folder: Path, pairs: Path, **changes: Any) -> dict[str, Any]:
    """Eight steps of four pairs, in two updates each."""
    settings = toy_settings(folder, algo="dpo", env="prompts", trainer={"steps": 8, "lr": 3e-3, "epochs": 1})
    settings |= {"parts": {}, "settings": {}, "data": str(pairs), "env_settings": {"data": str(pairs)}}
    settings["rollout"] |= {"tasks_per_step": 4}
    settings["trainer"] |= {"warmup_steps": 0, "minibatches": 2}
    settings["validation"] = {"every": 4}
    return settings | changes


def records(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


@pytest.mark.parametrize("algo", ["dpo", "rpo", "simpo", "kto", "copg", "f-dpg"])
def test_preferences_of_a_file_are_learned_and_judged_on_prompts_that_are_held_out(algo, tmp_path, pairs):
    result = agentrl.train(settings_of(tmp_path, pairs, algo=algo), run_dir=str(tmp_path / "run"))
    steps, judged = records(result.run_dir, "train"), records(result.run_dir, "validation")
    assert len(steps) == 8 and "success" not in steps[0]
    last = judged[-1]
    assert last["pair_accuracy"] >= 0.5 and last["pair_margin"] > 0 and last["tally"]["all"]["episodes"] >= 1
    held = {task.id for task in load("env", "prompts").tasks("valid", world_config(pairs))}
    stored = (result.run_dir / "trajectories").glob("*.jsonl.gz")
    learned = {t.task.id for file in stored for t in read_trajectories(file)}
    assert held and learned and not held & learned


def world_config(pairs: Path) -> Any:
    return load("env", "prompts").Config(data=str(pairs))


def test_the_reference_is_asked_once_for_each_side_and_the_run_is_the_same_after_a_stop(tmp_path, pairs, monkeypatch):
    asked = []
    measure = FrozenModels._of_reference

    def counted(self, batch):
        asked.append(batch.view.num_trajectories)
        return measure(self, batch)

    monkeypatch.setattr(FrozenModels, "_of_reference", counted)
    settings = settings_of(tmp_path, pairs)
    settings["trainer"] |= {"checkpoint_every": 1}
    whole = agentrl.train(settings, run_dir=str(tmp_path / "whole")).run_dir
    assert sum(asked) == 40, "twenty pairs, the held-out ones too"
    with pytest.raises(KeyboardInterrupt):
        agentrl.train(settings, run_dir=str(tmp_path / "stopped"), display=StopAfter(3))
    assert main(["train", "--resume", str(tmp_path / "stopped"), "--quiet"]) == 0
    assert final_weights(tmp_path / "stopped") == final_weights(whole)
    assert [r["loss"] for r in records(tmp_path / "stopped", "train")] == [r["loss"] for r in records(whole, "train")]


def first_tokens(trajectory: Trajectory) -> float:
    """A reward in which the rollouts of a group differ."""
    return float(sum(turn.completion.token_ids[0] for turn in trajectory.turns))


def test_pairs_of_ones_own_rollouts_are_learned_from(tmp_path):
    settings = toy_settings(tmp_path, algo="dpo", trainer={"steps": 2, "epochs": 1, "minibatches": 1})
    settings |= {"parts": {"pairing": "all-pairs", "returns": "reward-sum"}, "settings": {}}
    settings["rollout"] |= {"group_size": 4}
    run = agentrl.train(settings, run_dir=str(tmp_path / "run"), reward=first_tokens).run_dir
    steps = records(run, "train")
    assert all("success" in step and "pairs/per_group" in step for step in steps)
    assert any(step["pairs/per_group"] > 0 and step["pairs/score_gap"] > 0 for step in steps)


def test_a_guidance_model_is_named_by_who_needs_it_and_by_nobody_else(tmp_path, pairs):
    settings = settings_of(tmp_path, pairs, algo="tgdpo")
    with pytest.raises(ConfigError, match="is guided by a model; name it"):
        agentrl.train(settings, run_dir=str(tmp_path / "unguided"))
    settings["trainer"] |= {"steps": 2}
    run = agentrl.train(settings, guidance=str(model_folder(tmp_path)), run_dir=str(tmp_path / "guided")).run_dir
    assert len(records(run, "train")) == 2
    with pytest.raises(ConfigError, match="no part of algorithm 'dpo' reads such a model"):
        agentrl.train(settings | {"algo": "dpo"}, guidance="somewhere", run_dir=str(tmp_path / "other"))


def test_an_algorithm_that_plays_its_own_episodes_refuses_a_file(tmp_path, pairs):
    with pytest.raises(ConfigError, match="plays its own episodes; data is for those that learn from others"):
        agentrl.train(settings_of(tmp_path, pairs, algo="grpo"), run_dir=str(tmp_path / "run"))


def test_the_command_line_needs_a_file_and_an_algorithm_alone(tmp_path, pairs, capsys):
    words = ["train", "--data", str(pairs), "--algo", "rpo", "--model", str(model_folder(tmp_path)), "--steps", "2"]
    assert main([*words, "--run-dir", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out
    assert "20 rows, preference, messages" in told and "rpo on prompts" in told
    assert "pairs in order" in told and "agentrl play --env prompts --data" in told
