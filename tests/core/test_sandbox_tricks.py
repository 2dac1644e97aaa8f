"""Tricks of programs that want out, want the verdict, or want the machine: each contained, and nothing left of it."""

import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agentrl.sandbox import WAYS, CallTests, Limits, judge
from agentrl.workers.processes import is_alive, tree
from tests.core.tricks import EXHAUSTIONS, FORGERIES
from tests.core.tricks_reaching import REACHES
from tests.programs import needs_program

HELD = CallTests(("assert candidate(0) == 'held'",), ("candidate",))
UNKNOWN = CallTests(("assert candidate(20) == 5077",), ("candidate",))
REPORT = """
def candidate(x):
    try:
        reached = attack()
    except Exception:
        return "held"
    return f"reached {reached}" if reached else "held"
"""
LIMITS = Limits(wall_seconds=30, cpu_seconds=5, memory=256)
SMALL = Limits(wall_seconds=0.3, cpu_seconds=1, memory=128, disk=4, processes=12, output=256)


@pytest.fixture(scope="module", params=["bubblewrap", pytest.param("namespaces", marks=pytest.mark.slow)])
def way(request):
    """Ways to keep programs in; bubblewrap is what `make test` installs."""
    if request.param == "bubblewrap":
        needs_program("bwrap")
    return WAYS[request.param]


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """What there is to be reached: a server, sockets, a file, a variable; as lines for the head of a program."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret").write_text("a secret")
    name = f"agentrl-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as local,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        local.bind(str(folder / "socket"))
        local.listen()
        abstract.bind(f"\0{name}")
        abstract.listen()
        known = {
            "PORT": server.getsockname()[1],
            "SOCKET": str(folder / "socket"),
            "NAME": name,
            "SECRET_FILE": str(folder / "secret"),
            "CHECKOUT": str(Path(__file__).resolve().parents[2]),
            "PREFIX": Path(sys.base_prefix).parts[1],
            "PID": os.getpid(),
            "PARENT": os.getppid(),
        }
        yield "".join(f"{key} = {value!r}\n" for key, value in known.items())


def temporary_files():
    return set(os.listdir("/tmp")) if os.path.isdir("/tmp") else set()


@pytest.fixture(autouse=True)
def _nothing_is_left(monkeypatch):
    monkeypatch.setenv("AGENTRL_SECRET", "a secret")
    before = temporary_files()
    yield
    assert [pid for pid in tree(os.getpid())[1:] if is_alive(pid)] == []
    assert not {"planted", "link", "hard", "python", "own.so", "x", "disk"} & (temporary_files() - before)


@pytest.mark.parametrize("trick", REACHES)
def test_what_it_wants_to_reach_is_out_of_reach(trick, way, outside):
    verdict = judge(f"{outside}{REACHES[trick]}{REPORT}", HELD, LIMITS, way)
    assert verdict.right, verdict.why


@pytest.mark.parametrize("trick", FORGERIES)
def test_a_verdict_cannot_be_forged(trick, way):
    verdict = judge(FORGERIES[trick], UNKNOWN, Limits(wall_seconds=2, cpu_seconds=1, memory=256), way)
    assert (verdict.passed, verdict.total) == (0, 1)
    assert verdict.why


@pytest.mark.parametrize("trick", EXHAUSTIONS)
def test_what_it_uses_up_is_limited(trick, way):
    verdict = judge(EXHAUSTIONS[trick], UNKNOWN, SMALL, way)
    assert (verdict.passed, verdict.total) == (0, 1)
    assert verdict.why and verdict.seconds < 10


def test_memory_is_counted_over_all_processes(way):
    verdict = judge(EXHAUSTIONS["gigabytes over many children"], UNKNOWN, replace(SMALL, wall_seconds=20), way)
    assert verdict.why == "it held more than 128 MiB of memory"


@pytest.mark.parametrize(
    "trick", ["TCP", "a file of the outside", "system's files", "processes outside", "unix sockets of the outside"]
)
def test_a_trick_is_real_where_nothing_keeps_it_in(trick, outside):
    verdict = judge(f"{outside}{REACHES[trick]}{REPORT}", HELD, LIMITS, WAYS["none"])
    assert verdict.passed == 0 and verdict.why.startswith("AssertionError")


def test_there_are_more_than_a_hundred_tricks():
    assert len(REACHES) + len(FORGERIES) + len(EXHAUSTIONS) > 100
