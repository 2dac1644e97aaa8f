"""Runs a program with its tests in a sandbox of its own, and says what came of it."""

import asyncio
import functools
import json
import math
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from agentrl.errors import WorldFailure
from agentrl.hardware import usable_cores
from agentrl.sandbox.isolation import Isolation, end, find_isolation
from agentrl.sandbox.words import CallTests, ExchangeTests, Limits, Tests, Verdict
from agentrl.workers.processes import memory, tree

MAX_WHY = 300
AT_ONCE = 8
"""Sandboxes of a process on a machine of few cores: some programs only sleep until their time is over."""
_START_SECONDS = 60.0
"""For a sandbox to stand, on a machine that has other things to do."""
_LOOK_SECONDS = 0.05
"""Between two looks at what a sandbox holds."""
_MEBIBYTE, _KIBIBYTE = 2**20, 2**10


def judge(program: str, tests: Tests, limits: Limits | None = None, way: Isolation | None = None) -> Verdict:
    """Run a program with its tests; blocks for as long as that takes, at most `limits.wall_seconds` once it stands.

    Afterwards nothing of it is left: no process, no file. Equal programs get equal verdicts, unless they ask the clock
    or draw random numbers.   way: how to keep it in; default the best that works here.
    Raises ConfigError where programs cannot be kept in, WorldFailure where a sandbox could not be started.
    """
    limits = limits or Limits()
    way = way or find_isolation()
    run = _Run(way, program, tests, limits)
    with run.started() as process:
        run.watch(process)
    return run.verdict()


async def judge_soon(program: str, tests: Tests, limits: Limits | None = None, way: Isolation | None = None) -> Verdict:
    """The same without blocking the loop; a few run at once (`AT_ONCE`, or one a core), others wait for their turn."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_threads(os.getpid()), judge, program, tests, limits, way)


@functools.cache
def _threads(process: int) -> ThreadPoolExecutor:
    """Threads that wait for sandboxes; those of a process that has forked are not its child's."""
    return ThreadPoolExecutor(max_workers=max(AT_ONCE, usable_cores()), thread_name_prefix="agentrl-sandbox")


class _Run:
    """One run: its process, what it says, why it was ended."""

    def __init__(self, way: Isolation, program: str, tests: Tests, limits: Limits) -> None:
        self._way, self._tests, self._limits = way, tests, limits
        task, job = _job(program, tests)
        self._job = json.dumps(job).encode()
        self._order = json.dumps({"task": task, "limits": asdict(limits)})
        self._said = b""
        self._stood = math.inf
        self._why = ""
        self._seconds = 0.0

    @contextmanager
    def started(self) -> Iterator["subprocess.Popen[bytes]"]:
        """The sandbox's outer process; at the end of the context it and all that it holds are gone."""
        with tempfile.TemporaryFile() if not hasattr(os, "memfd_create") else _memory_file() as given:
            given.write(self._job)
            given.seek(0)
            try:
                process = self._way.start([self._order], given.fileno(), self._limits.disk)
            except OSError as error:
                raise WorldFailure(f"sandbox: {error}") from error
        try:
            yield process
        finally:
            end(process, self._way)
            assert process.stdout is not None and process.stderr is not None
            process.stdout.close()
            complaint = process.stderr.read(4096)
            process.stderr.close()
        if self._stood == math.inf:
            words = complaint.decode("utf-8", "replace").strip().splitlines()
            why = self._why or (words[-1] if words else f"ended with {process.returncode}")
            raise WorldFailure(f"sandbox: {self._way.kind} did not start: {why[:MAX_WHY]}")

    def watch(self, process: "subprocess.Popen[bytes]") -> None:
        """Read what it says until it ends, or has to be ended."""
        assert process.stdout is not None
        output = process.stdout.fileno()
        os.set_blocking(output, False)
        poll = select.poll()
        poll.register(output, select.POLLIN)
        started = time.monotonic()
        next_look = started + _LOOK_SECONDS
        while not self._why:
            poll.poll(1000 * _LOOK_SECONDS)
            with suppress(BlockingIOError):
                part = os.read(output, 1 << 16)
                if not part:
                    break
                self._said += part
            now = time.monotonic()
            if self._stood == math.inf and b"\n" in self._said:
                self._stood = now
            if now >= next_look:
                self._look(process.pid)
                next_look = now + _LOOK_SECONDS
            if now > min(self._stood + self._limits.wall_seconds, started + _START_SECONDS + self._limits.wall_seconds):
                self._why = "it ran out of time" if self._stood < math.inf else "it did not stand in time"
            elif len(self._said) > self._most():
                self._why = "it said more than its limit of output"
        self._seconds = max(0.0, time.monotonic() - self._stood) if self._stood < math.inf else 0.0

    def _look(self, pid: int) -> None:
        """End a run that holds too much, or has too many processes (the kernel does not count those of root)."""
        pids = tree(pid)
        allowed = self._limits.memory * _MEBIBYTE
        if memory(pids, allowed) > allowed:
            self._why = f"it held more than {self._limits.memory} MiB of memory"
        elif len(pids) > self._limits.processes + 8:
            self._why = f"it had more than {self._limits.processes} processes"

    def _most(self) -> int:
        """Bytes that a sandbox says where nobody meddles with it: as JSON a character may take six."""
        if isinstance(self._tests, CallTests):
            return 8192 + 4 * 1024 * len(self._tests.checks)
        return 8192 + len(self._tests.exchanges) * (6 * _KIBIBYTE * self._limits.output + 1024)

    def verdict(self) -> Verdict:
        """What the lines say; a test without a line was not passed."""
        lines = [json.loads(line) for line in self._said.split(b"\n")[1:] if line.endswith(b"}")]
        results = [_result(self._tests, index, line) for index, line in enumerate(lines)]
        total = len(self._tests.checks if isinstance(self._tests, CallTests) else self._tests.exchanges)
        passed = sum(not why for why in results)
        first = next((why for why in results if why), "" if passed == total else self._why or "it ended early")
        return Verdict(passed, total, first[:MAX_WHY], self._seconds, self._way.kind)


def _job(program: str, tests: Tests) -> tuple[str, dict[str, Any]]:
    """(task, what the examiner reads). What a program should print stays outside."""
    if isinstance(tests, CallTests):
        words = {"setup": tests.setup, "names": tests.names, "checks": tests.checks}
        return "calls", {"program": program, **words}
    assert isinstance(tests, ExchangeTests)
    return "exchanges", {"program": program, "inputs": [exchange.given for exchange in tests.exchanges]}


def _result(tests: Tests, index: int, line: dict[str, Any]) -> str:
    """Why a test was not passed; empty where it was."""
    if isinstance(tests, CallTests):
        return "" if line["passed"] else str(line["why"]) or "failed"
    if line["why"]:
        return str(line["why"])
    expected, printed = _lines(tests.exchanges[index].expected), _lines(line["printed"])
    return "" if printed == expected else f"printed {line['printed'][:80]!r} where {expected[:3]} was expected"


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().split("\n")]


def _memory_file() -> Any:
    return open(os.memfd_create("agentrl-job"), "w+b")
