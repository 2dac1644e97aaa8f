"""A run with an adapter: it begins the same each time, goes on as if nothing had happened, and is exported merged."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import agentrl
from agentrl.config import ModelConfig
from agentrl.models.load import load_model
from agentrl.types import Trajectory
from tests.trainers.test_resume import StopAfter
from tests.trainers.toy import final_weights, toy_settings


def reward(trajectory: Trajectory) -> float:
    """Something that differs between the episodes of a group."""
    return sum(i for turn in trajectory.turns for i in turn.completion.token_ids) % 7 / 7


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """The toy run with an adapter and a reference, which is the base under it."""
    toy = toy_settings(folder, trainer={"steps": 2}, validation={"num_tasks": 0}, settings={"kl": {"coef": 0.1}})
    toy["model"] = {**toy["model"], "lora": 4}
    return toy | changes


def test_the_same_settings_give_the_same_adapter_whatever_was_drawn_before(tmp_path: Path) -> None:
    runs = []
    for number in range(2):
        torch.rand(number + 1)
        run = agentrl.train(settings(tmp_path), run_dir=str(tmp_path / f"run-{number}"), reward=reward).run_dir
        runs.append(final_weights(run))
    assert runs[0] == runs[1]
    other = agentrl.train(settings(tmp_path, seed=1), run_dir=str(tmp_path / "other"), reward=reward).run_dir
    assert final_weights(other) != runs[0]


def test_a_stopped_run_with_an_adapter_ends_with_the_same_weights_and_exports_them_merged(tmp_path: Path) -> None:
    straight = agentrl.train(settings(tmp_path), run_dir=str(tmp_path / "straight"), reward=reward).run_dir
    run = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        agentrl.train(settings(tmp_path), run_dir=str(run), reward=reward, display=StopAfter(2))
    agentrl.train(resume=str(run), reward=reward)
    assert final_weights(run) == final_weights(straight)
    record = json.loads((run / "checkpoints" / "last.json").read_text())
    folder = run / "checkpoints" / record["folder"]
    merged, base = load_model(ModelConfig(name=str(folder))), load_model(ModelConfig(name=str(tmp_path / "model")))
    moved = [n for n, p in merged.module.named_parameters() if not torch.equal(p, base.module.get_parameter(n))]
    assert moved and all("_proj" in name for name in moved)
