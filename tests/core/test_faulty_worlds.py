"""The worst worlds: each costs its own episode, the others are as in a run without it, and nothing is left behind."""

import asyncio
import os
import textwrap
import time
from pathlib import Path

import pytest

from agentrl.config import RolloutConfig
from agentrl.policies.scripted import Scripted
from agentrl.runner import Job, Runner
from tests.core.faulty_worlds import Faulty, FaultyInLoop, healthy, task_with
from tests.core.test_workers import HANG, ends, module_at, none_is_left, without_times


def played(tasks, world=Faulty, **settings):
    settings = {"workers": 2, "tries": 2, "worker_memory": 1.0, **settings}
    with Runner(world, Scripted(lambda view: "left"), format="action", rollout=RolloutConfig(**settings)) as runner:
        return runner.play([Job(task, task.id) for task in tasks])


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path, monkeypatch):
    """No process and no temporary file outlives a runner."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield
    assert none_is_left()
    assert [path.name for path in tmp_path.iterdir() if path.name != "pids"] == []
    pids = tmp_path / "pids"
    assert all(ends(int(pid)) for pid in (pids.read_text().split() if pids.exists() else ()))


def costs_itself(faulty, world=Faulty, **settings):
    """Play the faulty among the healthy.   Returns the failures of the faulty by the names of their tasks."""
    others = healthy()
    expected = [without_times(t) for t in played(others, world)]
    found = played([*others[:4], *faulty, *others[4:]], world, **settings)
    names = {task.id for task in faulty}
    assert [without_times(t) for t in found if t.task.id not in names] == expected
    return {t.task.id: (t.ended, t.tries, t.failure) for t in found if t.task.id in names}


def test_worlds_that_raise_anything_or_answer_anything_fail_by_name():
    words = {
        "base": "Strange: odd",
        "interrupt": "KeyboardInterrupt: not the user's",
        "generator_exit": "GeneratorExit",
        "cancelled": "CancelledError",
        "sys_exit": "SystemExit: 0",
        "stop_iteration": "StopIteration",
        "mute": "Mute: (its text cannot be made: ValueError)",
        "deep": "Deep: inner",
        "surrogate": "RuntimeError: ?",
        "nothing": "TypeError: the world returned NoneType; it must return an agentrl StepResult",
        "text": "TypeError: the world returned str; it must return an agentrl StepResult",
        "nan": "ValueError: StepResult.reward is nan; it must be finite",
        "infinite": "OverflowError: int too large to convert to float",
        "text_reward": "TypeError: StepResult.reward is str; it must be a number",
        "no_reward": "TypeError: StepResult.reward is NoneType; it must be a number",
        "list_reward": "TypeError: float() argument must be a string or a real number, not 'list'",
        "wrong_flag": "RuntimeError: neither",
        "bytes": "TypeError: Observation.text is bytes; it must be text",
        "no_text": "TypeError: Observation.text is NoneType; it must be text",
        "huge": "its answer has 100.0 MiB; at most 16 MiB are taken",
        "huge_image": "its answer has 100.0 MiB; at most 16 MiB are taken",
        "huge_list": "its answer has 100.0 MiB; at most 16 MiB are taken",
        "endless_list": "Observation.admissible has more than",
        "number_list": "TypeError: Observation.admissible is int; it must be text",
        "text_image": "TypeError: Observation.images holds str; it must hold PNG files as bytes",
        "long": "RuntimeError: xxx",
    }
    failures = costs_itself([task_with(kind) for kind in words])
    for kind, text in words.items():
        ended, tries, failure = failures[f"{kind}-step"]
        assert (ended, tries) == ("world_failure", 2), kind
        assert failure.startswith(f"Faulty.step: {text}") and len(failure) < 2100


@pytest.mark.parametrize("at", ["reset", "step", "outcome"])
def test_worlds_whose_process_dies_fail_by_name(at):
    words = {
        "segfault": "the worker was killed by SIGSEGV; it last printed: Fatal Python error: Segmentation fault",
        "abort": "the worker was killed by SIGABRT",
        "exit": "the worker exited with code 0",
        "kill": "the worker was killed by SIGKILL",
        "late_signal": "the worker was killed by signal 40",
        "kill_group": "the worker was killed by SIGKILL",
        "close_all": "the worker ",
        "print": "the worker sent what is no answer",
        "forge": "the worker sent what is no answer",
        "litter": "the worker was killed by SIGKILL",
    }
    failures = costs_itself([task_with(kind, at) for kind in words])
    for kind, text in words.items():
        ended, tries, failure = failures[f"{kind}-{at}"]
        assert (ended, tries) == ("world_failure", 2), kind
        assert failure.startswith(f"Faulty.{at}: {text}"), failure


def test_worlds_that_hang_fail_at_their_deadline():
    faulty = [task_with("hang", "reset"), task_with("hang_in_c"), task_with("stop"), task_with("hang", "outcome")]
    failures = costs_itself(faulty, step_seconds=HANG, reset_seconds=3 * HANG, workers=4, tries=1)
    assert failures["hang-reset"] == ("world_failure", 1, f"Faulty.reset: no answer within {3 * HANG:g} s")
    assert failures["hang_in_c-step"] == ("world_failure", 1, f"Faulty.step: no answer within {HANG:g} s")
    assert failures["stop-step"] == ("world_failure", 1, f"Faulty.step: no answer within {HANG:g} s")
    assert failures["hang-outcome"] == ("world_failure", 1, f"Faulty.outcome: no answer within {HANG:g} s")


def test_what_a_world_does_at_its_close_costs_no_episode():
    kinds = ["segfault", "exit", "kill", "hang", "close_all", "base", "mute", "flood", "allocate", "daemons"]
    faulty = [task_with(kind, "close", os.devnull) for kind in kinds]
    failures = costs_itself(faulty, step_seconds=2 * HANG)
    assert set(failures.values()) == {("done", 1, None)}


def test_what_a_world_has_forked_ends_with_it(tmp_path):
    """Children, daemons in sessions of their own, a storm; and a child that comes back as a second worker."""
    kinds = ["children", "daemons", "fork_and_return"]
    failures = costs_itself(
        [*(task_with(kind, file=tmp_path / "pids") for kind in kinds), task_with("storm", file=tmp_path / "pids")],
        step_seconds=30.0,
    )
    assert [failures[f"{kind}-step"] for kind in kinds] == [("done", 1, None)] * 3
    assert len((tmp_path / "pids").read_text().split()) > 6


def test_daemons_of_a_world_that_died_end_at_once(tmp_path):
    file = tmp_path / "pids"
    rollout = RolloutConfig(workers=1, tries=1)
    with Runner(Faulty, Scripted(lambda view: "left"), format="action", rollout=rollout) as runner:
        (trajectory,) = runner.play([Job(task_with("daemons_and_exit", file=file), "g")])
        assert trajectory.failure == "Faulty.step: the worker exited with code 7"
        pids = file.read_text().split()
        assert pids and all(ends(int(pid)) for pid in pids)
        (after,) = runner.play([Job(healthy()[0], "g")])
    assert after.ended == "done"


def test_a_world_that_floods_its_output_is_heard_to_the_end_of_it():
    failures = costs_itself([task_with("flood", at) for at in ("reset", "step", "outcome")])
    assert set(failures.values()) == {("done", 1, None)}


def test_a_world_without_measure_meets_the_limit_of_its_worker():
    faulty = [task_with(kind, at) for kind in ("allocate", "leak") for at in ("reset", "step")]
    failures = costs_itself(faulty, worker_memory=0.25)
    for name, (ended, tries, failure) in failures.items():
        assert (ended, tries) == ("world_failure", 2)
        assert "it last printed: MemoryError: rollout.worker_memory is 0.25 GiB" in failure, name


def test_what_a_world_starts_counts_into_its_memory(tmp_path):
    faulty = [task_with("children_allocate", file=tmp_path / "pids")]
    failures = costs_itself(faulty, worker_memory=0.25, tries=1)
    ended, _, failure = failures["children_allocate-step"]
    assert ended == "world_failure"
    assert failure.startswith("Faulty.step: the worker was ended: it held 0.") and "is 0.25 GiB" in failure


def test_the_folder_environment_and_alarm_of_an_episode_are_its_own():
    failures = costs_itself([task_with("rearrange", at) for at in ("reset", "step", "outcome", "close")], workers=1)
    assert set(failures.values()) == {("done", 1, None)}


def test_a_world_keeps_the_folder_and_environment_that_it_chose():
    (trajectory,) = played([task_with("rearrange", "reset")])
    assert [turn.observation.text for turn in trajectory.turns] == [
        "rearrange-reset begins 0 / theirs",
        "left 1 / theirs",
        "left 2 / theirs",
    ]


def test_many_that_kill_their_worker_cost_their_neighbours_no_try():
    others, killers = healthy(4), [task_with("kill", name=f"killer-{n}") for n in range(24)]
    found = played([*killers, *others], workers=1, tries=1)
    assert [(t.ended, t.tries) for t in found] == [("world_failure", 1)] * 24 + [("done", 1)] * 4


def test_a_world_that_kills_the_process_above_it_is_found_and_fails():
    # one at a time: whoever is in play at each of its tries goes down with it, and may run out of tries of its own
    found = played([task_with("kill_parent_and_wait"), *healthy(4)], tries=2, concurrency=1)
    assert [t.ended for t in found] == ["world_failure"] + ["done"] * 4
    assert found[0].failure == "Faulty.step: the worker went down with the process that starts workers"


@pytest.mark.parametrize("kind", ["base", "cancelled", "sys_exit", "generator_exit", "stop_iteration", "mute", "long"])
def test_an_asynchronous_world_may_raise_anything(kind):
    failures = costs_itself([task_with(kind, at) for at in ("step", "outcome")], FaultyInLoop)
    for at in ("step", "outcome"):
        ended, tries, failure = failures[f"{kind}-{at}"]
        assert (ended, tries) == ("world_failure", 2)
        assert failure.startswith(f"FaultyInLoop.{at}: ") and len(failure) < 2100


def test_an_asynchronous_world_may_answer_anything():
    kinds = ["nothing", "nan", "wrong_flag", "huge", "huge_list", "endless_list"]
    failures = costs_itself([task_with(kind) for kind in kinds], FaultyInLoop)
    assert all(failures[f"{kind}-step"][:2] == ("world_failure", 2) for kind in kinds)
    assert failures["huge-step"][2] == "FaultyInLoop.step: its answer has 100.0 MiB; at most 16 MiB are taken"


def test_an_asynchronous_world_that_will_not_be_cancelled_fails_at_its_deadline():
    faulty = [task_with(kind, at) for kind in ("await", "deaf") for at in ("reset", "step", "outcome")]
    failures = costs_itself(faulty, FaultyInLoop, step_seconds=0.2, reset_seconds=0.2, tries=1)
    for (ended, _, failure), task in zip(failures.values(), faulty, strict=True):
        assert (ended, failure) == ("world_failure", f"FaultyInLoop.{task.data.at}: no answer within 0.2 s")


def test_an_asynchronous_world_that_hangs_at_its_close_costs_no_episode(caplog):
    failures = costs_itself([task_with("await", "close"), task_with("deaf", "close")], FaultyInLoop, step_seconds=0.2)
    assert set(failures.values()) == {("done", 1, None)}
    assert caplog.messages == ["FaultyInLoop.close: no answer within 0.2 s"] * 2


@pytest.mark.parametrize("world", [Faulty, FaultyInLoop])
def test_a_run_that_is_cancelled_does_not_wait_for_a_world_that_hangs(world):
    kind = "hang" if world is Faulty else "deaf"

    async def main() -> float:
        rollout = RolloutConfig(workers=1)
        runner = Runner(world, Scripted(lambda view: "left"), format="action", rollout=rollout)
        playing = asyncio.ensure_future(runner.run([Job(task_with(kind), "g")]))
        _, waiting = await asyncio.wait((playing,), timeout=1.0)
        assert waiting
        start = time.monotonic()
        playing.cancel()
        await asyncio.wait((playing,))
        runner.host.end()
        return time.monotonic() - start

    assert asyncio.run(main()) < 20.0  # its step has 30


def test_the_limit_of_memory_spares_what_is_only_reserved(tmp_path: Path):
    """As a JVM reserves its heap: far more than it will ever use."""
    (trajectory,) = played([task_with("reserve")], worker_memory=0.5)
    assert trajectory.ended == "done"


def test_what_the_import_of_a_world_has_started_ends_with_it(tmp_path: Path):
    source = f"""
    import os, subprocess, sys, tempfile, threading
    from tests.core.faulty_worlds import Faulty
    class Env(Faulty): pass
    if os.getpid() != {os.getpid()}:
        tempfile.mkdtemp()
        forever = [sys.executable, "-S", "-c", "import threading; threading.Event().wait()"]
        daemon = subprocess.Popen(forever, start_new_session=True)
        open({str(tmp_path / "pids")!r}, "w").write(str(daemon.pid))
        threading.Event().wait()
    """
    path = tmp_path.parent / "starting_world.py"
    world = module_at(path, textwrap.dedent(source))
    (trajectory,) = played(healthy(1), world.Env, reset_seconds=4 * HANG, tries=1)  # the daemon starts within them
    assert trajectory.failure == f"Env: the worker did not start: no answer within {4 * HANG:g} s"
    assert (tmp_path / "pids").exists()
