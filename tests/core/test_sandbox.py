"""The sandbox: what it says of programs, in which values tests are spoken, what it refuses."""

import asyncio
import json
import os
import subprocess
import sys
import time

import pytest

import agentrl.sandbox.isolation as ways
from agentrl.errors import ConfigError, WorldFailure
from agentrl.sandbox import (
    WAYS,
    CallTests,
    Exchange,
    ExchangeTests,
    Isolation,
    Limits,
    find_isolation,
    judge,
    judge_soon,
)
from agentrl.sandbox.inside import decode, encode
from agentrl.sandbox.system_calls import filter_program
from agentrl.workers.processes import is_alive
from tests.programs import needs_program

ADD = "def add(a, b=1): return a + b"
LIMITS = Limits(wall_seconds=30, memory=256)


@pytest.fixture(scope="module", params=["bubblewrap", "namespaces", "none"])
def way(request):
    if request.param == "bubblewrap":
        needs_program("bwrap")
    return WAYS[request.param]


def test_every_test_counts_for_itself(way):
    checks = ("assert add(1) == 2", "assert add(1, b=5) == 7", "assert add('x', 'y') == 'xy'", "raise ValueError('no')")
    verdict = judge(ADD, CallTests(checks, ("add",)), LIMITS, way)
    assert (verdict.passed, verdict.total, verdict.right) == (2, 4, False)
    assert verdict.why == "AssertionError in: assert add(1, b=5) == 7"
    assert verdict.isolation == way.kind and verdict.seconds > 0


def test_a_program_that_reads_and_prints_is_judged_by_its_lines(way):
    program = "print('read:', *input().split()[::-1])\nprint()"
    told = ExchangeTests((Exchange("1 2\n", "read: 2 1  \n\n"), Exchange("a b", "read: b a"), Exchange("", "read:")))
    verdict = judge(program, told, LIMITS, way)
    assert (verdict.passed, verdict.total) == (2, 3)
    assert verdict.why == "the program ended its process with code 1"
    wrong = judge("print(3)", ExchangeTests((Exchange("", "4"),)), LIMITS, way)
    assert wrong.why == "printed '3\\n' where ['4'] was expected"


@pytest.fixture(scope="module")
def best():
    return find_isolation()


@pytest.mark.parametrize(
    ("program", "passed"),
    [
        ("import sys\nfor line in sys.stdin: print(line.strip())", 1),
        ("import sys\nsys.stdout.write(sys.stdin.read())", 1),
        ("import os\nos.write(1, os.read(0, 100))", 1),
        ("import sys\nprint(input())\nsys.exit(0)", 1),
        ("import threading\nt = threading.Thread(target=lambda: print(input()))\nt.start()", 1),
        ("if __name__ == '__main__': print(input())", 1),
        ("import sys\nprint(input())\nsys.exit(3)", 0),
        ("print(input(", 0),
        ("print('x' * 2**22)", 0),
        ("import os\nif os.fork() == 0: os._exit(0)\nprint(input())", 1),
        ("import os, time\nif os.fork() == 0: time.sleep(1000)\nprint(input())", 1),
        ("import os\nos.kill(-1, 9)", 0),
    ],
)
def test_reading_and_printing_as_programs_do_it(program, passed, best):
    verdict = judge(program, ExchangeTests((Exchange("hello\n", "hello"),)), LIMITS, best)
    assert verdict.passed == passed, verdict.why


def test_what_is_expected_never_enters_the_sandbox(best):
    program = "import gc\nprint([o for o in gc.get_objects() if ''.join(('ses', 'ame')) in repr(o)[:5000]] and 'found')"
    assert judge(program, ExchangeTests((Exchange("", "open sesame"),)), LIMITS, best).why.startswith("printed '[]")


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -5, 2**200, -(2**70), 1.5, float("inf"), "text \ud800 \x00 ☃", b"\x00\xff", bytearray(b"x"),
        1 + 2j, [], [1, [2, (3, "x")]], (), (1,), {1, 2}, frozenset({(1, 2)}), {}, {"a": 1, 2: [3], (4, 5): None},
        range(1, 10, 3), {"tuple": [1]}, {"object": "x"}, [{"int": "0x1"}],
    ],
    ids=repr,
)  # fmt: skip
def test_plain_values_arrive_as_they_are(value):
    arrived = decode(encode(value))
    assert arrived == value and type(arrived) is type(value)


def test_values_of_every_kind_go_there_and_back(best):
    values = [
        "(1, 'x')",
        "{1, 2}",
        "{'a': {2: (3,)}}",
        "[None, True, 2**100, 1.5, 1j]",
        "b'x'",
        "range(3)",
        "frozenset()",
    ]
    checks = [f"assert same({v}) == {v} and type(same({v})) is type({v})" for v in values]
    checks.append("assert list(stream([1, 2])) == [1, 2] and stream([1]) != [1]")
    program = "def same(x): return x\ndef stream(x): return (y for y in x)"
    verdict = judge(program, CallTests(tuple(checks), ("same", "stream")), LIMITS, best)
    assert verdict.right, verdict.why


def test_an_exception_is_one_where_tests_expect_it(best):
    checks = (
        "try:\n    f(1)\nexcept ValueError as error:\n    assert str(error) == 'odd'\nelse:\n    raise AssertionError",
        "try:\n    g(1)\nexcept KeyError:\n    pass",
    )
    program = "def f(x): raise ValueError('odd')\nclass Own(Exception): pass\ndef g(x): raise Own"
    verdict = judge(program, CallTests(checks, ("f", "g")), LIMITS, best)
    assert verdict.passed == 1 and verdict.why.startswith("Own: ")


def test_tests_may_need_what_the_program_does_not_have(best):
    tests = CallTests(
        ("assert close(half(3), 1.5)",), ("half=Solution().half",), "def close(a, b): return abs(a - b) < 1e-9"
    )
    assert judge("class Solution:\n    def half(self, x): return x / 2", tests, LIMITS, best).right


def test_equal_programs_get_equal_verdicts(best):
    tests = CallTests(("assert order() == 'never'",), ("order",))
    program = "def order(): raise ValueError(list({str(i) for i in range(50)}))"
    assert len({judge(program, tests, LIMITS, best).why for _ in range(3)}) == 1


def test_without_tests_nothing_is_right(best):
    assert not judge(ADD, CallTests((), ("add",)), LIMITS, best).right
    assert not judge("", ExchangeTests(()), LIMITS, best).right


def test_many_are_judged_at_once_and_the_loop_goes_on(best):
    async def together():
        tests = CallTests(("assert add(1) == 2",), ("add",))
        turns = 0

        async def tick():
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        ticking = asyncio.ensure_future(tick())
        verdicts = await asyncio.gather(*(judge_soon(ADD, tests, LIMITS, best) for _ in range(12)))
        ticking.cancel()
        return verdicts, turns

    verdicts, turns = asyncio.run(together())
    assert all(verdict.right for verdict in verdicts) and turns > 12


def test_without_a_sandbox_it_refuses_in_one_line(monkeypatch):
    monkeypatch.setattr(ways, "_found", lambda: (None, "bubblewrap: bwrap is not installed; namespaces: not allowed"))
    with pytest.raises(ConfigError) as refusal:
        judge(ADD, CallTests((), ()))
    assert "apt-get install" in str(refusal.value) and "--unsafe-local-exec" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert find_isolation(unsafe=True) is WAYS["none"]


def test_a_sandbox_that_does_not_stand_is_no_verdict():
    def start(arguments, given, disk):
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit('no room')"], stdout=-1, stderr=-1)

    with pytest.raises(WorldFailure, match="sandbox: broken did not start: no room"):
        judge(ADD, CallTests((), ()), LIMITS, Isolation("broken", "", start))


@pytest.mark.parametrize("settings", [{"cpu_seconds": 0}, {"wall_seconds": 0}, {"memory": 8}, {"processes": 0}])
def test_limits_that_cannot_be_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Limits(**settings)


def test_the_filter_is_for_the_processors_that_it_knows():
    assert len(filter_program("x86_64")) % 8 == 0 and filter_program("x86_64") != filter_program("aarch64")
    assert filter_program("riscv64") is None


SLEEPER = """
import sys
from agentrl.sandbox import WAYS, CallTests, Limits, judge
program = "import os, time\\nfor _ in range(3): os.fork()\\ntime.sleep(1000)"
judge(program, CallTests(("f()",), ("f",)), Limits(wall_seconds=1000), WAYS[sys.argv[1]])
"""


@pytest.mark.parametrize("kind", ["bubblewrap", "namespaces"])
def test_nothing_outlives_a_parent_that_is_killed(kind):
    if kind == "bubblewrap":
        needs_program("bwrap")
    process = subprocess.Popen([sys.executable, "-c", SLEEPER, kind])
    below = until(lambda: len(found := descendants(process.pid)) >= 10 and found)
    process.kill()
    process.wait()
    assert until(lambda: not any(map(is_alive, below)))


def descendants(pid):
    from agentrl.workers.processes import tree

    return tree(pid)[1:]


def until(condition, seconds=60.0):
    """What the condition comes to once it holds."""
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        os.sched_yield()
    return found


def test_ctrl_c_is_the_parents_to_deal_with(best):
    """The sandbox stands in a session of its own, which a terminal's Ctrl-C does not reach."""
    with open(os.devnull) as nothing:
        process = best.start([json.dumps({"task": "nothing"})], nothing.fileno(), 1)
    assert os.getsid(process.pid) != os.getsid(0)
    ways.end(process, best)  # at any time: it may not have stood yet
    process.communicate()
    assert process.returncode is not None
