"""What a step's episodes say of their tasks and groups; those that the infrastructure failed say nothing."""

from collections.abc import Iterable, Sequence
from typing import Literal

from agentrl.types import ENDS, Trajectory

Measure = Literal["success", "score"]


def scored(trajectories: Iterable[Trajectory]) -> list[Trajectory]:
    """Those that count in statistics."""
    return [t for t in trajectories if ENDS[t.ended].in_statistics]


def by_task(trajectories: Iterable[Trajectory]) -> dict[str, list[Trajectory]]:
    """Task id -> its scored episodes, in the order of the first of each."""
    found: dict[str, list[Trajectory]] = {}
    for trajectory in scored(trajectories):
        found.setdefault(trajectory.task.id, []).append(trajectory)
    return found


def success_rate(trajectories: Sequence[Trajectory]) -> float:
    """Share of successes; at least one episode."""
    return sum(t.outcome.success for t in trajectories) / len(trajectories)


def groups_that_differ(trajectories: Iterable[Trajectory], measure: Measure) -> tuple[int, int]:
    """How many groups have scored members that differ in success or score, and how many groups there are."""
    values: dict[str, set[float]] = {}
    for trajectory in trajectories:
        own = values.setdefault(trajectory.group, set())
        if ENDS[trajectory.ended].in_statistics:
            own.add(float(trajectory.outcome.success if measure == "success" else trajectory.outcome.score))
    return sum(len(own) > 1 for own in values.values()), len(values)
