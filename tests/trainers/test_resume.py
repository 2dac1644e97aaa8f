"""A run that is stopped or killed goes on, and ends with the very weights of one that was not (R12)."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import agentrl
from agentrl.display import Silent
from agentrl.errors import AgentRLError, RunDirectoryError
from tests.trainers.toy import final_weights, toy_settings


class StopAfter(Silent):
    """Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._stop = step

    def step(self, step: int, metrics: Mapping[str, Any]) -> None:
        if step == self._stop:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("straight")
    return agentrl.train(toy_settings(folder), run_dir=str(folder / "run")).run_dir


def test_the_same_settings_give_the_same_weights(straight: Path, tmp_path: Path) -> None:
    again = agentrl.train(toy_settings(tmp_path), run_dir=str(tmp_path / "run")).run_dir
    assert final_weights(again) == final_weights(straight)


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_run_stopped_after_any_step_ends_with_the_same_weights(straight: Path, tmp_path: Path, step: int) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        agentrl.train(toy_settings(tmp_path), run_dir=str(run), display=StopAfter(step))
    agentrl.train(resume=str(run))
    assert final_weights(run) == final_weights(straight)
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in steps if r["kind"] == "train"] == [1, 2, 3, 4]
    assert [r["step"] for r in steps if r["kind"] == "validation"] == [0, 2, 4]


NURSERY = """
import os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
import agentrl, agentrl.trainers.loop, transformers
from agentrl.errors import AgentRLError
from tests.trainers.toy import toy_settings
folder, kills, longest = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
settings, run = toy_settings(folder), folder / "run"
rng, killed = random.Random(int(sys.argv[4])), 0
while True:
    child = os.fork()
    if child == 0:
        try:
            if (run / "config.yaml").exists():
                agentrl.train(resume=str(run))
            else:
                agentrl.train(settings, run_dir=str(run))
            os._exit(0)
        except BaseException as error:
            print("child:", repr(error), flush=True)
            os._exit(3)
    until = time.monotonic() + (rng.uniform(0, longest) if killed < kills else 300)
    status = 0
    while time.monotonic() < until and not status:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            status = 1
            assert os.waitstatus_to_exitcode(code) == 0, "a run failed"
            sys.exit(0) if killed >= kills else None
        select = __import__("select").select([], [], [], 0.002)
    if status:  # finished before its kill: begin anew, kills are what is asked for
        __import__("shutil").rmtree(run)
        continue
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    killed += 1
"""


def killed_run(folder: Path, kills: int, longest: float, seed: int) -> Path:
    """The toy run, killed with SIGKILL at so many random moments and resumed each time, then left to its end."""
    toy_settings(folder)
    done = subprocess.run(
        [sys.executable, "-c", NURSERY, str(folder), str(kills), str(longest), str(seed)],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "run"


def test_a_run_killed_at_random_moments_ends_with_the_same_weights(straight: Path, tmp_path: Path) -> None:
    run = killed_run(tmp_path, kills=4, longest=1.2, seed=1)
    assert final_weights(run) == final_weights(straight)


@pytest.mark.slow
def test_a_run_killed_at_twenty_random_moments_ends_with_the_same_weights(straight: Path, tmp_path: Path) -> None:
    run = killed_run(tmp_path, kills=20, longest=1.5, seed=2)
    assert final_weights(run) == final_weights(straight)


def test_a_damaged_checkpoint_is_refused_with_its_name(straight: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        agentrl.train(toy_settings(tmp_path), run_dir=str(run), display=StopAfter(2))
    weights = next((run / "checkpoints").glob("step-*/model.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(RunDirectoryError, match=r"model\.safetensors is not what was written"):
        agentrl.train(resume=str(run))


def test_a_run_in_use_is_refused(tmp_path: Path) -> None:
    from agentrl.run_directory import RunDirectory

    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        agentrl.train(toy_settings(tmp_path), run_dir=str(run), display=StopAfter(1))
    with RunDirectory.open(run), pytest.raises(AgentRLError, match="in use by process"):
        agentrl.train(resume=str(run))


def test_a_disk_that_fills_up_while_a_checkpoint_is_written_leaves_the_last_one_whole(
    straight: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        agentrl.train(toy_settings(tmp_path), run_dir=str(run), display=StopAfter(2))
    before = json.loads((run / "checkpoints" / "last.json").read_text())
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "from agentrl.cli.main import main\n"
        "sys.exit(main(['train', '--resume', sys.argv[1]]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "cannot write" in done.stderr or "could not be written" in done.stderr
    assert json.loads((run / "checkpoints" / "last.json").read_text()) == before
    agentrl.train(resume=str(run))
    assert final_weights(run) == final_weights(straight)


def test_ctrl_c_ends_with_one_line_and_a_run_that_can_go_on(straight: Path, tmp_path: Path) -> None:
    import yaml

    run, config = tmp_path / "run", tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(toy_settings(tmp_path, trainer={"steps": 4})))
    process = subprocess.Popen(
        [sys.executable, "-m", "agentrl.cli.main", "train", "--config", str(config), "--run-dir", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not (run / "checkpoints" / "last.json").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode in (0, 130), errors  # 0: it was done just then
    assert "Traceback" not in errors
    agentrl.train(resume=str(run))
    assert final_weights(run) == final_weights(straight)
