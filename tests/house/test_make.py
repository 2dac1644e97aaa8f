"""`make` and its scripts: set up once, start at once afterwards, and say the one line that mends what is missing."""

import os
import re
import shutil
import subprocess

import pytest

from tests.house.project import ROOT
from tests.programs import needs_program

TARGETS = {
    "train",
    "train-long",
    "algorithms",
    "preferences",
    "evaluate",
    "test",
    "test-slow",
    "lint",
    "check",
    "bench",
    "docs",
    "tiny-model",
    "clean",
    "clean-all",
}


def run_make(*words):
    """As from a terminal, whatever `make` and its variables these tests were started with."""
    ours = {"ARGS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON", "VENV"}
    env = {name: value for name, value in os.environ.items() if name not in ours}
    command = [needs_program("make"), *words]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout


def run_script(script, *words, path, **env):
    command = ["/bin/bash", str(ROOT / "make" / script), *words]
    return subprocess.run(command, cwd=ROOT, env={"PATH": str(path), **env}, capture_output=True, text=True)


@pytest.fixture
def bare(tmp_path):
    """A folder of programs like that of a machine that has next to none, and no way to install any."""
    (tmp_path / "bin").mkdir()
    for program in ("id", "sed"):
        (tmp_path / "bin" / program).symlink_to(shutil.which(program))
    return tmp_path / "bin"


def test_make_alone_lists_every_target():
    assert set(re.findall(r"^  make ([a-z-]+)", run_make(), re.MULTILINE)) == TARGETS | {"help"}


def test_the_main_job_sets_up_first_and_starts_at_once_the_second_time(tmp_path):
    first = run_make("--dry-run", f"VENV={tmp_path}", "train")
    assert f"make/install.sh {tmp_path}\n" in first
    (tmp_path / ".ready-to-run").touch()
    second = run_make("--dry-run", f"VENV={tmp_path}", "train", "ARGS=--seed 1")
    assert second.split("\n") == [f"{tmp_path}/bin/agentrl train --env alfworld --algo epo --seed 1", ""]


def test_what_was_set_up_for_the_tests_serves_the_main_job(tmp_path):
    (tmp_path / ".ready-to-run").touch()
    assert "test,lora,lint" in run_make("--dry-run", f"VENV={tmp_path}", "test")
    assert f"touch {tmp_path}/.ready-to-run {tmp_path}/.ready-to-test" in run_make(
        "--dry-run", f"VENV={tmp_path}", "test"
    )


def test_a_changed_constraint_sets_up_anew(tmp_path):
    stamp = tmp_path / ".ready-to-run"
    stamp.touch()
    os.utime(stamp, (0, 0))
    assert "make/install.sh" in run_make("--dry-run", f"VENV={tmp_path}", "train")


def test_without_a_python_that_fits_one_line_says_so(bare):
    done = run_script("python.sh", path=bare)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "needs Python 3.11, 3.12 or 3.13" in done.stderr and "apt-get install" in done.stderr
    assert "at PYTHON=/nowhere/python3" in run_script("python.sh", path=bare, PYTHON="/nowhere/python3").stderr


def test_a_missing_program_that_may_not_be_installed_is_one_line(bare):
    done = run_script("system.sh", "sed=sed", "cc=build-essential", path=bare)
    assert done.returncode == 1
    assert done.stderr == (
        "missing system programs; run: sudo apt-get install -y --no-install-recommends build-essential\n"
    )


def test_a_missing_program_of_some_tests_stops_nothing(bare):
    done = run_script("system.sh", "--if-possible", "java=default-jre-headless", path=bare)
    assert done.returncode == 0 and "default-jre-headless" in done.stderr


def test_where_it_may_be_done_a_missing_program_is_installed(bare, tmp_path):
    asked = tmp_path / "asked"
    (bare / "id").unlink()
    for program, script in {"id": "echo 0", "apt-get": f'echo "$@" >>{asked}'}.items():
        (bare / program).write_text(f"#!/bin/bash\n{script}\n")
        (bare / program).chmod(0o755)
    done = run_script("system.sh", "java=default-jre-headless", path=bare)
    assert done.returncode == 0, done.stderr
    assert asked.read_text() == "install -y --no-install-recommends default-jre-headless\n"
