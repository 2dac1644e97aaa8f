"""Judgements in processes of their own: each has its own limits of time and memory, and costs nothing else.

What reads a model's words with a computer algebra system, or by a pattern, can be made to run for ever, inside one call
that no signal interrupts. So it runs in a worker, which is killed at its limit and replaced: a fork of a process that
has the imports behind it. Workers live until the process that asks ends, however it ends.
"""

import asyncio
import contextlib
import json
import signal
import sys
from typing import Any

from agentrl.envs.rlvr.questions import Limits
from agentrl.errors import WorldFailure
from agentrl.hardware import usable_cores
from agentrl.registry import load
from agentrl.types import Observation, Outcome, StepResult, Task
from agentrl.workers.failures import Displaced, OutOfMemory, WorkerLost
from agentrl.workers.pool import Limits as PoolLimits
from agentrl.workers.pool import Pool, PooledEnv
from agentrl.workers.slots import EnvSource

PATIENCE = 10
"""A judgement ends by the clock after so many times its processor time: of a machine that has other things to do."""
START_SECONDS = 120.0
_MAX_WORKERS = 8
_TRIES = 4
"""So often is a judgement begun whose worker went down under another one."""
_TASK = Task("rlvr-judge", "judge", "", 0)


class OverLimit(Exception):
    """A judgement ran into its limit of time or memory."""


class Judge:
    """One function in a worker, dressed as a world: an action is its arguments as JSON, an observation its result."""

    def __init__(self, function: str, seconds: float) -> None:
        """function: `module:name`.   seconds: of processor time for a call."""
        self._function, self._seconds = load("judge", function), seconds

    @staticmethod
    def preload(function: str, seconds: float) -> tuple[str, ...]:
        """What is imported once for all workers: the function's module, and what it names in `WARM`."""
        module = function.partition(":")[0]
        return (module, *getattr(sys.modules.get(module), "WARM", ()))

    def reset(self, task: Task) -> Observation:
        return Observation("")

    def step(self, action: str) -> StepResult:
        """Call; the system ends this process when its time is over, whatever it is in the midst of."""
        arguments = json.loads(action)
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_VIRTUAL, self._seconds)
        try:
            result = self._function(*arguments)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        return StepResult(Observation(json.dumps(result)))

    def outcome(self) -> Outcome:
        return Outcome(False, 0.0)

    def close(self) -> None:
        """Nothing is held."""


class Bench:
    """The judges of one function: so many at a time, each in a seat of its own."""

    def __init__(self, function: str, limits: Limits) -> None:
        number = limits.workers or min(usable_cores(), _MAX_WORKERS)
        source = EnvSource.of(Judge, (function, limits.seconds))
        assert source is not None
        self._pool = Pool(
            "verifier",
            source,
            PoolLimits(
                num_workers=number,
                start_seconds=START_SECONDS,
                step_seconds=PATIENCE * limits.seconds,
                episodes_per_worker=sys.maxsize,
                memory=int(limits.memory * 2**30),
                slack=1,
            ),
        )
        self._number = number
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seats: asyncio.Queue[PooledEnv | None] = asyncio.Queue()

    @property
    def taken(self) -> bool:
        """Is it in use by another event loop, which still runs."""
        return self._loop is not None and self._loop.is_running() and self._loop is not asyncio.get_running_loop()

    async def ask(self, *arguments: Any) -> Any:
        """What the function returns for these arguments; arguments and result are what JSON holds.

        Raises OverLimit, and WorldFailure for what the function raised and where no worker can be had.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._seats = loop, asyncio.Queue()
            for _ in range(self._number):
                self._seats.put_nowait(None)
        words = json.dumps(arguments)
        for _ in range(_TRIES):
            try:
                return json.loads(await self._asked(words))
            except (WorkerLost, OutOfMemory) as failure:
                raise OverLimit(str(failure)) from None
            except Displaced:
                continue
        raise WorldFailure("verifier: its worker went down again and again")

    async def _asked(self, words: str) -> str:
        seat, kept = await self._seats.get(), None
        try:
            if seat is None:
                seat = await self._pool.open(_TASK)
                await seat.reset(_TASK)
            result, _ = await seat.step(words)
            kept = seat
            return result.observation.text
        finally:
            if kept is None and seat is not None:
                with contextlib.suppress(WorldFailure):
                    await seat.close()
            self._seats.put_nowait(kept)

    def end(self) -> None:
        """End its workers at once."""
        self._pool.end()
        self._loop = None


_benches: dict[tuple[str, Limits], list[Bench]] = {}


async def judged(function: str, limits: Limits, *arguments: Any) -> Any:
    """A function's result, by a worker; see `Bench.ask`.   function: `module:name`."""
    benches = _benches.setdefault((function, limits), [])
    bench = next((b for b in benches if not b.taken), None)
    if bench is None:
        bench = Bench(function, limits)
        benches.append(bench)
    return await bench.ask(*arguments)


def end_all() -> None:
    """End every worker; the next judgement starts new ones."""
    for benches in _benches.values():
        for bench in benches:
            bench.end()
    _benches.clear()
