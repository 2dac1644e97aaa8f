"""Evaluations killed at random moments end as one that was left alone, and no finished episode is played again."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest


def killed(kills: int, seed: int, tasks: int) -> dict[str, Any]:
    """What `python -m tests.eval.killed` says."""
    words = ["--kills", str(kills), "--seed", str(seed), "--tasks", str(tasks)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.eval.killed", *words],
        capture_output=True,
        text=True,
        timeout=3600,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_an_evaluation_killed_at_twenty_moments_ends_as_one_that_was_left_alone() -> None:
    found = killed(kills=20, seed=1, tasks=8)
    assert found["problems"] == [] and found["kills"] == 20 and found["ends"] >= 1
