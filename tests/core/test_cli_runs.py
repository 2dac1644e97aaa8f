"""A run from end to end on the command line: train, continue, judge, play, export; and what is left of a failure."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentrl.cli.main import main
from agentrl.models.save import save_model
from tests.house.project import ROOT
from tests.models import tiny_model

COUNTER = "tests.core.counter_world:WORLD"
WORDS = ("Say", "up", "until", "I", "say", "enough.", "stop", "to", "go.", "What?", "Enough.", "1", "2", "3", "4")
SMALL = ["--set", "rollout={tasks_per_step: 2, group_size: 2, max_turns: 4}", "--set", "validation.num_tasks=2"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A random model's folder, made to say bare actions."""
    folder = tmp_path_factory.mktemp("models") / "random"
    save_model(tiny_model(WORDS, hidden=32), folder, {"format": "action", "rollout": {"max_new_tokens": 3}})
    return str(folder)


@pytest.fixture(scope="module")
def run(model, tmp_path_factory) -> str:
    """A run of two steps."""
    folder = str(tmp_path_factory.mktemp("runs") / "first")
    words = ["train", "--env", COUNTER, "--algo", "grpo", "--model", model, "--steps", "2", "--out", folder, "--quiet"]
    assert main([*words, *SMALL, "--set", "trainer.checkpoint_every=1"]) == 0
    return folder


def test_a_run_holds_what_its_page_says(run):
    assert {"config.yaml", "meta.json", "metrics.jsonl", "trajectories", "checkpoints"} <= set(os.listdir(run))
    records = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if r["kind"] == "train"] == [1, 2]
    assert "format: action" in Path(run, "config.yaml").read_text(), "the model's own setting"


def test_a_finished_run_is_continued_to_its_end(run, capsys):
    assert main(["train", "--resume", run]) == 0
    out = capsys.readouterr().out
    assert "What was learned" in out and f"agentrl train --resume {run}" in out
    assert len(json.loads(Path(run, "meta.json").read_text())["starts"]) == 2


def test_a_run_is_judged_and_played_as_it_was_trained(run, capsys):
    assert main(["eval", "--env", COUNTER, "--policy", run, "--quiet", "--greedy"]) == 0
    assert "/checkpoints/step-00000" in capsys.readouterr().out
    assert main(["play", "--env", COUNTER, "--policy", run, "--task", "valid-4"]) == 0
    assert "after 4 turns" in capsys.readouterr().out, "the run's max_turns"


def test_a_model_is_exported_with_how_it_wants_to_be_spoken_to(run, tmp_path, capsys):
    target = tmp_path / "mine"
    assert main(["export", run, str(target)]) == 0
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(os.listdir(target))
    assert "trainer" not in os.listdir(target)
    settings = json.loads((target / "agentrl.json").read_text())
    assert settings["format"] == "action" and settings["rollout"]["max_turns"] == 4
    assert main(["eval", "--env", COUNTER, "--policy", str(target), "--quiet"]) == 0
    assert main(["export", run, str(target)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["export", run, str(tmp_path / "other"), "--adapter"]) == 2
    assert "was not trained with --lora" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["mine"]


def test_trajectories_are_exported_as_lines(run, tmp_path):
    assert main(["export", run, str(tmp_path / "all.jsonl"), "--trajectories"]) == 0
    lines = (tmp_path / "all.jsonl").read_text().splitlines()
    assert len(lines) == 8 and all(json.loads(line)["task"]["id"].startswith("train-") for line in lines)


def test_a_run_in_use_is_refused(run, capsys):
    from agentrl.run_directory import RunDirectory

    with RunDirectory.open(run):
        assert main(["train", "--resume", run]) == 2
    assert f"is in use by process {os.getpid()}" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_one_line(model, tmp_path, capsys):
    folder = str(tmp_path / "run")
    words = ["train", "--env", COUNTER, "--algo", "grpo", "--model", model, "--steps", "1", "--out", folder, "--quiet"]
    assert main([*words, *SMALL]) == 0
    with Path(folder, "checkpoints", "step-000001", "model.safetensors").open("r+b") as file:
        file.write(b"rubbish")
    capsys.readouterr()
    assert main(["train", "--resume", folder]) == 2
    err = capsys.readouterr().err
    assert "is damaged" in err and err.count("\n") == 1


def test_a_model_that_is_not_there_leaves_no_folder(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", "--env", COUNTER, "--model", str(tmp_path / "nowhere"), "--out", str(out), *SMALL]) == 2
    assert capsys.readouterr().err.startswith("agentrl: ") and not out.exists()


def test_a_disk_that_is_full_at_the_first_checkpoint_is_one_line(model, tmp_path):
    code = (
        "import resource, sys; from agentrl.cli.main import main\n"
        "import agentrl.trainers.loop as loop\n"
        "save = loop.save_checkpoint\n"
        "def on_a_full_disk(*args, **settings):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "    return save(*args, **settings)\n"
        "loop.save_checkpoint = on_a_full_disk\n"
        f"sys.exit(main(['train', '--env', {COUNTER!r}, '--algo', 'grpo', '--model', {model!r}, '--steps', '1', "
        f"'--out', {str(tmp_path / 'run')!r}, '--quiet', *{SMALL!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.startswith("agentrl: ") and done.stderr.count("\n") == 1
    assert os.listdir(tmp_path / "run" / "checkpoints") == [], "nothing half-written"
