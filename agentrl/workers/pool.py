"""Workers for synchronous worlds: where an episode lives, how long a world may take, what happens when it dies.

Each worker hosts many episodes and serves their requests in order, one at a time. Episodes of one task go to the same
worker while the load stays even, so that what an engine has loaded for a task is used again.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agentrl.errors import AgentRLError, ConfigError, WorldFailure
from agentrl.types import Observation, Outcome, StepResult, Task
from agentrl.workers.failures import Displaced, WorkerLost, in_front
from agentrl.workers.lines import Line, Nurse, OnAnswer, OnLost, ProcessLine, ThreadLine
from agentrl.workers.slots import EnvSource
from agentrl.workers.wire import Answer

_REMEMBERED_TASKS = 8192


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a pool is held to."""

    num_workers: int
    start_seconds: float
    """Deadline of the import of the world, and of a reset."""
    step_seconds: float
    """Deadline of a step, an outcome and a close."""
    episodes_per_worker: int
    memory: int
    """Bytes that a worker may hold, and with it all that it starts; 0: no limit."""
    slack: int
    """So many more episodes than the least busy worker may one have to keep a task's episodes together."""


@dataclass(slots=True)
class _Call:
    operation: str
    seconds: float
    done: Callable[[Answer], None]


class _Worker:
    """One worker's requests, in the order in which it answers them; the first has the clock."""

    def __init__(self, name: str, alone: bool, make_line: Callable[[OnAnswer, OnLost], Line]) -> None:
        self.name, self.alone = name, alone
        self.live: set[int] = set()
        self.opened = 0
        self.retiring = False
        self.ready = False
        self.lost: AgentRLError | None = None
        self._calls: deque[_Call] = deque()
        self._clock: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop
        self.line = make_line(self._answered, self._died)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.line.attach(loop)
        self._start_clock()

    @property
    def busy(self) -> bool:
        """Does anyone wait for it, the closing of episodes that are over aside."""
        return bool(self.live) or any(call.operation != "close" for call in self._calls)

    def ask(self, operation: str, slot: int, argument: Any, seconds: float) -> "asyncio.Future[Answer]":
        """Send a request; its clock starts when the worker gets to it.

        Raises what the worker was lost to, or ConfigError for an argument that cannot be sent.
        """
        if self.lost is not None:
            raise type(self.lost)(str(self.lost))
        future: asyncio.Future[Answer] = self._loop.create_future()

        def answered(answer: Answer) -> None:
            if not future.done():  # its episode was cancelled
                future.set_result(answer)

        self.tell(operation, slot, argument, seconds, answered)
        return future

    def tell(self, operation: str, slot: int, argument: Any, seconds: float, done: Callable[[Answer], None]) -> None:
        """Send a request for which no one waits; `done` is called with its answer."""
        self.line.send(operation, slot, argument)
        self._calls.append(_Call(operation, seconds, done))
        if len(self._calls) == 1:
            self._start_clock()

    def _start_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        if self._calls:
            self._clock = self._loop.call_later(self._calls[0].seconds, self._overdue)

    def _answered(self, answer: Answer) -> None:
        if not self._calls:
            self.line.kill()
            self._fail("the worker spoke unasked")
            return
        call = self._calls.popleft()
        self._start_clock()
        if call.operation == "start":
            if answer.error is not None:
                self.line.kill()
                error = answer.error
                if type(error) is WorldFailure:
                    error = WorldFailure(f"{self.name}: the worker did not start: {error}")
                self.give_up(error, error)
            self.ready = answer.error is None
        call.done(answer)

    def _overdue(self) -> None:
        call = self._calls[0]
        self.line.kill()
        self._fail(f"no answer within {call.seconds:g} s")

    def _died(self, why: str, blame: bool) -> None:
        self._fail(f"the worker {why}", blame)

    def _fail(self, why: str, blame: bool = True) -> None:
        """The worker is gone. One that never got ready fails all alike; else the request it was at is to blame.

        What kills the nursery may be the world of any of its workers: it is found when it plays alone.
        """
        displaced = Displaced(f"{self.name}: the worker was lost under another episode ({why})")
        if not blame and not (self.alone and self.ready and self._calls):
            self.give_up(displaced, displaced)
            return
        if not self.ready:
            failure = WorldFailure(f"{self.name}: the worker did not start: {why}")
            self.give_up(failure, failure)
            return
        operation = self._calls[0].operation if self._calls else "worker"
        cause = WorkerLost(f"{self.name}.{operation}: {why}")
        self.give_up(cause, displaced)

    def give_up(self, first: AgentRLError, others: AgentRLError) -> None:
        """Fail what waits: the request the worker was at, and everything behind it and after it."""
        self.lost = others
        calls, self._calls = self._calls, deque()
        self._start_clock()
        for place, call in enumerate(calls):
            call.done(Answer(error=first if place == 0 else others))


class Pool:
    """Worker processes, or one thread, for a synchronous Env class. Used by one event loop at a time."""

    def __init__(self, name: str, source: EnvSource | Callable[[], Any], limits: Limits) -> None:
        """source: where processes find the class; or what makes an Env, which then lives in a thread of this one."""
        self._name, self._source, self._limits = name, source, limits
        self._num_workers = limits.num_workers if isinstance(source, EnvSource) else 1
        self._workers: list[_Worker] = []
        self._by_task: dict[str, _Worker] = {}
        self._nurse: Nurse | None = None
        self._slots = itertools.count(1)
        self._numbers = itertools.count(1)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._solitary = asyncio.Semaphore(self._num_workers)

    async def open(self, task: Task, *, alone: bool = False) -> "PooledEnv":
        """A place for one episode.   alone: in a worker of its own, for an episode that took one down before."""
        self._attach()
        if alone and isinstance(self._source, EnvSource):
            await self._solitary.acquire()
            worker = self._start(alone=True)
        else:
            worker = self._place(task.id)
        slot = next(self._slots)
        worker.live.add(slot)
        worker.opened += 1
        worker.retiring = worker.alone or worker.opened >= self._limits.episodes_per_worker
        return PooledEnv(self, worker, slot)

    def _attach(self) -> None:
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return
        if self._loop is not None and self._loop.is_running():
            raise ConfigError("a runner's workers are in use by another event loop; make a runner for each")
        self._loop, self._solitary = loop, asyncio.Semaphore(self._num_workers)
        self._workers = [worker for worker in self._workers if worker.lost is None]
        for worker in list(self._workers):
            if worker.busy:  # a loop ended in the midst of its episodes
                self._drop(worker)
            else:
                worker.attach(loop)
        if self._nurse is not None:
            self._nurse.attach(loop)

    def _place(self, task_id: str) -> _Worker:
        self._workers = [w for w in self._workers if w.lost is None]
        shared = [w for w in self._workers if not w.retiring]
        least = min(shared, key=lambda w: len(w.live), default=None)
        room = len(shared) < self._num_workers
        lowest = 0 if room or least is None else len(least.live)
        chosen = self._by_task.get(task_id)
        if chosen not in shared or len(chosen.live) >= lowest + self._limits.slack:
            chosen = self._start() if least is None or (room and least.live) else least
        self._by_task.pop(task_id, None)
        self._by_task[task_id] = chosen
        if len(self._by_task) > _REMEMBERED_TASKS:
            self._by_task.pop(next(iter(self._by_task)))
        return chosen

    def _start(self, alone: bool = False) -> _Worker:
        assert self._loop is not None
        worker = _Worker(self._name, alone, self._line)
        worker.attach(self._loop)
        self._workers.append(worker)
        worker.ask("start", 0, self._source, self._limits.start_seconds)
        return worker

    def _line(self, on_answer: OnAnswer, on_lost: OnLost) -> Line:
        if not isinstance(self._source, EnvSource):
            return ThreadLine(on_answer)
        if self._nurse is None or self._nurse.dead:
            assert self._loop is not None
            self._nurse = Nurse(self._source, self._limits.memory)
            self._nurse.attach(self._loop)
        return ProcessLine(self._nurse, next(self._numbers), on_answer, on_lost)

    async def ask(self, worker: _Worker, slot: int, operation: str, argument: Any = None) -> Answer:
        """One request of one episode.   Raises what it failed with, the world's name in front."""
        limits = self._limits
        answer = await worker.ask(
            operation, slot, argument, limits.start_seconds if operation == "reset" else limits.step_seconds
        )
        error = answer.error
        if error is None:
            return answer
        named = in_front(error, self._name, operation)
        raise type(named)(str(named)) from None

    def leave(self, worker: _Worker, slot: int) -> None:
        """The episode is over: close its Env, without waiting for it; end a worker that has served its time."""
        worker.live.discard(slot)
        if worker.alone:
            self._solitary.release()
        if worker.lost is None:
            worker.tell("close", slot, None, self._limits.step_seconds, lambda _: self._left(worker))

    def _left(self, worker: _Worker) -> None:
        if worker.retiring and not worker.live and worker.lost is None:
            self._drop(worker)

    def _drop(self, worker: _Worker) -> None:
        worker.line.kill()
        over = WorldFailure(f"{self._name}: the worker was ended")
        worker.give_up(over, over)
        if worker in self._workers:
            self._workers.remove(worker)

    async def close(self) -> None:
        """Let what is being closed finish within its deadline, then end every worker."""
        self._attach()
        alive = [worker for worker in self._workers if worker.lost is None]
        await asyncio.gather(*(worker.ask("close", 0, None, self._limits.step_seconds) for worker in alive))
        for worker in list(self._workers):
            self._drop(worker)
        if self._nurse is not None:
            nurse, self._nurse = self._nurse, None
            await nurse.close()

    def end(self) -> None:
        """End every worker at once."""
        for worker in self._workers:
            worker.line.kill()
        self._workers.clear()
        if self._nurse is not None:
            self._nurse.end()
            self._nurse = None


class PooledEnv:
    """One episode in a pool."""

    def __init__(self, pool: Pool, worker: _Worker, slot: int) -> None:
        self._pool, self._worker, self._slot = pool, worker, slot
        self._open = True

    async def reset(self, task: Task) -> tuple[Observation, float]:
        """Returns what the agent sees first, and the seconds that the world took."""
        answer = await self._pool.ask(self._worker, self._slot, "reset", task)
        assert isinstance(answer.value, Observation)
        return answer.value, answer.seconds

    async def step(self, action: str) -> tuple[StepResult, float]:
        """Returns what the action did, and the seconds that the world took."""
        answer = await self._pool.ask(self._worker, self._slot, "step", action)
        assert isinstance(answer.value, StepResult)
        return answer.value, answer.seconds

    async def outcome(self) -> Outcome:
        answer = await self._pool.ask(self._worker, self._slot, "outcome")
        assert isinstance(answer.value, Outcome)
        return answer.value

    async def close(self) -> None:
        if self._open:
            self._open = False
            self._pool.leave(self._worker, self._slot)
