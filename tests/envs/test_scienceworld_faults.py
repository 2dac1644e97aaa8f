"""What goes wrong with Java machines costs an episode at most, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from agentrl.cli.main import main
from agentrl.config import RolloutConfig
from agentrl.envs import scienceworld
from agentrl.envs.scienceworld.machine import Machine
from agentrl.envs.scienceworld.simulation import Simulation, end_machines
from agentrl.errors import MissingDependency, WorldFailure
from agentrl.policies.scripted import Scripted
from agentrl.runner import Job, Runner
from tests.core.test_workers import ends
from tests.programs import needs_program

QUIET = scienceworld.Config(admissible="none", tasks=("lifespan-longest-lived",))
WAY = ["teleport to outside", "look around", "wait1", "inventory"]
"""What is done in every episode here; no task is fulfilled by it."""


@pytest.fixture(autouse=True)
def _nothing_is_left():
    needs_program("java")
    end_machines()
    before = set(machines())
    yield
    end_machines()
    assert all(ends(pid) for pid in set(machines()) - before)
    assert not [p for p in psutil.Process().children() if p.status() == psutil.STATUS_ZOMBIE]


def machines():
    """Java processes below this one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name() == "java":
                found.append(process.pid)
        except psutil.NoSuchProcess:
            pass
    return found


def played(policy, num=2, **settings):
    rollout = RolloutConfig(**{"workers": 1, "max_turns": len(WAY), "tries": 2, **settings})
    tasks = scienceworld.tasks("train", QUIET)[:num]
    with Runner(scienceworld, Scripted(policy), format="action", rollout=rollout, config=QUIET) as runner:
        found = runner.play([Job(task, task.id) for task in tasks])
        assert len(machines()) <= 1
    assert not machines()
    return found


def texts(trajectory):
    return [turn.observation.text for turn in trajectory.turns]


def way(view):
    return WAY[view.turn]


def once(act):
    """A policy that does something in the second turn of the first episode that gets there."""
    done = []

    def policy(view):
        if view.turn == 1 and not done:
            done.append(act())
        return WAY[view.turn]

    return policy


def kill_machines():
    for pid in machines():
        os.kill(pid, signal.SIGKILL)


def stop_machines():
    for pid in machines():
        os.kill(pid, signal.SIGSTOP)


def test_a_machine_that_is_killed_is_replaced_and_nothing_is_noticed():
    expected = [texts(t) for t in played(way)]
    found = played(once(kill_machines), tries=1)
    assert [t.ended for t in found] == ["turn_limit"] * 2
    assert [texts(t) for t in found] == expected


@pytest.mark.slow
def test_a_machine_that_hangs_costs_its_episode_a_try():
    found = played(once(stop_machines), num=1, step_seconds=3.0)
    assert [(t.ended, t.tries) for t in found] == [("turn_limit", 2)]


def test_a_machine_that_hangs_again_and_again_is_a_failure_of_the_world():
    def policy(view):
        stop_machines()
        return way(view)

    (found,) = played(policy, num=1, step_seconds=0.5, tries=1)
    assert (found.ended, found.failure) == ("world_failure", "scienceworld.step: no answer within 0.5 s")


def test_a_worker_that_is_killed_takes_its_machine_with_it():
    def kill_worker():
        (pid,) = machines()
        killed.append(pid)
        psutil.Process(pid).parent().kill()

    killed: list[int] = []
    found = played(once(kill_worker), num=1)
    assert [(t.ended, t.tries) for t in found] == [("turn_limit", 2)]
    assert ends(killed[0])


def test_a_machine_that_dies_of_a_command_fails_its_episode_and_the_next_has_a_new_one():
    simulation = Simulation("boil", 0, "easy", heap=128)
    machine = simulation._machine
    process = psutil.Process(machine.pid)
    with pytest.raises(WorldFailure, match="the Java machine ended with code 7"), machine._calling():
        machine._jvm.java.lang.System.exit(7)
    assert not machine.alive and not process.is_running()  # and buried
    again = Simulation("boil", 0, "easy", heap=128)
    assert again._machine is not machine and again.step("look around")[0]
    assert simulation.step("inventory")[0].startswith("In your inventory")  # what lived in the old one goes on, too


def test_a_command_of_which_two_machines_die_is_a_failure(monkeypatch):
    simulation, pids = Simulation("boil", 0, "easy", heap=128), []

    def dies(machine, place, command):
        with machine._calling():
            pids.append(machine.pid)
            machine._jvm.java.lang.System.exit(9)

    monkeypatch.setattr(Machine, "step", dies)
    with pytest.raises(WorldFailure, match="the Java machine ended with code 9"):
        simulation.step("look around")
    assert len(set(pids)) == 2


def test_a_machine_without_room_says_so_and_one_that_cannot_start_says_why(monkeypatch):
    machine = Machine(16)
    with pytest.raises(WorldFailure, match="ran out of memory: java_heap is 16 MiB"):
        for _ in range(40):
            machine.load(machine.take(), "boil", 0, "easy")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-XX:NoSuchFlag=1")
    with pytest.raises(WorldFailure, match="the Java machine ended with code 1: .*NoSuchFlag"):
        Machine(64)


def test_without_java_there_is_one_line_with_the_command_that_installs_it(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    line = "scienceworld needs Java, which is not installed. Run: sudo apt-get install -y --no-install-recommends"
    with pytest.raises(MissingDependency, match=line):
        scienceworld.Env(QUIET).reset(scienceworld.tasks("train", QUIET)[0])
    assert main(["eval", "--env", "scienceworld", "--policy", "random", "--episodes", "2"]) == 2
    assert line in " ".join(capsys.readouterr().err.split())


PARENT = """
import sys
from agentrl.config import RolloutConfig
from agentrl.envs import scienceworld
from agentrl.policies.scripted import Scripted
from agentrl.runner import Job, Runner
import psutil, time

def policy(view):
    if view.turn == 1:
        below = psutil.Process().children(recursive=True)
        with open(sys.argv[1], "w") as file:
            print(*(p.pid for p in below), file=file)
        time.sleep(60)
    return "look around"

config = scienceworld.Config(admissible="none")
with Runner(scienceworld, Scripted(policy), format="action", rollout=RolloutConfig(workers=1), config=config) as runner:
    runner.play([Job(task, task.id) for task in scienceworld.tasks("train", config)[:2]])
"""


def test_no_machine_outlives_a_parent_that_is_killed(tmp_path):
    file = tmp_path / "pids"
    os.mkfifo(file)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(file)], cwd=Path(__file__).resolve().parents[2])
    pids = list(map(int, file.read_text().split()))  # waits until an episode is in play
    assert "java" in {psutil.Process(pid).name() for pid in pids}
    parent.kill()
    parent.wait()
    assert all(ends(pid) for pid in pids)


@pytest.mark.slow
def test_no_machine_outlives_a_hundred_parents_that_are_killed(tmp_path):
    for number in range(100):
        folder = tmp_path / str(number)
        folder.mkdir()
        test_no_machine_outlives_a_parent_that_is_killed(folder)


ALONE = """
import sys
from agentrl.envs import scienceworld
config = scienceworld.Config(admissible="none", strict=True)
env = scienceworld.Env(config)
env.reset(scienceworld.tasks("train", config)[0])
print(env._simulation._machine.pid, flush=True)
if sys.argv[1] == "wait":
    sys.stdin.read()
"""


@pytest.mark.parametrize("how", [pytest.param("end", marks=pytest.mark.slow), "kill", "interrupt"])
def test_a_machine_of_a_process_without_workers_ends_with_it(how):
    process = subprocess.Popen(
        [sys.executable, "-c", ALONE, "end" if how == "end" else "wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    pid = int(process.stdout.readline())
    if how == "kill":
        process.kill()
    elif how == "interrupt":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    process.communicate()
    assert ends(pid)
