"""Plays a split's tasks with any policy and counts: success by task kind, infrastructure failures apart."""

import asyncio
import inspect
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agentrl.composition import build, world_settings
from agentrl.config import RunConfig
from agentrl.display import Display, Silent
from agentrl.errors import ConfigError, nearest, unknown_name
from agentrl.eval.report import report_line
from agentrl.eval.statistics import bootstrap_interval, wilson_interval
from agentrl.interruption import hand_over
from agentrl.models.defaults import is_model
from agentrl.panels import spread
from agentrl.records import write_trajectories
from agentrl.registry import LISTINGS, load, names
from agentrl.run_directory import RUN_SCHEMA, RunDirectory, panel_hash, write_json
from agentrl.runner import Job, Runner
from agentrl.statistics import TOTAL, Tally, tally_by_kind
from agentrl.types import ENDS, Task, Trajectory
from agentrl.usage import usage_of


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """What an evaluation came to."""

    by_kind: Mapping[str, Tally]
    """task kind -> counts; `all` counts every episode."""
    trajectories: Sequence[Trajectory]
    """In the order of the panel, repeats of a task together."""
    split: str
    panel: str
    """Hash of the tasks that were played, in order."""
    policy: str
    seconds: float
    intervals: Mapping[str, tuple[float, float]]
    """task kind -> 95 % interval of its success, by `interval_by`."""
    interval_by: str
    """`wilson` where every task was played once; `bootstrap over tasks` where it was played more often."""
    run_dir: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How it was asked: split, episodes, repeats, temperature, seed."""
    usage: Mapping[str, Any] | None = None
    """Of a model behind an API: tokens and cost of these episodes, and of all calls of the policy so far."""

    @property
    def decoding(self) -> str:
        """`greedy` or `sampled`."""
        return decoding_name(self.settings.get("temperature") == 0)

    @property
    def all(self) -> Tally:
        return self.by_kind[TOTAL]

    @property
    def success(self) -> float:
        """Share of the scored episodes that succeeded; nan where there is none."""
        return self.all.success

    @property
    def success_interval(self) -> tuple[float, float]:
        """95 % interval of `success`."""
        return self.intervals[TOTAL]

    def as_dict(self) -> dict[str, Any]:
        """What results.json holds."""
        return {
            "schema": RUN_SCHEMA,
            "policy": self.policy,
            "split": self.split,
            "panel": self.panel,
            "seconds": self.seconds,
            "settings": dict(self.settings),
            "success": self.success,
            "success_interval": list(self.success_interval),
            "interval_by": self.interval_by,
            **({} if self.usage is None else {"usage": dict(self.usage)}),
            "by_kind": {
                kind: counts.as_dict() | {"success_interval": list(self.intervals[kind])}
                for kind, counts in self.by_kind.items()
            },
        }


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
    )
    return results[0]


@dataclass(frozen=True)
class _Part:
    """A panel that is played in one way."""

    split: str
    tasks: Sequence[Task]
    greedy: bool
    folder: RunDirectory | None


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
) -> list[EvalResult]:
    """Every split in every decoding (True: greedy), one after another, by one policy that is loaded once.

    out: a folder; of several results each has its own in it, as `valid_seen-greedy`.   The rest: as `evaluate`.
    Raises AgentRLError for an unknown policy, split or setting, before anything is played.
    """
    if repeats < 1:
        raise ConfigError(f"repeats is {repeats}; it must be at least 1")
    if episodes < 0:
        raise ConfigError(f"episodes is {episodes}; it must not be negative")
    shown = display or Silent()
    played = world if world is not None else load("env", config.env)
    panels = [panel_of(config, played, split, episodes) for split in splits]
    most = max(len(tasks) for _, tasks, _ in panels) * repeats
    seated = seat(policy, config, played, base_url=base_url, slots=min(config.rollout.concurrency, most))
    memory = build("memory", config.memory, config.memory_settings)
    written = build("format", config.format, config.format_settings)
    single = len(panels) * len(decodings) == 1
    parts: list[_Part] = []
    try:
        for split, tasks, _ in panels:
            for greedy in decodings:
                own = out if single or not os.fspath(out) else Path(out) / f"{split}-{decoding_name(greedy)}"
                parts.append(_Part(split, tasks, greedy, _result_folder(config, own)))
        runner = Runner(
            played,
            seated.policy,
            memory=memory,
            format=written,
            renderer=seated.renderer,
            rollout=config.rollout,
            config=panels[0][2],
            seed=config.seed,
            reward=reward,
        )
        hand_over()
        return asyncio.run(_judge(runner, seated, config, parts, repeats, shown))
    except BaseException:
        for part in parts:
            if part.folder is not None:
                part.folder.remove_unused()
        raise
    finally:
        shown.close()
        for part in parts:
            if part.folder is not None:
                part.folder.close()


def decoding_name(greedy: bool) -> str:
    """`greedy` or `sampled`."""
    return "greedy" if greedy else "sampled"


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


async def _judge(
    runner: Runner, seated: "Seat", config: RunConfig, parts: Sequence[_Part], repeats: int, display: Display
) -> list[EvalResult]:
    results: list[EvalResult] = []
    try:
        for part in parts:
            how = f"{part.split}, {decoding_name(part.greedy)}, {repeats} a task"
            display.start(f"{config.env}: {seated.name} on {len(part.tasks)} tasks of {how}", 1)
            started = time.perf_counter()
            is_api = hasattr(seated.policy, "record_in")
            if is_api:
                seated.policy.record_in(part.folder.path if part.folder is not None else None)
            trajectories = await _play(runner, part, repeats, display)
            result = _result(config, seated.name, part, trajectories, time.perf_counter() - started, repeats)
            if is_api:
                used = {"episodes": usage_of(trajectories), "policy": seated.policy.usage()}
                result = replace(result, usage=used)
            results.append(_written(result, part.folder) if part.folder is not None else result)
    finally:
        await runner.close()
        await seated.policy.close()
    return results


async def _play(runner: Runner, part: _Part, repeats: int, display: Display) -> list[Trajectory]:
    jobs = [
        Job(task, f"{part.split}/{number}", rollout, 0, greedy=part.greedy)
        for number, task in enumerate(part.tasks)
        for rollout in range(repeats)
    ]
    place = {(job.group, job.rollout): number for number, job in enumerate(jobs)}
    played: dict[int, Trajectory] = {}
    async for trajectory in runner.stream(jobs):
        played[place[trajectory.group, trajectory.rollout]] = trajectory
        display.phase("playing", len(played), len(jobs))
    return [played[number] for number in sorted(played)]


def _result(
    config: RunConfig,
    name: str,
    part: _Part,
    trajectories: Sequence[Trajectory],
    seconds: float,
    repeats: int,
) -> EvalResult:
    by_kind = tally_by_kind(trajectories)
    intervals = {kind: counts.interval for kind, counts in by_kind.items()}
    if repeats > 1:
        for kind in by_kind:
            of_kind = [t for t in trajectories if kind in (TOTAL, t.task.kind)]
            intervals[kind] = interval_over_tasks(of_kind, config.seed)
    return EvalResult(
        by_kind=by_kind,
        trajectories=tuple(trajectories),
        split=part.split,
        panel=panel_hash(task.id for task in part.tasks),
        policy=name,
        seconds=seconds,
        intervals=intervals,
        interval_by="wilson" if repeats == 1 else "bootstrap over tasks",
        settings={
            "env": config.env,
            "tasks": len(part.tasks),
            "repeats": repeats,
            "temperature": 0.0 if part.greedy else config.rollout.temperature,
            "memory": config.memory,
            "format": config.format,
            "seed": config.seed,
        },
    )


def interval_over_tasks(trajectories: Sequence[Trajectory], seed: int) -> tuple[float, float]:
    """95 % interval of the success of episodes of which several are of one task.

    The bootstrap over tasks; where every episode came out the same, of which it would make a point, Wilson's interval
    of as many episodes as there are tasks.
    """
    values: dict[str, list[float]] = {}
    for trajectory in trajectories:
        if ENDS[trajectory.ended].scored:
            values.setdefault(trajectory.task.id, []).append(float(trajectory.outcome.success))
    outcomes = {value for of_task in values.values() for value in of_task}
    if len(outcomes) < 2:
        return wilson_interval(len(values) if outcomes == {1.0} else 0, len(values))
    return bootstrap_interval(values, seed=seed)


def _result_folder(config: RunConfig, out: str | os.PathLike[str]) -> RunDirectory | None:
    if not os.fspath(out):
        return None
    return RunDirectory.create(replace(config, run_dir=os.fspath(out)), command=sys.argv)


def _written(result: EvalResult, folder: RunDirectory) -> EvalResult:
    write_trajectories(folder.trajectory_file(0), list(result.trajectories))
    folder.update_meta(panels={result.split: result.panel})
    write_json(folder / "results.json", result.as_dict())
    report_line(folder.path)
    return replace(result, run_dir=folder.path)


@dataclass(frozen=True)
class Seat:
    """A policy with what the runner needs beside it."""

    policy: Any
    name: str
    renderer: Any = None


def seat(policy: Any, config: RunConfig, world: Any, *, base_url: str = "", slots: int = 1) -> Seat:
    """The policy that a word stands for: a registered name, `api:NAME`, a model's folder or hub id; or an object.

    slots: episodes that a model decodes at once.   Raises AgentRLError for a word that stands for none.
    """
    if policy is None:
        return _model(config, world, slots)
    if not isinstance(policy, (str, os.PathLike)):
        return Seat(policy, type(policy).__name__, getattr(policy, "renderer", None))
    word = os.fspath(policy)
    if word.startswith("api:"):
        api = load("policy", "agentrl.policies.api:APIPolicy")
        return Seat(
            api(word.removeprefix("api:"), base_url or None, config.api, concurrency=config.rollout.concurrency), word
        )
    if word.replace("_", "-") in names("policy") or (":" in word and not os.path.exists(word)):
        return Seat(_made(load("policy", word), config, world), word)
    if not is_model(word):
        raise unknown_name("policy", word, [*names("policy"), "tiny", "api:NAME"], LISTINGS["policy"])
    return _model(config, world, slots)


def _made(cls: Any, config: RunConfig, world: Any) -> Any:
    """A registered policy: what its constructor asks for, by name."""
    if not isinstance(cls, type):
        return cls
    offered = {"seed": config.seed, "world": world, "read": sys.stdin, "show": sys.stdout}
    wanted = inspect.signature(cls).parameters
    return cls(**{name: value for name, value in offered.items() if name in wanted})


def _model(config: RunConfig, world: Any, slots: int) -> Seat:
    from agentrl.models.load import load_model
    from agentrl.policies.transformers_policy import TransformersPolicy

    model = load_model(config.model, config.env, world_config=world_settings(world, config.env_settings))
    rollout = config.rollout
    policy = TransformersPolicy(
        model, slots=slots, max_context=rollout.max_context, deterministic=rollout.deterministic
    )
    return Seat(policy, config.model.name, model.renderer)
