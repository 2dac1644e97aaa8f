"""A run with worlds in workers, killed at random moments: no process is left, and its last weights are the same."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.trainers.toy import toy_settings

SETTINGS: dict[str, Any] = {"env": "tests.trainers.blocking_guess:WORLD", "rollout": {"workers": 2}}

KILLER = """
import hashlib, json, os, random, select, shutil, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
import agentrl, agentrl.trainers.loop, transformers
from agentrl.workers.processes import adopt_orphans, tree
from tests.trainers.test_kills import SETTINGS
from tests.trainers.toy import final_weights, toy_settings
folder, kills, longest = Path(sys.argv[1]), int(sys.argv[2]), 0.0
settings, run = toy_settings(folder, **SETTINGS), folder / "run"
rng, ends, slowest, most, moments = random.Random(int(sys.argv[3])), [], 0.0, 0, []
adopt_orphans()  # whoever loses its parent becomes our child, and is counted


def descendants():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    return tree(os.getpid())[1:]


while len(moments) < kills or len(ends) < 2:
    child = os.fork()
    if child == 0:
        try:
            if (run / "config.yaml").exists():
                agentrl.train(resume=str(run))
            else:
                agentrl.train(settings, run_dir=str(run))
            os._exit(0)
        except BaseException as error:
            print("child:", repr(error), file=sys.stderr, flush=True)
            os._exit(3)
    begun, ended = time.monotonic(), os.pidfd_open(child)
    wait = rng.uniform(0, longest) if ends and len(moments) < kills else 300
    if select.select([ended], [], [], wait)[0]:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "a run failed"
        ends.append(hashlib.sha256(final_weights(run)).hexdigest())
        longest = longest or 1.2 * (time.monotonic() - begun)  # the first is left alone: how long it takes here
        if len(moments) < kills or len(ends) < 2:
            shutil.rmtree(run)  # kills are what is asked for
    else:
        most = max(most, len(tree(child)))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        moments.append(round(time.monotonic() - begun, 3))
    os.close(ended)
    since = time.monotonic()
    while left := descendants():
        assert time.monotonic() - since < 5, [Path(f"/proc/{p}/cmdline").read_bytes()[:300] for p in left]
        select.select([], [], [], 0.01)
    slowest = max(slowest, time.monotonic() - since)
print(json.dumps({"ends": ends, "kills": len(moments), "slowest": slowest, "most": most}))
"""


def killed(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """The toy run, once undisturbed; then killed so many times, gone on with each time, and left to its end.

    Returns the digests of the weights of every run that came to its end, the undisturbed first; the seconds in which
    the last process that a killed run had started was gone at the slowest; and how many a run had at the most.
    """
    toy_settings(folder)
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(folder), str(kills), str(seed)],
        capture_output=True,
        text=True,
        timeout=3600,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "TMPDIR": str(folder)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [path.name for path in folder.glob("agentrl-*")], "temporary files are left"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_a_killed_run_leaves_no_process_and_ends_with_the_same_weights(tmp_path: Path) -> None:
    found = killed(tmp_path, kills=2, seed=3)
    assert len(set(found["ends"])) == 1 and found["kills"] == 2


@pytest.mark.slow
def test_a_run_killed_at_a_hundred_moments_leaves_no_process(tmp_path: Path) -> None:
    found = killed(tmp_path, kills=100, seed=4)
    assert len(set(found["ends"])) == 1 and found["kills"] == 100
    assert found["slowest"] < 5
    assert found["most"] > 4, "workers and their daemons were among the killed"
