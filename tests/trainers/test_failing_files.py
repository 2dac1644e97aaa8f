"""Every file operation of a run fails once: a clear end, a whole checkpoint, and the same weights after a resume."""

import errno
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from agentrl.cli.main import main
from agentrl.errors import AgentRLError
from agentrl.run_directory import RunDirectory
from agentrl.trainers.checkpoint import find_checkpoint
from tests.trainers.failing_files import REASONS, Files, failing
from tests.trainers.toy import final_weights, toy_settings

SMALL: dict[str, Any] = {
    "trainer": {"steps": 2, "minibatches": 1, "epochs": 1},
    "validation": {"num_tasks": 1, "every": 0},
    "rollout": {"tasks_per_step": 1, "group_size": 2, "max_turns": 2, "max_new_tokens": 2},
}


@dataclass(frozen=True)
class Toy:
    """The run that nothing disturbed."""

    config: Path
    operations: list[str]
    weights: bytes

    def play(self, folder: Path, fails: int, code: int) -> tuple[int, Files]:
        with failing(Files(folder, fails, code)) as files:
            status = main(["train", "--quiet", "--config", str(self.config), "--run-dir", str(folder / "run")])
        return status, files


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    folder = tmp_path_factory.mktemp("toy")
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(toy_settings(folder, **SMALL)))
    (folder / "free").mkdir()
    (folder / "counted").mkdir()
    assert main(["train", "--quiet", "--config", str(config), "--run-dir", str(folder / "free" / "run")]) == 0
    toy = Toy(config, [], final_weights(folder / "free" / "run"))
    status, files = toy.play(folder / "counted", 0, errno.EIO)
    assert status == 0 and final_weights(folder / "counted" / "run") == toy.weights
    assert not files.escaped
    toy.operations.extend(files.operations)
    return toy


def ends_well(toy: Toy, folder: Path, number: int, code: int, errors: Any) -> str:
    """Let one operation fail, then resume.   Returns what was told, empty where the run went on regardless."""
    status, files = toy.play(folder, number, code)
    told: str = errors().err
    what = f"operation {number}, {files.failed}: {REASONS[code]}: {told}"
    run = folder / "run"
    assert "Traceback" not in told, what
    if status:
        assert status == 2 and told.count("\n") == 1 and told.startswith("agentrl: "), what
    else:
        assert not told, what
    _is_whole(run, what)
    if not run.exists():
        assert list(folder.iterdir()) == [], what
        again = ["--config", str(toy.config), "--run-dir", str(run)]
    else:
        again = ["--resume", str(run)]
    assert main(["train", "--quiet", *again]) == 0, what + errors().err
    assert final_weights(run) == toy.weights, what
    assert not [p for p in run.rglob(".*") if not p.name.startswith(".nfs")], what
    steps = [(r["kind"], r["step"]) for r in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())]
    train, validation = [("train", 1), ("train", 2)], [("validation", 0), ("validation", 2)]
    assert sorted(steps) == train + validation, what
    errors()
    return told


def _is_whole(run: Path, what: str) -> None:
    """Every checkpoint that is committed is whole, and the run can be opened."""
    if not run.exists():
        return
    try:
        for name in ("last", "best"):
            find_checkpoint(run / "checkpoints", name)
        RunDirectory.open(run).close()
    except AgentRLError as error:
        pytest.fail(f"{what} left a run that cannot be opened: {error}")


def test_operations_of_every_sort_are_counted(toy: Toy) -> None:
    sorts = {operation.split()[0] for operation in toy.operations}
    assert sorts == {
        "open", "write", "pwrite", "ftruncate", "fsync", "close", "lock", "mkdir", "replace", "rename", "chmod",
        "unlink", "rmdir", "save",
    }  # fmt: skip
    for name in ("meta.json", "metrics.jsonl", "curve.svg", "checkpoints/last.json", "trajectories", "tensorboard"):
        assert any(name in operation for operation in toy.operations), name


def test_what_goes_around_the_counting_is_found(tmp_path: Path) -> None:
    import os

    mkdir = os.mkdir
    with failing(Files(tmp_path)) as files:
        mkdir(tmp_path / "around")
        (tmp_path / "counted").mkdir()
        (tmp_path / "counted" / "file").write_text("x")
        subprocess.run(["touch", tmp_path / "another"], check=True)
    assert files.escaped == ["os.mkdir around", str(tmp_path / "another")]
    assert files.operations == ["mkdir counted", "open counted/file", "write counted/file", "close counted/file"]


def test_one_operation_in_many_fails(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = max(1, len(toy.operations) // 4)
    for number in range(3, len(toy.operations) + 1, every):
        folder = tmp_path / str(number)
        folder.mkdir()
        ends_well(toy, folder, number, [errno.ENOSPC, errno.EIO][number % 2], capsys.readouterr)


@pytest.mark.slow
@pytest.mark.parametrize("code", REASONS)
def test_every_operation_fails(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int) -> None:
    for number in range(1, len(toy.operations) + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        ends_well(toy, folder, number, code, capsys.readouterr)
