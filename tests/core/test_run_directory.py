"""A run's folder: whole files, one process, repaired after a kill, nothing left of what failed."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from agentrl import run_directory
from agentrl.config import RunConfig
from agentrl.errors import DataError, RunDirectoryError
from agentrl.run_directory import RunDirectory, panel_hash, read_config, write_json, write_whole


def new(tmp_path, **settings) -> RunDirectory:
    return RunDirectory.create(RunConfig(env="guess", algo="grpo", **settings), root=tmp_path)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_run_is_named_after_what_it_does_and_numbered_on_a_clash(tmp_path):
    with new(tmp_path, seed=7) as first, new(tmp_path, seed=7) as second, new(tmp_path) as third:
        assert [run.path.name for run in (first, second, third)] == ["guess-grpo-7", "guess-grpo-7-2", "guess-grpo-0"]


def test_the_configuration_alone_repeats_the_run(tmp_path):
    config = RunConfig(env="guess", settings={"ppo-clip": {"clip_high": 0.28}}, run_dir=str(tmp_path / "mine"))
    with RunDirectory.create(config) as run:
        assert run.config() == config
        stored = read_config(run.config_file)
    assert stored.run_dir == "" and stored.settings == config.settings


def test_a_name_with_a_module_path_makes_a_plain_folder_name(tmp_path):
    with RunDirectory.create(RunConfig(env="my.module:World", algo="../../x"), root=tmp_path) as run:
        assert run.path.parent == tmp_path and run.path.name == "my.module-World-x-0"


def test_meta_says_what_the_run_ran_on(tmp_path):
    with RunDirectory.create(RunConfig(seed=3), root=tmp_path, command=["agentrl", "train"]) as run:
        run.update_meta(panels={"train": panel_hash(["a", "b"])})
        run.update_meta(panels={"valid": panel_hash(["b", "a"])})
        meta = run.meta()
    assert meta["seed"] == 3 and meta["schema"] == 1
    assert meta["starts"][0]["command"] == ["agentrl", "train"]
    assert {"python", "torch", "transformers"} <= set(meta["starts"][0]["environment"]["versions"])
    assert meta["starts"][0]["environment"]["hardware"]["cores"] >= 1
    assert meta["panels"]["train"] != meta["panels"]["valid"], "the order of a panel counts"


def test_a_run_in_use_names_the_process(tmp_path):
    with new(tmp_path) as run, pytest.raises(RunDirectoryError, match=f"in use by process {os.getpid()}"):
        RunDirectory.open(run.path)
    RunDirectory.open(run.path).close()


def test_the_lock_is_free_after_kill_9(tmp_path):
    code = (
        "import sys, time; from agentrl.config import RunConfig; from agentrl.run_directory import RunDirectory\n"
        f"run = RunDirectory.create(RunConfig(run_dir={str(tmp_path / 'r')!r})); print('ready', flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(RunDirectoryError, match=f"in use by process {process.pid}"):
            RunDirectory.open(tmp_path / "r")
        process.send_signal(signal.SIGKILL)
    RunDirectory.open(tmp_path / "r").close()


def test_a_folder_with_a_run_or_foreign_files_is_refused(tmp_path):
    with new(tmp_path) as run:
        pass
    with pytest.raises(RunDirectoryError, match=f"--resume {run.path}"):
        RunDirectory.create(RunConfig(run_dir=str(run.path)))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(RunDirectoryError, match=r"not empty \(it holds thesis.tex\)"):
        RunDirectory.create(RunConfig(run_dir=str(tmp_path / "other")))
    assert names(tmp_path / "other") == ["thesis.tex"]
    with pytest.raises(RunDirectoryError, match="there is no run directory"):
        RunDirectory.open(tmp_path / "nowhere")
    with pytest.raises(RunDirectoryError, match="holds no config.yaml"):
        RunDirectory.open(tmp_path / "other")


def test_metrics_cut_by_a_kill_are_repaired_and_later_steps_are_forgotten(tmp_path):
    with new(tmp_path) as run:
        for step in range(1, 5):
            run.log(step, {"success": step / 10, "loss": float("nan")})
        run.trajectory_file(3).write_bytes(b"x")
        run.trajectory_file(4).write_bytes(b"x")
        run.log(2, {"success": 0.5}, kind="validation")
    whole = run.metrics_file.read_bytes()
    run.metrics_file.write_bytes(whole + b'{"schema": 1, "step": 5, "succ')
    (run.path / ".config.yaml.99-aa.tmp").write_bytes(b"half")
    with RunDirectory.open(run.path) as again:
        assert again.metrics_file.read_bytes() == whole
        assert not list(run.path.glob(".*.tmp"))
        again.rewind(3)
        assert [r["step"] for r in again.metrics("train")] == [1, 2, 3]
        assert [r["success"] for r in again.metrics("validation")] == [0.5]
        assert again.metrics()[0]["loss"] is None, "nan is no JSON"
        assert names(again.trajectories) == ["step-000003.jsonl.gz"]
        again.log(4, {})
        assert [start["resumed"] for start in again.meta()["starts"]] == [False, True]


def test_killed_at_any_moment_the_metrics_hold_every_line_that_was_told(tmp_path):
    code = (
        "import sys; from agentrl.run_directory import RunDirectory\n"
        f"run = RunDirectory.open({str(tmp_path / 'guess-grpo-0')!r})\n"
        "for step in range(10_000):\n    run.log(step, {'text': 'x' * 5000}); print(step, flush=True)"
    )
    new(tmp_path).close()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        told = [process.stdout.readline() for _ in range(20)]
        process.kill()
        told += process.stdout.readlines()
    told = [line for line in told if line.endswith("\n")]
    with RunDirectory.open(tmp_path / "guess-grpo-0") as run:
        assert len(run.metrics()) in (len(told), len(told) + 1)


def test_a_damaged_line_says_where(tmp_path):
    with new(tmp_path) as run:
        run.log(1, {})
        run.metrics_file.write_bytes(b"rubbish\n" + run.metrics_file.read_bytes())
        with pytest.raises(DataError, match="damaged in line 1"):
            run.metrics()


def test_a_later_schema_is_refused_and_a_damaged_meta_too(tmp_path):
    with new(tmp_path) as run:
        write_json(run.meta_file, {"schema": 99})
        with pytest.raises(DataError, match="newer agentrl"):
            run.meta()
        run.meta_file.write_text("{")
        with pytest.raises(DataError, match="damaged"):
            run.meta()


def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    write_whole(tmp_path / "file", b"old")

    def full(file, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_directory.os, "write", full)
    with pytest.raises(DataError, match=r"cannot write .*file: No space left on device; free some space"):
        write_whole(tmp_path / "file", b"new" * 1000)
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == b"old"


def test_a_start_on_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(file, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_directory.os, "write", full)
    with pytest.raises(DataError, match="No space left"):
        new(tmp_path)
    assert names(tmp_path) == []


def test_a_file_too_large_for_the_system_is_one_line_and_half_a_metric_is_taken_back(tmp_path):
    code = (
        "import resource; from agentrl.run_directory import *; from agentrl.config import RunConfig\n"
        f"run = RunDirectory.create(RunConfig(run_dir={str(tmp_path / 'r')!r})); run.log(1, {{}})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "for act in (lambda: run.log(2, {'x': 'y' * 9000}), lambda: write_whole(run / 'big', b'z' * 9000)):\n"
        "    try: act()\n"
        "    except DataError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [line.split("; ")[1] for line in done.stdout.splitlines()] == [
        "free some space, then continue with --resume"
    ] * 2
    with RunDirectory.open(tmp_path / "r") as run:
        assert [r["step"] for r in run.metrics()] == [1]
        assert "big" not in names(run.path) and not list(run.path.glob(".*"))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 4096


def test_killed_while_writing_a_file_is_the_old_one_or_the_new_one(tmp_path):
    target = tmp_path / "file"
    code = (
        "from agentrl.run_directory import write_whole\nprint('ready', flush=True)\n"
        f"while True:\n    for c in (b'a', b'b'): write_whole({str(target)!r}, c * 300_000)"
    )
    for delay in (0.02, 0.05, 0.09):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            until = time.monotonic() + delay
            while time.monotonic() < until or not target.exists():
                with contextlib.suppress(FileNotFoundError):
                    assert len(target.read_bytes()) == 300_000
            process.kill()
        assert target.read_bytes() in (b"a" * 300_000, b"b" * 300_000)


def test_what_differs_from_the_last_start_is_told(tmp_path):
    with new(tmp_path) as run:
        pass
    meta = json.loads(run.meta_file.read_text())
    meta["starts"][0]["environment"]["versions"]["torch"] = "1.0"
    write_json(run.meta_file, meta)
    with RunDirectory.open(run.path) as again:
        (change,) = again.changed_since_last_start()
    assert change.startswith("torch 1.0, now ")


def test_a_run_that_wrote_nothing_can_be_taken_back_and_one_that_did_cannot(tmp_path):
    with new(tmp_path) as run:
        assert run.remove_unused() and not run.path.exists()
    with new(tmp_path) as run:
        run.log(1, {})
        assert not run.remove_unused() and run.path.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "is no YAML"),
        ("- 1\n- 2", "holds no settings"),
        ("trainer: {lrr: 1}", "unknown setting 'trainer.lrr'; did you mean 'trainer.lr'"),
        ("env: !!python/object/apply:os.system ['true']", "is no YAML"),
    ],
)
def test_a_bad_configuration_file_is_one_line(tmp_path, text, message):
    path: Path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(Exception, match=message) as raised:
        read_config(path)
    assert "\n" not in str(raised.value)


def test_the_stored_configuration_is_plain_yaml(tmp_path):
    with new(tmp_path, demonstrations=5) as run:
        assert yaml.safe_load(run.config_file.read_text())["demonstrations"] == 5
