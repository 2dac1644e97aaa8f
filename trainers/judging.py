"""Judging the policy while it trains: on a panel of tasks, sampled and greedily, by the chance of its own seed."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agentrl.config import ValidationConfig
from agentrl.panels import spread
from agentrl.rollout_metrics import summaries
from agentrl.run_directory import panel_hash
from agentrl.runner import Job
from agentrl.statistics import TOTAL, Tally, tally, tally_by_kind
from agentrl.trainers.ranks import Ranks
from agentrl.types import Task, Trajectory

Play = Callable[[list[Job], str], Awaitable[list[Trajectory]]]
"""(jobs, what the display calls it) -> this rank's episodes, in their order."""


@dataclass(frozen=True)
class Verdict:
    """What one validation found."""

    record: dict[str, Any]
    """What is logged."""
    tallies: dict[str, Tally]
    """Counts by kind of task, all of them together, and of the greedy policy where it was asked."""
    sampled: list[Trajectory]
    success: float | None
    """On the tasks that every validation plays, by which the best checkpoint is chosen; None: no scored episode."""


def panel_of(world: Any, world_config: Any, settings: ValidationConfig) -> list[Task]:
    """The validation panel, empty where the run judges nothing."""
    split = getattr(world, "VALIDATION", "") if settings.split == "auto" else settings.split
    if not split or not settings.num_tasks:
        return []
    return list(world.tasks(split, world_config))


def success_on(trajectories: Sequence[Trajectory], tasks: Sequence[Task]) -> float | None:
    """Share of the scored episodes of these tasks that succeeded, or None where there is no such episode.

    What the best checkpoint is chosen by: a larger panel at the end of a run would be another yardstick.
    """
    ids = {task.id for task in tasks}
    counts = tally(t for t in trajectories if t.task.id in ids)
    return counts.success if counts.episodes else None


async def judge(play: Play, ranks: Ranks, panel: Sequence[Task], settings: ValidationConfig, *, final: bool) -> Verdict:
    """Play the panel with the policy as it is.   final: at an end of the run, where greedily too."""
    num = settings.final_tasks if final and settings.final_tasks else settings.num_tasks
    tasks = spread(panel, num)
    started = time.perf_counter()
    sampled = await _played(play, ranks, tasks, settings.seed, settings.temperature, "sampled")
    record: dict[str, Any] = summaries(sampled)
    tallies = tally_by_kind(sampled)
    if final and settings.greedy and settings.temperature > 0:
        greedy = await _played(play, ranks, tasks, settings.seed, 0.0, "greedy")
        record["greedy_success"] = summaries(greedy)["success"]
        tallies["greedy"] = tally_by_kind(greedy)[TOTAL]
    record["seconds"] = time.perf_counter() - started
    record["panel"] = panel_hash(task.id for task in tasks)
    record["tally"] = {kind: asdict(counts) for kind, counts in tallies.items()}
    return Verdict(record, tallies, sampled, success_on(sampled, spread(panel, settings.num_tasks)))


async def _played(
    play: Play, ranks: Ranks, tasks: Sequence[Task], seed: int, temperature: float, name: str
) -> list[Trajectory]:
    greedy = temperature == 0
    jobs = [  # the steps of training are 0 and above, so that none of them has the chance of a validation
        Job(task, f"validation-{seed}/{number}/{name}", 0, -seed, greedy=greedy, temperature=temperature)
        for number, task in enumerate(tasks)
    ]
    own = [jobs[i] for i in ranks.share(len(jobs))]
    shares = ranks.gather(await play(own, f"judging ({name})"))
    return [shares[i % ranks.size][i // ranks.size] for i in range(len(jobs))]
