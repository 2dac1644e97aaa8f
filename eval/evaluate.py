"""Plays the cells of an evaluation and counts; every episode is on disk when it ends, so that a killed one goes on."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from agentrl.composition import build, world_settings
from agentrl.config import RunConfig
from agentrl.display import Display, Silent
from agentrl.errors import ConfigError, nearest
from agentrl.eval.cells import Cell, named
from agentrl.eval.folders import Folders, Kept, refuse_own, stored_cells
from agentrl.eval.played import Key, in_order, key_of
from agentrl.eval.progress import Progress
from agentrl.eval.results import EvalResult, result_of
from agentrl.eval.seats import Seat, Seats, seat
from agentrl.interruption import hand_over
from agentrl.panels import spread
from agentrl.registry import load
from agentrl.run_directory import panel_hash
from agentrl.runner import Job, Runner
from agentrl.settings import from_mapping, merge, to_mapping
from agentrl.types import Task, Trajectory
from agentrl.usage import usage_of

__all__ = ["EvalResult", "Seat", "evaluate", "evaluate_cells", "evaluate_several", "panel_of", "seat"]


def evaluate(
    config: RunConfig,
    *,
    policy: Any = None,
    world: Any = None,
    reward: Callable[[Trajectory], Any] | None = None,
    display: Display | None = None,
    split: str = "",
    episodes: int = 0,
    repeats: int = 1,
    greedy: bool = False,
    out: str | os.PathLike[str] = "",
    base_url: str = "",
    resume: bool = False,
) -> EvalResult:
    """Play and count; see `agentrl.evaluate`, which calls this outside any running event loop.

    Raises AgentRLError for an unknown policy, split or setting, before anything is played.
    """
    results = evaluate_several(
        config,
        policy=policy,
        world=world,
        reward=reward,
        display=display,
        splits=(split,),
        decodings=(greedy,),
        episodes=episodes,
        repeats=repeats,
        out=out,
        base_url=base_url,
        resume=resume,
    )
    return results[0]


def evaluate_several(
    config: RunConfig,
    *,
    policy: Any = None,
    world: Any = None,
    reward: Callable[[Trajectory], Any] | None = None,
    display: Display | None = None,
    splits: Sequence[str] = ("",),
    decodings: Sequence[bool] = (False,),
    episodes: int = 0,
    repeats: int = 1,
    out: str | os.PathLike[str] = "",
    base_url: str = "",
    resume: bool = False,
) -> list[EvalResult]:
    """Every split in every decoding (True: greedy), one after another, by one policy that is loaded once.

    out: a folder; of several results each has its own in it, as `valid_seen-greedy`.   The rest: as `evaluate`.
    Raises AgentRLError for an unknown policy, split or setting, before anything is played.
    """
    cells = [
        Cell(
            config=config,
            policy=policy,
            base_url=base_url,
            split=split,
            greedy=greedy,
            episodes=episodes,
            repeats=repeats,
            world=world,
            reward=reward,
        )
        for split in splits
        for greedy in decodings
    ]
    return evaluate_cells(cells, display=display, out=out, resume=resume)


@dataclass(frozen=True)
class Plan:
    """A cell with all that playing it needs but its policy."""

    cell: Cell
    world: Any
    world_config: Any
    tasks: Sequence[Task]
    memory: Any
    format: Any

    @property
    def panel(self) -> tuple[str, int]:
        """Hash and number of the tasks."""
        return panel_hash(task.id for task in self.tasks), len(self.tasks)

    @property
    def num_episodes(self) -> int:
        return len(self.tasks) * self.cell.repeats

    def jobs(self) -> list[Job]:
        """Every episode, in order: repeats of a task together."""
        return [
            Job(task, f"{self.cell.split}/{number}", rollout, 0, greedy=self.cell.greedy)
            for number, task in enumerate(self.tasks)
            for rollout in range(self.cell.repeats)
        ]


def plan_of(cell: Cell) -> Plan:
    """A cell with its world, tasks, memory and format.   Raises AgentRLError for what cannot be."""
    if cell.repeats < 1:
        raise ConfigError(f"repeats is {cell.repeats}; it must be at least 1")
    if cell.episodes < 0:
        raise ConfigError(f"episodes is {cell.episodes}; it must not be negative")
    config = cell.config
    world = cell.world if cell.world is not None else load("env", config.env)
    split, tasks, world_config = panel_of(config, world, cell.split, cell.episodes)
    memory = build("memory", config.memory, config.memory_settings)
    written = build("format", config.format, config.format_settings)
    return Plan(replace(cell, split=split), world, world_config, tasks, memory, written)


def plans_of(cells: Sequence[Cell]) -> list[Plan]:
    """The plans of an evaluation's cells, which have their names if there are several.   Raises AgentRLError."""
    plans = [plan_of(cell) for cell in cells]
    if len(plans) == 1 and not plans[0].cell.name:
        return plans
    given = [plan.cell for plan in plans]
    names = given if all(cell.name for cell in given) else named(given)
    return [replace(plan, cell=cell) for plan, cell in zip(plans, names, strict=True)]


def evaluate_cells(
    cells: Sequence[Cell],
    *,
    display: Display | None = None,
    out: str | os.PathLike[str] = "",
    left_out: Mapping[str, str] | None = None,
    resume: bool = False,
) -> list[EvalResult]:
    """Play every cell, one after another; a policy that several share is loaded once.   Returns their results.

    out: a folder; empty: nothing is written. One cell without a name has it to itself, of several each has its own in
    it.   left_out: combinations that cannot be -> why; kept beside them.
    resume: go on with what is in the folder; nothing that is finished there is played again.
    Raises AgentRLError for what cannot be, before anything is played; KeyboardInterrupt, which says how to go on, where
    something was played before Ctrl-C.
    """
    shown = display or Silent()
    plans = plans_of(cells)
    several = len(plans) > 1 or bool(plans[0].cell.name)
    folders = Folders(out, [(plan.cell, plan.panel) for plan in plans], several=several, resume=resume)
    try:
        kept = folders.begun()
        open_plans = [plan for plan, found in zip(plans, kept, strict=True) if found.result is None]
        slots = [min(plan.cell.config.rollout.concurrency, plan.num_episodes) for plan in open_plans]
        seats = Seats([plan.cell for plan in open_plans], [plan.world for plan in open_plans], slots)
        try:
            kept = folders.opened(kept, left_out or {})
            progress = Progress(shown, plans, kept)
            hand_over()
            if all(found.result is not None for found in kept):
                shown.note(f"{folders.path} is finished: nothing is left to play")
            results = asyncio.run(_played(plans, kept, seats, folders, progress))
            folders.summarise(results)
            return results
        finally:
            with suppress(Exception):
                seats.drop()
    except KeyboardInterrupt as interruption:
        if folders.keep():
            raise KeyboardInterrupt(f"continue with: agentrl eval --resume {folders.path}") from None
        raise interruption
    except BaseException:
        folders.keep()
        raise
    finally:
        shown.close()
        folders.close()


def resume_evaluation(
    out: str | os.PathLike[str],
    *,
    display: Display | None = None,
    changes: Mapping[str, Any] | None = None,
    reward: Callable[[RunConfig], Any] | None = None,
    base_url: str = "",
) -> list[EvalResult]:
    """Go on with the evaluation in a folder; of one that is finished the results.

    changes: a layer of settings that bear on how fast, how far and for how much it goes (`cells.MAY_CHANGE`).
    reward: configuration -> the reward function that it names.   base_url: of the server, where it has moved.
    Raises RunDirectoryError where there is none, ConfigError for other changes, with what differs.
    """
    cells, stored = [], stored_cells(out)
    refuse_own(stored, out)
    if base_url and len({cell.base_url for cell in stored}) > 1:
        raise ConfigError("the models of this evaluation have several servers; --base-url cannot stand for all")
    for cell in stored:
        config = from_mapping(RunConfig, merge(to_mapping(cell.config), changes or {}))
        own = reward(config) if reward is not None else None
        cells.append(replace(cell, config=config, reward=own, base_url=base_url or cell.base_url))
    return evaluate_cells(cells, display=display, out=out, resume=True)


def panel_of(config: RunConfig, world: Any, split: str, episodes: int) -> tuple[str, list[Task], Any]:
    """The split that is meant, the tasks of it that are played, and the world's settings.

    Raises ConfigError for an unknown split, an empty one, or a setting that the world does not have.
    """
    world_config = world_settings(world, config.env_settings)
    split = split or (world.VALIDATION if config.validation.split == "auto" else config.validation.split)
    if split not in world.SPLITS:
        raise ConfigError(
            f"{config.env} has no split {split!r}{nearest(split, world.SPLITS)} (splits: {', '.join(world.SPLITS)})"
        )
    tasks = spread(world.tasks(split, world_config), episodes)
    if not tasks:
        raise ConfigError(f"split {split!r} of {config.env} has no task")
    return split, tasks, world_config


async def _played(
    plans: Sequence[Plan], kept: Sequence[Kept], seats: Seats, folders: Folders, progress: Progress
) -> list[EvalResult]:
    results: list[EvalResult] = []
    left = [number for number, found in enumerate(kept) if found.result is None]
    hosts = _Hosts()
    try:
        for number, (plan, found) in enumerate(zip(plans, kept, strict=True)):
            if found.result is not None:
                results.append(found.result)
                continue
            place = left.index(number)
            seated = seats.take(place)
            progress.cell(plan, seated)
            results.append(await _judged(plan, found, await hosts.runner(plan, seated), seated, folders, progress))
            progress.over(plan, results[-1])
            await seats.leave(place)
    finally:
        await hosts.close()
        await seats.close()
    return results


class _Hosts:
    """Runners, of which those that follow each other in one world share its workers."""

    def __init__(self) -> None:
        self._key: Any = None
        self._first: Runner | None = None
        self._runners: list[Runner] = []

    async def runner(self, plan: Plan, seated: Seat) -> Runner:
        config = plan.cell.config
        rollout = replace(config.rollout, temperature=1.0, max_turns=1, max_new_tokens=1)  # of no matter to workers
        key = (id(plan.world), config.env, repr(config.env_settings), rollout)
        if key != self._key:
            await self.close()
        made = Runner(
            plan.world,
            seated.policy,
            memory=plan.memory,
            format=plan.format,
            renderer=seated.renderer,
            rollout=config.rollout,
            config=plan.world_config,
            seed=config.seed,
            workers=None if self._first is None else self._first.host,
            reward=plan.cell.reward,
        )
        self._key, self._first = key, self._first or made
        self._runners.append(made)
        return made

    async def close(self) -> None:
        """End the workers, and what rewards hold open."""
        self._key = self._first = None
        while self._runners:
            await self._runners.pop().close()


async def _judged(
    plan: Plan, kept: Kept, runner: Runner, seated: Seat, folders: Folders, progress: Progress
) -> EvalResult:
    is_api = hasattr(seated.policy, "record_in")
    if is_api:
        folders.attach(seated.policy, plan.cell, kept)
    started = time.perf_counter()
    played = await _episodes(plan, kept, runner, progress, started)
    seconds = kept.seconds + time.perf_counter() - started
    order = {(job.group, job.rollout): number for number, job in enumerate(plan.jobs())}
    trajectories = in_order(played, order)
    usage = {"episodes": usage_of(trajectories), "policy": seated.policy.usage()} if is_api else None
    path = kept.folder.path if kept.folder is not None else None
    result = result_of(plan.cell, seated.name, trajectories, plan.panel, seconds, usage, path)
    folders.finish(kept, result)
    return result


async def _episodes(
    plan: Plan, kept: Kept, runner: Runner, progress: Progress, started: float
) -> dict[Key, Trajectory]:
    """All episodes of a cell; those that were on disk are not played again."""
    played = dict(kept.played)
    left = [job for job in plan.jobs() if (job.group, job.rollout) not in played]
    written = kept.writer()
    try:
        async for trajectory in runner.stream(left):
            played[key_of(trajectory)] = trajectory
            if written is not None:
                written.add(trajectory, kept.seconds + time.perf_counter() - started)
            progress.episode(plan, trajectory)
        if written is not None:
            await written.synced()
    finally:
        if written is not None:
            written.close()
    return played
