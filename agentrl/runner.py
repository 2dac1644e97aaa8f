"""Tasks become trajectories: one coroutine an episode, no lock-step, failures of infrastructure tried again.

    runner = Runner(world, policy, memory="full", format="tags", renderer=model.renderer, rollout=config.rollout)
    trajectories = await runner.run([Job(task, group=task.id, rollout=i) for task in tasks for i in range(8)])

A world is a registered name, a module, anything with a world's members, or an Env class of one's own.
"""

import asyncio
import contextlib
import copy
import dataclasses
import inspect
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from agentrl.briefs import Briefs, briefs_of
from agentrl.config import RolloutConfig
from agentrl.episode import Clock, Episode, Job, Stage
from agentrl.errors import ConfigError, WorldFailure
from agentrl.registry import load
from agentrl.seeds import seed_of
from agentrl.types import ENDS, Memory, Outcome, Policy, PromptFormat, Task, Trajectory
from agentrl.workers.failures import Displaced, WorkerLost
from agentrl.workers.hosts import Host, open_host

__all__ = ["Job", "Runner"]

_ALONE_AFTER = 3
"""So often may an episode lose its worker through others before it gets one of its own."""
_CANCEL_SECONDS = 2.0
"""Between two cancellations of episodes that are to end at once."""
_MAX_DISPLACEMENTS = 20
"""So often may an episode lose its worker through others before that counts as its failure."""


class Runner:
    """Plays episodes of one world with one policy. Its workers live until `close`; the policy is the caller's to close.

    May be used in any event loop, one at a time, and without one (`play`).
    """

    def __init__(
        self,
        world: Any,
        policy: Policy,
        *,
        memory: str | Memory = "full",
        format: str | PromptFormat = "tags",
        renderer: Any = None,
        rollout: RolloutConfig | None = None,
        config: Any = None,
        seed: int = 0,
        workers: int | Host | None = None,
        reward: Callable[[Trajectory], float | list[float] | Awaitable[float | list[float]]] | None = None,
    ) -> None:
        """
        world: a registered name, a module or object with a world's members, or an Env class.
        memory, format: registered names or instances.
        renderer: of the model; without one the policy must take messages, and turns hold no ids.
        config: the world's own; None: its defaults.
        workers: number of processes; or another runner's `host`, to share its workers; None: `rollout.workers`.
        reward: trajectory -> a number for the last turn, or a number a turn, added to what the world pays.
        Raises ConfigError for what does not go together.
        """
        rollout = rollout or RolloutConfig()
        if policy.takes_ids and renderer is None:
            raise ConfigError(f"policy {type(policy).__name__} takes ids, so the runner needs a renderer")
        world = load("env", world) if isinstance(world, str) else world
        format = load("format", format)() if isinstance(format, str) else format
        if getattr(policy, "format", ...) is None:
            policy.format = format  # type: ignore[attr-defined]  # scripted policies write in the runner's format
        self.name, env_class, arguments, briefs = _members(world, config)
        self._stage = Stage(
            policy=policy,
            memory=load("memory", memory)() if isinstance(memory, str) else memory,
            format=format,
            renderer=renderer,
            rollout=rollout,
            briefs=briefs,
            seed=seed,
            reward=reward,
            source=getattr(policy, "source", "sampled" if policy.takes_ids else "api"),
        )
        shared = workers is not None and not isinstance(workers, int)
        self.host: Host = (
            workers if shared else open_host(self.name, env_class, arguments, rollout, workers)  # type: ignore[assignment,arg-type]
        )
        """Where the episodes live; may be given to another runner of the same world as its `workers`."""
        self._own_host = not shared
        self._names = itertools.count()

    @property
    def policy(self) -> Policy:
        """Who plays."""
        return self._stage.policy

    @property
    def renderer(self) -> Any:
        """Of the policy's model; None where the policy takes messages."""
        return self._stage.renderer

    def beside(self, policy: Policy, **rollout: Any) -> "Runner":
        """Another policy that plays the same world, on this runner's workers.   rollout: settings that differ."""
        other: Runner = copy.copy(self)
        other._stage = dataclasses.replace(
            self._stage,
            policy=policy,
            rollout=dataclasses.replace(self._stage.rollout, **rollout),
            source=getattr(policy, "source", "sampled" if policy.takes_ids else "api"),
        )
        if getattr(policy, "format", ...) is None:
            policy.format = self._stage.format  # type: ignore[attr-defined]
        other._own_host, other._names = False, itertools.count()
        return other

    async def run(self, jobs: Iterable[Job]) -> list[Trajectory]:
        """Play every job.   Returns their trajectories in the order of the jobs.

        What a world or a policy does wrong is on its trajectory (`failure`). Raises what the user has to put right
        (ConfigError, DataError, ...) at once; all other episodes are ended first.
        """
        found: dict[int, Trajectory] = {}
        async with contextlib.aclosing(self._finished(jobs)) as finished:
            async for number, trajectory in finished:
                found[number] = trajectory
        return [found[number] for number in sorted(found)]

    async def stream(self, jobs: Iterable[Job]) -> AsyncIterator[Trajectory]:
        """Play every job, drawn one by one as there is room.   Yields each trajectory when its episode is over."""
        async with contextlib.aclosing(self._finished(jobs)) as finished:
            async for _, trajectory in finished:
                yield trajectory

    def play(self, jobs: Iterable[Job]) -> list[Trajectory]:
        """`run` for whoever has no event loop; in a running one (a notebook) it works in a thread and waits for it."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self.run(jobs))
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, self.run(jobs)).result()

    async def close(self) -> None:
        """End the workers, and what the reward holds open. The runner can be used again, with new ones."""
        closing = getattr(self._stage.reward, "close", None)
        if inspect.iscoroutinefunction(closing):
            await closing()
        if self._own_host:
            await self.host.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own_host:
            self.host.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _finished(self, jobs: Iterable[Job]) -> AsyncGenerator[tuple[int, Trajectory], None]:
        """Every job's number and trajectory, as they come; at most `rollout.concurrency` in play."""
        waiting: Iterator[tuple[int, Job]] = enumerate(jobs)
        done: asyncio.Queue[asyncio.Task[tuple[int, Trajectory]]] = asyncio.Queue()
        playing: set[asyncio.Task[tuple[int, Trajectory]]] = set()
        try:
            while True:
                room = self._stage.rollout.concurrency - len(playing)
                for number, job in itertools.islice(waiting, room):
                    task = asyncio.create_task(self._numbered(number, job))
                    task.add_done_callback(done.put_nowait)
                    playing.add(task)
                if not playing:
                    return
                task = await done.get()
                playing.discard(task)
                yield task.result()
        finally:
            while playing:  # a world may swallow its first cancellation
                for task in playing:
                    task.cancel()
                _, playing = await asyncio.wait(playing, timeout=_CANCEL_SECONDS)

    async def _numbered(self, number: int, job: Job) -> tuple[int, Trajectory]:
        return number, await self._play(job)

    async def _play(self, job: Job) -> Trajectory:
        """One job, tried again after a failure of infrastructure; what a neighbour did is no try of its own."""
        task, tries, displaced, alone = self._task(job), 1, 0, False
        clock: Clock | None = None
        while True:
            try:
                env = await self.host.open(task, alone=alone)
            except WorldFailure as failure:
                trajectory, cause = _not_opened(task, job, tries, failure), failure
            else:
                name = f"{task.id}/{job.rollout}/{next(self._names)}"
                clock = clock or Clock(self._stage.rollout)
                episode = Episode(self._stage, job, task, env, tries=tries, name=name, clock=clock)
                trajectory = await episode.play()
                cause = episode.cause  # type: ignore[assignment]
            if not ENDS[trajectory.ended].infrastructure:
                return trajectory
            if isinstance(cause, Displaced) and displaced < _MAX_DISPLACEMENTS:
                displaced += 1
                alone = alone or displaced >= _ALONE_AFTER
                continue
            if tries >= self._stage.rollout.tries or (clock is not None and clock.over):
                return trajectory
            tries += 1
            alone = isinstance(cause, WorkerLost)

    def _task(self, job: Job) -> Task:
        """The task as it is played: with `env_seed: rollout` every rollout meets its own chance."""
        if self._stage.rollout.env_seed == "task":
            return job.task
        seed = seed_of(self._stage.seed, job.task.id, job.task.seed, "world", job.step, job.rollout)
        return dataclasses.replace(job.task, seed=seed)


def _not_opened(task: Task, job: Job, tries: int, failure: WorldFailure) -> Trajectory:
    """The trajectory of an episode for which no worker could be had."""
    outcome = Outcome(success=False, score=0.0)
    return Trajectory(
        task, job.group, job.rollout, [], None, outcome, "world_failure", failure=str(failure), tries=tries
    )


def _members(world: Any, config: Any) -> tuple[str, type, tuple[Any, ...], Briefs]:
    """Name, Env class, its arguments, and what the agent is told, of a world or of an Env class.

    Env is called with the config, unless it takes none, or none is given with a bare class. Such a class may have
    `instructions` and `tools` of its own, as values or as functions of the config.
    """
    if isinstance(world, type) and not hasattr(world, "Env"):
        arguments = () if config is None else (config,)
        name, env_class, owner = world.__name__, world, world
    else:
        if not hasattr(world, "Env"):
            raise ConfigError(f"{world!r} is no world: it has no Env class (agentrl list envs)")
        if config is None:
            config = world.Config()
        name = getattr(world, "__name__", type(world).__name__).rpartition(".")[2]
        env_class, owner = world.Env, world
        arguments = (config,) if _takes(env_class, config) else ()
    return name, env_class, arguments, briefs_of(owner, config)


def _takes(env_class: type, config: Any) -> bool:
    """Can the class be called with the config; an Env class of one's own may take nothing."""
    try:
        inspect.signature(env_class).bind(config)
    except (TypeError, ValueError):
        return False
    return True
