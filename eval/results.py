"""What an evaluation came to: counts by task kind with their intervals, and the folder's results.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentrl.eval.cells import Cell, decoding_name
from agentrl.eval.statistics import share_interval
from agentrl.run_directory import RUN_SCHEMA
from agentrl.statistics import TOTAL, Tally, tally_by_kind
from agentrl.types import ENDS, Trajectory


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
    """`wilson` where every task was played once; `Wilson over tasks` where it was played more often."""
    run_dir: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How it was asked: split, episodes, repeats, temperature, seed."""
    name: str = ""
    """Of the cell, where the evaluation has several."""
    env: str = ""
    """The world as tables call it; memory and format likewise."""
    memory: str = ""
    format: str = ""
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
            **({"name": self.name} if self.name else {}),
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


def result_of(
    cell: Cell,
    policy: str,
    trajectories: Sequence[Trajectory],
    panel: tuple[str, int],
    seconds: float,
    usage: Mapping[str, Any] | None = None,
    run_dir: Path | None = None,
) -> EvalResult:
    """The counts of a cell's episodes.   policy: its name.   panel: hash and number of the tasks."""
    config = cell.config
    by_kind = tally_by_kind(trajectories)
    intervals = {kind: counts.interval for kind, counts in by_kind.items()}
    if cell.repeats > 1:
        for kind in by_kind:
            of_kind = [t for t in trajectories if kind in (TOTAL, t.task.kind)]
            intervals[kind] = interval_over_tasks(of_kind)
    return EvalResult(
        by_kind=by_kind,
        trajectories=tuple(trajectories),
        split=cell.split,
        panel=panel[0],
        policy=cell.model or policy,
        seconds=seconds,
        intervals=intervals,
        interval_by="wilson" if cell.repeats == 1 else "Wilson over tasks",
        settings={
            "env": config.env,
            "tasks": panel[1],
            "repeats": cell.repeats,
            "temperature": 0.0 if cell.greedy else config.rollout.temperature,
            "memory": config.memory,
            "format": config.format,
            "seed": config.seed,
        },
        name=cell.name,
        env=cell.labels["env"],
        memory=cell.labels["memory"],
        format=cell.labels["format"],
        usage=usage,
        run_dir=run_dir,
    )


def interval_over_tasks(trajectories: Sequence[Trajectory]) -> tuple[float, float]:
    """95 % interval of the success of episodes of which several are of one task; (0, 1) where none was scored."""
    values: dict[str, list[float]] = {}
    for trajectory in trajectories:
        if ENDS[trajectory.ended].scored:
            values.setdefault(trajectory.task.id, []).append(float(trajectory.outcome.success))
    return share_interval(values) if values else (0.0, 1.0)
