"""Where a world's episodes live: an asynchronous Env in the event loop, a synchronous one in workers."""

import asyncio
import contextlib
import inspect
import logging
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol, TypeVar

from agentrl.config import RolloutConfig
from agentrl.errors import AgentRLError, BoundaryError, ConfigError, WorldFailure
from agentrl.hardware import memory_of_this_machine, usable_cores
from agentrl.types import Observation, Outcome, StepResult, Task
from agentrl.workers.answers import check_observation, check_outcome, check_step
from agentrl.workers.failures import in_front, told
from agentrl.workers.pool import Limits, Pool
from agentrl.workers.slots import EnvSource

T = TypeVar("T")

_log = logging.getLogger("agentrl")
_MAX_CORES = 8
_STOP_SECONDS = 1.0
"""So long may a coroutine that was cancelled still take."""
_CLOSE_SECONDS = 5.0
"""Deadline of an asynchronous world's close: someone may wait for the prompt."""


class LiveEnv(Protocol):
    """One episode, wherever it lives. Every member is under its deadline and raises WorldFailure."""

    async def reset(self, task: Task) -> tuple[Observation, float]: ...
    async def step(self, action: str) -> tuple[StepResult, float]: ...
    async def outcome(self) -> Outcome: ...
    async def close(self) -> None: ...


class Host(Protocol):
    """Where episodes live. `alone`: where it can be, apart from all others."""

    async def open(self, task: Task, *, alone: bool = False) -> LiveEnv: ...
    async def close(self) -> None: ...
    def end(self) -> None: ...


def open_host(
    name: str, env_class: type, arguments: tuple[Any, ...], rollout: RolloutConfig, workers: int | None = None
) -> Host:
    """The host that an Env class needs, by whether its `step` is a coroutine function.

    name: of the world, for messages.   arguments: what the class is called with.   workers: None: `rollout.workers`.
    Raises ConfigError for what is no Env class.
    """
    if not inspect.isclass(env_class):
        raise ConfigError(f"{name}: Env is {env_class!r}; it must be a class")
    for member in ("reset", "step", "outcome"):
        if not callable(getattr(env_class, member, None)):
            raise ConfigError(f"{name}: class {env_class.__name__} has no method {member!r} (agentrl.types.Env)")
    if inspect.iscoroutinefunction(env_class.step):  # type: ignore[attr-defined]
        return InLoop(name, lambda: env_class(*arguments), rollout)
    num_workers = workers or rollout.workers or min(usable_cores(), _MAX_CORES)
    limits = Limits(
        num_workers=num_workers,
        start_seconds=rollout.reset_seconds,
        step_seconds=rollout.step_seconds,
        episodes_per_worker=rollout.episodes_per_worker,
        memory=_memory_of_a_worker(rollout.worker_memory, num_workers),
        slack=max(8, rollout.concurrency // (2 * num_workers)),
    )
    return Pool(name, EnvSource.of(env_class, arguments) or (lambda: env_class(*arguments)), limits)


def _memory_of_a_worker(gibibytes: float, num_workers: int) -> int:
    """Bytes; without a setting a share of half the machine, and 4 GiB where that is less."""
    share = (memory_of_this_machine() or 0) // (2 * num_workers)
    return int(gibibytes * 2**30) or max(share, 4 * 2**30)


class InLoop:
    """Asynchronous Envs in the runner's own event loop, a fresh one an episode.

    A coroutine that blocks without awaiting holds up the loop and cannot be stopped: such a world is written
    synchronously, and then lives in workers.
    """

    def __init__(self, name: str, make: Callable[[], Any], rollout: RolloutConfig) -> None:
        self._name, self._make, self._rollout = name, make, rollout
        self._open: weakref.WeakSet[LoopEnv] = weakref.WeakSet()
        self._watch: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self, task: Task, *, alone: bool = False) -> "LoopEnv":
        env = LoopEnv(self._name, self._make, self._rollout)
        self._open.add(env)
        loop = asyncio.get_running_loop()
        if self._watch is None or self._loop is not loop:
            self._loop, self._watch = loop, loop.call_later(_STOP_SECONDS / 2, self._look)
        return env

    def _look(self) -> None:
        for env in list(self._open):
            env.insist()
        assert self._loop is not None
        self._watch = self._loop.call_later(_STOP_SECONDS / 2, self._look) if self._open else None

    async def close(self) -> None:
        """Nothing outlives an episode here."""

    def end(self) -> None:
        """Nothing outlives an episode here."""


class LoopEnv:
    """One episode in the event loop."""

    def __init__(self, name: str, make: Callable[[], Any], rollout: RolloutConfig) -> None:
        self._name, self._make, self._rollout = name, make, rollout
        self._env: Any = None
        self._awaited: Awaitable[Any] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._deadline = self._cancelled_at = 0.0
        self._closed = False

    async def reset(self, task: Task) -> tuple[Observation, float]:
        start = time.perf_counter()
        with self._boundary("reset"):
            self._env = self._make()
            seen = check_observation(await self._within(self._rollout.reset_seconds, self._env.reset(task)))
        return seen, time.perf_counter() - start

    async def step(self, action: str) -> tuple[StepResult, float]:
        start = time.perf_counter()
        with self._boundary("step"):
            result = check_step(await self._within(self._rollout.step_seconds, self._env.step(action)))
        return result, time.perf_counter() - start

    async def outcome(self) -> Outcome:
        with self._boundary("outcome"):
            value = self._env.outcome()
            if inspect.isawaitable(value):
                value = await self._within(self._rollout.step_seconds, value)
            return check_outcome(value)

    async def close(self) -> None:
        """What a world does at its close costs no episode, which is over: a failure is logged."""
        env, self._env = self._env, None
        if env is None or not hasattr(env, "close"):
            return
        try:
            with self._boundary("close"):
                closing = env.close()
                if inspect.isawaitable(closing):
                    await self._within(min(_CLOSE_SECONDS, self._rollout.step_seconds), closing)
        except AgentRLError as failure:
            _log.warning("%s", failure)

    @contextlib.contextmanager
    def _boundary(self, operation: str) -> Iterator[None]:
        """As `errors.boundary`, for whatever a coroutine can raise that is not meant for us."""
        try:
            yield
        except asyncio.CancelledError as failure:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise WorldFailure(f"{self._name}.{operation}: {told(failure)}") from failure
        except KeyboardInterrupt:
            raise
        except BaseException as failure:
            if isinstance(failure, GeneratorExit) and not _in_a_task():
                raise  # we are being thrown away with the loop
            if isinstance(failure, AgentRLError) and not isinstance(failure, BoundaryError):
                raise
            error = failure if isinstance(failure, WorldFailure) else WorldFailure(told(failure))
            raise in_front(error, self._name, operation) from failure

    async def _within(self, seconds: float, answer: Awaitable[T]) -> T:
        """What the world's coroutine returns or raises, within its deadline."""
        self._awaited, self._task, self._deadline = answer, asyncio.current_task(), time.monotonic() + seconds
        try:
            async with asyncio.timeout(seconds) as deadline:
                return await answer
        except (TimeoutError, RuntimeError):
            if not deadline.expired() and not self._closed:
                raise
            raise WorldFailure(f"no answer within {seconds:g} s") from None
        finally:
            self._awaited = None

    def insist(self) -> None:
        """Close a coroutine that was cancelled, for its deadline or by a Ctrl-C, and goes on all the same."""
        if self._awaited is None or self._task is None:
            return
        now, cancelled = time.monotonic(), self._task.cancelling() > 0
        self._cancelled_at = self._cancelled_at or now if cancelled else 0.0
        if now > self._deadline + _STOP_SECONDS or (cancelled and now > self._cancelled_at + _STOP_SECONDS):
            self._closed = True
            with contextlib.suppress(BaseException):  # it may refuse this too: then nothing can be done
                self._awaited.close()  # type: ignore[attr-defined]
            self._task.cancel()
            self._task.uncancel()


def _in_a_task() -> bool:
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False
