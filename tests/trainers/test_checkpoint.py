"""What a checkpoint brings back: every architecture's weights, and which checkpoint was the best."""

import json
from pathlib import Path

import pytest
import torch

import agentrl
from agentrl.config import TrainerConfig
from agentrl.trainers.checkpoint import find_checkpoint, restore, save_checkpoint
from agentrl.trainers.optimiser import Optimiser
from tests.models import tiny_model
from tests.trainers.test_resume import StopAfter
from tests.trainers.toy import final_weights, toy_settings

EXPERTS = {
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "gemma3_text": {},
}


@pytest.mark.parametrize("architecture", EXPERTS)
def test_weights_that_have_other_names_on_disk_come_back_bit_for_bit(architecture: str, tmp_path: Path) -> None:
    saved, fresh = (
        tiny_model(40, hidden=16, architecture=architecture, seed=s, **EXPERTS[architecture]) for s in (0, 1)
    )
    save_checkpoint(tmp_path, saved, Optimiser(saved.module, TrainerConfig()), 1, {}, best=True, keep=1)
    found = find_checkpoint(tmp_path)
    assert found is not None
    restore(found, fresh, Optimiser(fresh.module, TrainerConfig()))
    for name, parameter in saved.module.named_parameters():
        assert torch.equal(parameter, fresh.module.get_parameter(name)), name


def test_a_kill_between_the_two_commit_records_does_not_lose_the_best_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        agentrl.train(toy_settings(tmp_path), run_dir=str(run), display=StopAfter(3))
    best = run / "checkpoints" / "best.json"
    record = json.loads(best.read_text())
    assert record["step"] == 2 and record == json.loads((run / "checkpoints" / "last.json").read_text())
    best.unlink()  # as a kill leaves it that comes after last.json was written
    agentrl.train(resume=str(run))
    assert json.loads(best.read_text()) == record  # no later one was better


def test_a_stopped_run_goes_on_with_its_reference_also_where_the_model_is_in_no_folder(tmp_path: Path) -> None:
    toy = toy_settings(tmp_path, model={"name": "tiny-random"}, trainer={"steps": 2}, validation={"num_tasks": 0})
    toy |= {"settings": {"kl": {"coef": 0.1}, "epo": {"entropy_coef": 0.1}}}
    straight = agentrl.train(toy, run_dir=str(tmp_path / "straight")).run_dir
    run = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        agentrl.train(toy, run_dir=str(run), display=StopAfter(2))
    agentrl.train(resume=str(run))
    assert final_weights(run) == final_weights(straight)
