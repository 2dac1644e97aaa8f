"""Worlds in processes of their own: what goes wrong in one costs its episode and nothing else."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from agentrl.config import RolloutConfig
from agentrl.errors import ConfigError, DataError
from agentrl.policies.scripted import Scripted
from agentrl.records import trajectory_to_json
from agentrl.runner import Job, Runner
from agentrl.types import Observation, Task
from tests.core import worlds

WORLD = worlds.world(worlds.Steps)
PIDS = worlds.world(worlds.Pids)


def left(view):
    return "left"


def runner_of(world=WORLD, policy=None, config=None, **settings):
    settings = {"workers": 2, **settings}
    return Runner(world, policy or Scripted(left), format="action", config=config, rollout=RolloutConfig(**settings))


def play(tasks, world=WORLD, rollouts=1, **settings):
    with runner_of(world, **settings) as runner:
        return runner.play([Job(task, task.id, n) for task in tasks for n in range(rollouts)])


HANG = 2.0
"""Deadline of what hangs, where others of the run must keep to it on a loaded machine; what hangs waits so long."""


def workers():
    """Processes that this one has started, and theirs, alive."""
    return [p for p in psutil.Process().children(recursive=True) if p.is_running() and _status(p) != "zombie"]


def _status(process):
    try:
        return process.status()
    except psutil.NoSuchProcess:
        return "zombie"


def none_is_left():
    """Do all workers end, of which none is asked for any more."""
    return all(ends(process.pid) for process in workers())


def without_times(trajectory):
    record = trajectory_to_json(trajectory)
    for turn in record["turns"]:
        turn["seconds"] = {}
    return record


def ends(pid, seconds=60.0):
    """Does the process end: told by the system as soon as it does. One that does not is given so many seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(descriptor)


def test_a_synchronous_world_is_played_in_workers_that_end_with_the_runner():
    with runner_of(PIDS) as runner:
        found = runner.play([Job(task, task.id) for task in worlds.tasks()])
        pids = {int(t.turns[0].observation.text) for t in found}
        assert [t.ended for t in found] == ["done"] * 8
        assert os.getpid() not in pids and pids <= {p.pid for p in workers()}
    assert all(ends(pid) for pid in pids)


@pytest.mark.parametrize(
    ("kind", "at", "words"),
    [
        ("crash", "step", "SimpleNamespace.step: RuntimeError: the engine broke"),
        ("crash", "reset", "SimpleNamespace.reset: RuntimeError: the engine broke"),
        ("crash", "outcome", "SimpleNamespace.outcome: RuntimeError: the engine broke"),
        ("sys_exit", "step", "SimpleNamespace.step: SystemExit: 4"),
        ("huge", "step", "SimpleNamespace.step: its answer has 17.0 MiB; at most 16 MiB are taken"),
        ("wrong", "step", "SimpleNamespace.step: TypeError: the world returned str"),
        ("nan", "step", "SimpleNamespace.step: ValueError: StepResult.reward is nan"),
        ("hang", "step", f"SimpleNamespace.step: no answer within {HANG:g} s"),
        ("hang", "outcome", f"SimpleNamespace.outcome: no answer within {HANG:g} s"),
        ("exit", "step", "SimpleNamespace.step: the worker exited with code 5"),
        ("exit", "reset", "SimpleNamespace.reset: the worker exited with code 5"),
        ("kill", "step", "SimpleNamespace.step: the worker was killed by SIGKILL"),
        ("last_words", "step", "SimpleNamespace.step: the worker exited with code 3; it last printed: cannot open the"),
        ("chatter", "step", "SimpleNamespace.step: the worker sent what is no answer"),
    ],
)
def test_a_world_in_trouble_costs_its_own_episode_only(kind, at, words):
    healthy = worlds.tasks(num=12)
    expected = [without_times(t) for t in play(healthy)]
    seconds = HANG if kind == "hang" else 30.0
    found = play([*healthy[:6], worlds.troubled(kind, at), *healthy[6:]], step_seconds=seconds, tries=2)
    (poison,) = [t for t in found if t.task.id == "poison"]
    assert (poison.ended, poison.tries) == ("world_failure", 2)
    assert poison.failure.startswith(words)
    assert [without_times(t) for t in found if t is not poison] == expected


@pytest.mark.parametrize("kind", ["crash", "kill", "hang"])
def test_a_world_that_recovers_is_played_from_the_start_again(kind, tmp_path):
    seconds = HANG if kind == "hang" else 30.0
    (trajectory,) = play([worlds.troubled(kind, marker=tmp_path / "once")], step_seconds=seconds)
    assert trajectory.ended == "done" and trajectory.tries == 2 and len(trajectory.turns) == 3


@pytest.mark.parametrize("at", ["step", "close"])
def test_a_world_that_floods_its_output_is_not_disturbed(at):
    found = play([worlds.troubled("flood", at, name=f"loud-{n}") for n in range(4)])
    assert [(t.ended, t.tries) for t in found] == [("done", 1)] * 4


def test_a_world_that_hangs_at_reset_has_that_deadline():
    # its worker has to start within that deadline too
    (trajectory,) = play([worlds.troubled("hang", "reset")], reset_seconds=2 * HANG, tries=1, workers=1)
    assert trajectory.failure == f"SimpleNamespace.reset: no answer within {2 * HANG:g} s"


def test_a_world_that_hangs_at_its_close_costs_a_worker_and_no_episode():
    tasks = [worlds.troubled("hang", "close"), *worlds.tasks()]
    with runner_of(step_seconds=HANG, workers=1, concurrency=1) as runner:
        found = runner.play([Job(task, task.id) for task in tasks])
    assert [(t.ended, t.tries) for t in found] == [("done", 1)] * 9


def test_neighbours_of_a_dead_worker_lose_no_try():
    poison = [worlds.troubled("kill", name=f"poison-{n}") for n in range(3)]
    found = play([*poison, *worlds.tasks()], workers=1, tries=1)
    assert [t.ended for t in found] == ["world_failure"] * 3 + ["done"] * 8
    assert all(t.tries == 1 for t in found)


def test_a_damaged_game_comes_out_of_the_worker_as_what_it_is():
    with pytest.raises(DataError, match=r"^game 7 is damaged$"):
        play([worlds.troubled("damaged", "reset"), *worlds.tasks()])


def test_a_task_that_cannot_be_sent_is_told_at_once():
    task = Task("steps", "odd", "train", seed=0, data=lambda: None)
    with pytest.raises(ConfigError, match="cannot be sent to a worker process"):
        play([task])


def test_a_worker_is_replaced_after_so_many_episodes():
    with runner_of(PIDS, workers=1, episodes_per_worker=3, concurrency=1) as runner:
        found = runner.play([Job(task, task.id) for task in worlds.tasks(num=7)])
    pids = [t.turns[0].observation.text for t in found]
    assert [len(set(pids[i : i + 3])) for i in (0, 3)] == [1, 1]
    assert len(set(pids)) == 3


def test_rollouts_of_a_task_share_a_worker_and_tasks_are_spread():
    with runner_of(PIDS) as runner:
        jobs = [Job(task, task.id, n) for task in worlds.tasks(num=4) for n in range(8)]
        found = runner.play(jobs)
    pids = [t.turns[0].observation.text for t in found]
    assert all(len(set(pids[i : i + 8])) == 1 for i in range(0, 32, 8))
    assert sorted(map(pids.count, set(pids))) == [16, 16]


def test_workers_are_started_as_they_are_needed():
    with runner_of(PIDS, workers=8) as runner:
        runner.play([Job(worlds.tasks()[0], "g")])
        assert len(workers()) == 2  # the nursery and one worker


def test_workers_live_from_one_event_loop_to_the_next():
    with runner_of(PIDS, workers=1) as runner:
        pids = [runner.play([Job(task, task.id)])[0].turns[0].observation.text for task in worlds.tasks(num=3)]
    assert len(set(pids)) == 1


def test_a_runner_works_inside_a_running_loop():
    async def main():
        async with runner_of() as runner:
            inside = await runner.run([Job(task, task.id) for task in worlds.tasks()])
        with runner_of() as runner:
            beside = runner.play([Job(task, task.id) for task in worlds.tasks()])
        return inside, beside

    inside, beside = asyncio.run(main())
    assert [without_times(t) for t in inside] == [without_times(t) for t in beside]


def test_workers_can_be_shared_by_two_runners():
    with runner_of(PIDS, workers=1) as first:
        second = Runner(PIDS, Scripted(left), format="action", workers=first.host)
        pids = [r.play([Job(worlds.tasks()[0], "g")])[0].turns[0].observation.text for r in (first, second, first)]
    assert len(set(pids)) == 1


def test_a_nursery_that_is_killed_is_replaced():
    def policy(view):
        if not killed and view.turn == 1:
            killed.append(psutil.Process(int(view.exchanges[0].observation.text)).ppid())
            os.kill(killed[0], signal.SIGKILL)
        return "left"

    killed: list[int] = []
    with runner_of(PIDS, Scripted(policy)) as runner:
        found = runner.play([Job(task, task.id) for task in worlds.tasks()])
        assert killed[0] not in {p.pid for p in workers()}
    assert [(t.ended, t.tries) for t in found] == [("done", 1)] * 8


def test_the_worlds_import_that_fails_is_told(tmp_path):
    source = f"""
    import os
    from tests.core.worlds import Steps
    if os.getpid() != {os.getpid()}: raise RuntimeError("no engine")
    class Env(Steps): pass
    """
    world = module_at(tmp_path / "broken_world.py", textwrap.dedent(source))
    (trajectory,) = play(worlds.tasks(num=1), worlds.world(world.Env), tries=2)
    assert trajectory.ended == "world_failure" and trajectory.tries == 2
    assert trajectory.failure == "SimpleNamespace: the worker did not start: RuntimeError: no engine"


def test_a_world_whose_import_hangs_has_the_deadline_of_a_reset(tmp_path):
    source = f"""
    import os
    import threading
    from tests.core.worlds import Steps
    if os.getpid() != {os.getpid()}: threading.Event().wait()
    class Env(Steps): pass
    """
    world = module_at(tmp_path / "hanging_world.py", textwrap.dedent(source))
    found = play(worlds.tasks(num=2), worlds.world(world.Env), reset_seconds=0.5, tries=1)
    assert {t.ended for t in found} == {"world_failure"}
    assert found[0].failure == "SimpleNamespace: the worker did not start: no answer within 0.5 s"
    assert none_is_left()


def module_at(path, source):
    """A module from a file that is on no import path."""
    import importlib.util

    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def test_a_world_in_a_file_on_no_import_path_is_found(tmp_path):
    world = module_at(tmp_path / "lonely_world.py", "from tests.core.worlds import Pids\nclass Env(Pids): pass\n")
    (trajectory,) = play(worlds.tasks(num=1), worlds.world(world.Env))
    assert trajectory.turns[0].observation.text != str(os.getpid())


def test_a_world_whose_import_starts_threads_gets_fresh_interpreters(tmp_path):
    source = """
    import threading
    from tests.core.worlds import Pids
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    class Env(Pids): pass
    """
    world = module_at(tmp_path / "threaded_world.py", textwrap.dedent(source))
    found = play(worlds.tasks(num=4), worlds.world(world.Env))
    assert [t.ended for t in found] == ["done"] * 4
    assert len({t.turns[0].observation.text for t in found}) == 2


def local_env():
    class Local(worlds.Steps):
        def reset(self, task: Task) -> Observation:
            super().reset(task)
            return Observation(str(os.getpid()))

    return Local


def test_a_class_that_no_other_process_can_import_lives_in_a_thread():
    found = play(worlds.tasks(), worlds.world(local_env()))
    assert [(t.ended, t.turns[0].observation.text) for t in found] == [("done", str(os.getpid()))] * 8
    assert none_is_left()


def test_a_thread_that_hangs_is_left_behind():
    tasks = [worlds.troubled("hang"), *worlds.tasks()]
    found = play(tasks, worlds.world(local_env()), step_seconds=HANG, tries=2)
    assert [(t.ended, t.tries) for t in found] == [("world_failure", 2)] + [("done", 1)] * 8
    assert found[0].failure == f"SimpleNamespace.step: no answer within {HANG:g} s"


def test_a_bare_class_and_a_reward_of_ones_own():
    runner = Runner(worlds.Steps, Scripted(left), format="action", reward=lambda t: 0.5 * len(t.turns), workers=1)
    with runner:
        (trajectory,) = runner.play([Job(worlds.tasks()[0], "g")])
    assert [turn.reward for turn in trajectory.turns] == [0, 0, 2.5]
    assert runner.name == "Steps"


PARENT = """
import sys
from agentrl.policies.scripted import Scripted
from agentrl.runner import Job, Runner
from agentrl.types import Task
from tests.core import worlds

runner = Runner(worlds.world(worlds.Pids), Scripted(lambda view: "left"), format="action", workers=1)
runner.play([Job(Task("steps", "t", "train", 0, data=sys.argv[1]), "g")])
"""


def test_no_worker_outlives_a_parent_that_is_killed(tmp_path):
    file = tmp_path / "pids"
    os.mkfifo(file)
    root = Path(__file__).resolve().parents[2]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(file)], cwd=root)
    worker, nursery, grandchild = map(int, file.read_text().split())  # waits until the worker hangs in its reset
    assert {worker, nursery} <= {p.pid for p in psutil.Process(parent.pid).children(recursive=True)}
    parent.kill()
    parent.wait()
    assert [ends(pid) for pid in (worker, nursery, grandchild)] == [True] * 3


def test_a_worker_that_cannot_be_started_is_told(tmp_path):
    """Where its folder for temporary files cannot be made, say."""
    source = f"""
    import os, tempfile
    from tests.core.worlds import Steps
    class Env(Steps): pass
    if os.getpid() != {os.getpid()}:
        open(os.path.join(tempfile.gettempdir(), "1"), "w").close()
    """
    world = module_at(tmp_path / "filling_world.py", textwrap.dedent(source))
    (trajectory,) = play(worlds.tasks(num=1), worlds.world(world.Env), tries=1)
    words = "SimpleNamespace: the worker did not start: the worker could not be started: File exists"
    assert trajectory.failure == words
