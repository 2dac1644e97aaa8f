"""Where a world's episodes live: an asynchronous Env in the event loop, a synchronous one in workers."""

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from agentrl.config import RolloutConfig
from agentrl.errors import ConfigError, WorldFailure, boundary
from agentrl.hardware import usable_cores
from agentrl.types import Observation, Outcome, StepResult, Task
from agentrl.workers.answers import check_observation, check_outcome, check_step
from agentrl.workers.pool import Limits, Pool
from agentrl.workers.slots import EnvSource

T = TypeVar("T")

_log = logging.getLogger("agentrl")
_MAX_CORES = 8


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
        slack=max(8, rollout.concurrency // (2 * num_workers)),
    )
    return Pool(name, EnvSource.of(env_class, arguments) or (lambda: env_class(*arguments)), limits)


class InLoop:
    """Asynchronous Envs in the runner's own event loop, a fresh one an episode.

    A coroutine that blocks without awaiting holds up the loop and cannot be stopped: such a world is written
    synchronously, and then lives in workers.
    """

    def __init__(self, name: str, make: Callable[[], Any], rollout: RolloutConfig) -> None:
        self._name, self._make, self._rollout = name, make, rollout

    async def open(self, task: Task, *, alone: bool = False) -> "LoopEnv":
        return LoopEnv(self._name, self._make, self._rollout)

    async def close(self) -> None:
        """Nothing outlives an episode here."""

    def end(self) -> None:
        """Nothing outlives an episode here."""


class LoopEnv:
    """One episode in the event loop."""

    def __init__(self, name: str, make: Callable[[], Any], rollout: RolloutConfig) -> None:
        self._name, self._make, self._rollout = name, make, rollout
        self._env: Any = None

    async def reset(self, task: Task) -> tuple[Observation, float]:
        start = time.perf_counter()
        with boundary(WorldFailure, f"{self._name}.reset"):
            self._env = self._make()
            seen = check_observation(await _within(self._rollout.reset_seconds, self._env.reset(task), self._name))
        return seen, time.perf_counter() - start

    async def step(self, action: str) -> tuple[StepResult, float]:
        start = time.perf_counter()
        with boundary(WorldFailure, f"{self._name}.step"):
            result = check_step(await _within(self._rollout.step_seconds, self._env.step(action), self._name))
        return result, time.perf_counter() - start

    async def outcome(self) -> Outcome:
        with boundary(WorldFailure, f"{self._name}.outcome"):
            value = self._env.outcome()
            if inspect.isawaitable(value):
                value = await _within(self._rollout.step_seconds, value, self._name)
            return check_outcome(value)

    async def close(self) -> None:
        """What a world does at its close costs no episode, which is over: a failure is logged."""
        env, self._env = self._env, None
        if env is None or not hasattr(env, "close"):
            return
        try:
            closing = env.close()
            if inspect.isawaitable(closing):
                await _within(self._rollout.step_seconds, closing, self._name)
        except Exception as failure:
            _log.warning("%s.close: %s: %s", self._name, type(failure).__name__, failure)


async def _within(seconds: float, answer: Awaitable[T], name: str) -> T:
    try:
        async with asyncio.timeout(seconds) as deadline:
            return await answer
    except TimeoutError:
        if not deadline.expired():
            raise
        raise WorldFailure(f"{name}: no answer within {seconds:g} s") from None
