"""Two processes train one run: the same weights on both, those of one process, in one run directory."""

import dataclasses
import socket
from pathlib import Path

import torch

import agentrl
from agentrl.api import TrainResult, opened, resolve_layers
from agentrl.config import RunConfig
from agentrl.errors import RunDirectoryError
from agentrl.models.load import load_model
from agentrl.run_directory import RunDirectory
from agentrl.trainers.loop import train
from agentrl.types import Trajectory
from tests.trainers.processes import leave_group
from tests.trainers.toy import toy_settings


def reward(trajectory: Trajectory) -> float:
    """Something that differs between the episodes of a group."""
    return sum(i for turn in trajectory.turns for i in turn.completion.token_ids) % 7 / 7


def config_of(folder: Path, run: str) -> RunConfig:
    toy = toy_settings(folder, trainer={"steps": 2}, validation={"every": 1})
    toy["model"] = {**toy["model"], "dtype": "float64"}
    return resolve_layers({**toy, "run_dir": str(folder / run)})


def trained(config: RunConfig) -> tuple[TrainResult, torch.Tensor]:
    """Train; what came of it, and the weights in memory as one vector."""
    model = load_model(config.model)
    with opened(lambda: RunDirectory.create(config)) as run:
        result = train(config, run_dir=run, model=model, reward=reward)
    return result, torch.cat([p.detach().reshape(-1) for p in model.module.parameters()])


def _one_of_two(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    config = config_of(Path(folder), "two")
    result, weights = trained(config)
    torch.save(weights, Path(folder) / f"{rank}.pt")
    assert result.checkpoint is not None and result.checkpoint.is_dir()
    again = agentrl.train(resume=str(result.run_dir))
    assert dataclasses.asdict(again) == dataclasses.asdict(result)
    try:
        agentrl.train(config)
    except RunDirectoryError as error:
        assert "holds a run already" in str(error)
    else:
        raise AssertionError("the run directory was taken")
    leave_group()


def test_two_processes_end_with_the_weights_of_one_in_one_run_directory(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alone, weights = trained(config_of(tmp_path, "one"))
    torch.multiprocessing.spawn(_one_of_two, (port, str(tmp_path)), nprocs=2)  # type: ignore[no-untyped-call]
    together = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert torch.equal(*together)
    assert (together[0] - weights).abs().max() < 1e-9
    one, two = (RunDirectory.follow(tmp_path / name).metrics("train") for name in ("one", "two"))
    assert [r["step"] for r in two] == [1, 2]
    assert all(
        abs(a["grad_norm"] - b["grad_norm"]) < 1e-6 and a["grad_norm"] > 0 for a, b in zip(one, two, strict=True)
    )
    assert alone.steps == 2
