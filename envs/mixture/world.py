"""The members of a mixture of worlds; `agentrl.envs.mixture` shows them, with what an agent sees and is paid."""

import asyncio
import heapq
import inspect
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentrl.briefs import Brief, briefs_of
from agentrl.errors import ConfigError, WorldFailure, nearest
from agentrl.models.tiny.build import Vocabulary
from agentrl.registry import load, names
from agentrl.settings import from_mapping, require
from agentrl.types import Observation, Outcome, StepResult, Task

NAME = "mixture"
SPLITS = ("train", "valid")
VALIDATION = "valid"
REPEATS = "as each of its worlds does"
AGAIN = "~"
"""Between a task's id and how often it has come in a panel, from its second time on."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which worlds, how much of each, and how each is set."""

    worlds: dict[str, Any] = field(default_factory=lambda: {"alfworld": 1.0, "rlvr": 1.0})
    """World -> its weight: the share of the training tasks that are its own."""
    settings: dict[str, Any] = field(default_factory=dict)
    """World -> its own settings, as `env_settings` has them where it is alone."""

    def __post_init__(self) -> None:
        require(bool(self.worlds), "worlds is empty; name at least one world and its weight, as {alfworld: 1}")
        for name, weight in self.worlds.items():
            require(name != NAME, "worlds has a mixture; name the worlds themselves")
            good = isinstance(weight, (int, float)) and not isinstance(weight, bool) and 0 < weight < math.inf
            require(good, f"worlds.{name} is {weight!r}; a weight is a number above 0")
        for name in self.settings:
            require(name in self.worlds, f"settings has {name!r}{nearest(name, self.worlds)}; worlds has no such world")


def _worlds(config: Config) -> dict[str, tuple[Any, Any]]:
    """Name -> the world and its own Config.   Raises UnknownName and ConfigError."""
    worlds = {name: load("env", name) for name in config.worlds}
    return {
        name: (world, from_mapping(world.Config, config.settings.get(name) or {}, f"env_settings.settings.{name}"))
        for name, world in worlds.items()
    }


def tasks(split: str, config: Config | None = None) -> list[Task]:
    """The worlds' panels as one, every stretch of it in the proportion of the weights.

    Training: no task of any world is left out; worlds with too few tasks for their weight begin again, and such a task
    has another id. Validation: every task once, each world's spread over the panel.
    Raises ConfigError for an unknown split.
    """
    if split not in SPLITS:
        raise ConfigError(f"mixture has no split {split!r}{nearest(split, SPLITS)}; its splits are {', '.join(SPLITS)}")
    config = config or Config()
    panels = {
        name: world.tasks("train" if split == "train" else world.VALIDATION, own)
        for name, (world, own) in _worlds(config).items()
    }
    sizes = {name: len(panel) for name, panel in panels.items()}
    if split == "train":
        passes = max(sizes[name] / config.worlds[name] for name in panels)
        wanted = {name: round(passes * config.worlds[name]) for name in panels}
    else:
        wanted = sizes
    return [_task(name, panels[name][k % sizes[name]], k // sizes[name], split) for name, k in _merged(wanted)]


def _merged(wanted: Mapping[str, int]) -> list[tuple[str, int]]:
    """(name, its k-th) of every name as often as is wanted, each spread evenly over the whole."""
    places = [
        [((k + 0.5) / num, order, name, k) for k in range(num)] for order, (name, num) in enumerate(wanted.items())
    ]
    return [(name, k) for _, _, name, k in heapq.merge(*places)]


def _task(name: str, task: Task, lap: int, split: str) -> Task:
    again = f"{AGAIN}{lap + 1}" if lap else ""
    kind = f"{name}/{task.kind}" if task.kind else name
    return Task(NAME, f"{name}/{task.id}{again}", split, task.seed, kind, task.difficulty, task)


def _inner(task: Task) -> Task:
    """The world's own task."""
    if not isinstance(task.data, Task):
        raise ConfigError(f"task {task.id!r} is not one of a mixture; take tasks from agentrl.envs.mixture.tasks")
    return task.data


def brief(task: Task, config: Config) -> Brief:
    """What the task's own world tells."""
    own = _inner(task)
    return briefs_of(*_worlds(config)[own.env])(own)


def instructions(config: Config | None = None) -> str:
    """What is told of each world, one below the other; a task is told its own world's alone (`brief`)."""
    told = {name: world.instructions(own) for name, (world, own) in _worlds(config or Config()).items()}
    return "\n\n".join(f"[{name}]\n{text}" for name, text in told.items())


def tools(config: Config | None = None) -> list[dict[str, Any]] | None:
    """Those of all worlds; None where none has any."""
    found = [tool for world, own in _worlds(config or Config()).values() for tool in world.tools(own) or ()]
    return found or None


def solution(task: Task) -> list[str] | None:
    """The world's own."""
    own = _inner(task)
    actions: list[str] | None = load("env", own.env).solution(own)
    return actions


def hints(task: Task) -> Sequence[Any]:
    """The world's own; none where it gives none."""
    own = _inner(task)
    given = getattr(load("env", own.env), "hints", None)
    return given(own) if given is not None else ()


def vocabulary() -> Vocabulary:
    """The words of every world that has a table of them: what a tiny model of several worlds needs to know."""
    known = [load("env", name) for name in names("env") if name != NAME]
    tables = [world.vocabulary() for world in known if hasattr(world, "vocabulary")]
    entities: dict[str, int] = {}
    for table in tables:
        for thing, num in table.entities.items():
            entities[thing] = max(num, entities.get(thing, 0))
    return Vocabulary(
        phrases=tuple(dict.fromkeys(phrase for table in tables for phrase in table.phrases)),
        words=tuple(dict.fromkeys(word for table in tables for word in table.words)),
        entities=entities,
        dropped="|".join(dict.fromkeys(f"(?:{table.dropped})" for table in tables if table.dropped)),
    )


class Env:
    """One episode at a time, of whichever world its task is; synchronous, so that every world may block."""

    def __init__(self, config: Config | None = None) -> None:
        self._worlds = _worlds(config or Config())
        self._envs: dict[str, Any] = {}
        self._env: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def reset(self, task: Task) -> Observation:
        """Begin an episode of the task's own world, whose engine stays for the next one."""
        own = _inner(task)
        if own.env not in self._worlds:
            raise ConfigError(f"task {task.id!r} is of {own.env!r}, which this mixture does not have")
        if own.env not in self._envs:
            world, config = self._worlds[own.env]
            self._envs[own.env] = world.Env(config)
        self._env = self._envs[own.env]
        observation: Observation = self._now(self._env.reset(own))
        return observation

    def step(self, action: str) -> StepResult:
        if self._env is None:
            raise WorldFailure("mixture: step before the first episode; call reset first")
        result: StepResult = self._now(self._env.step(action))
        return result

    def outcome(self) -> Outcome:
        if self._env is None:
            raise WorldFailure("mixture: outcome before the first episode; call reset first")
        outcome: Outcome = self._env.outcome()
        return outcome

    def close(self) -> None:
        envs, self._envs, self._env = self._envs, {}, None
        for env in envs.values():
            if hasattr(env, "close"):
                self._now(env.close())
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    def _now(self, answer: Any) -> Any:
        """What a method has answered, also where it is a coroutine: these run on a loop in a thread of its own."""
        if not inspect.isawaitable(answer):
            return answer
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=_run, args=(self._loop,), daemon=True, name="mixture").start()
        return asyncio.run_coroutine_threadsafe(_awaited(answer), self._loop).result()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


async def _awaited(answer: Any) -> Any:
    return await answer
