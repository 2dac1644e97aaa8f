"""Training with the summary memory: syntheses are sampled, carry loss, and number no turn."""

import json
from pathlib import Path

import pytest

import agentrl
from agentrl.records import read_trajectories
from tests.trainers.toy import toy_settings


@pytest.mark.parametrize("algo", ["grpo", "eapo", "gigpo"])
def test_syntheses_are_trained_and_number_no_turn(tmp_path: Path, algo: str) -> None:
    settings = toy_settings(
        tmp_path,
        algo=algo,
        memory="summary",
        trainer={"steps": 1, "checkpoint_every": 1, "epochs": 1, "minibatches": 1, "warmup_steps": 0},
        validation={"num_tasks": 0},
    )
    del settings["parts"], settings["settings"]
    settings["memory_settings"] = {"turns": 1}
    agentrl.train(settings, run_dir=str(tmp_path / "run"))
    played = [t for file in (tmp_path / "run" / "trajectories").glob("*") for t in read_trajectories(file)]
    turns = [turn for t in played for turn in t.turns]
    syntheses = [turn for turn in turns if turn.kind == "summarise"]
    assert syntheses and all(turn.completion.logprobs and turn.learn and not turn.action for turn in syntheses)
    assert all(t.num_acts <= 3 for t in played) and max(len(t.turns) for t in played) == 5
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert row["turns"] == pytest.approx(sum(t.num_acts for t in played) / len(played))
    assert row["tokens"] == pytest.approx(sum(t.num_tokens for t in played) / len(played))
