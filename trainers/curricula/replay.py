"""Replay: tasks that were nearly solved come again soon; ours.

A task whose group had a mean score within [low, high) when it was played goes to the end of a queue; `share` of each
step's tasks come from the head of the queue, the rest in uniform passes. A task that is then solved, or fails outright,
leaves the queue; one that is still nearly solved goes to its end again, at most `times` times.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.settings import require
from agentrl.trainers.algorithm import Draw
from agentrl.trainers.curricula.outcomes import by_task, groups_that_differ
from agentrl.trainers.curricula.passes import Passes, require_tasks
from agentrl.types import Task, Trajectory


@dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    share: float = 0.25
    """Share of a step's tasks that come again, as far as there are such tasks."""
    low: float = 0.25
    """From this mean score of its group on a task is nearly solved."""
    high: float = 1.0
    """From this mean score on it is solved."""
    times: int = 4
    """How often a task comes again before it has to wait for its turn in a pass."""
    capacity: int = 512
    """Tasks that wait at most; the ones that wait longest go first."""

    def __post_init__(self) -> None:
        require(0 <= self.share <= 1, f"share is {self.share}; it must be from 0 to 1")
        require(self.low < self.high, f"low is {self.low}; it must be below high, {self.high}")
        require(self.times >= 1, f"times is {self.times}; it must be at least 1")
        require(self.capacity >= 1, f"capacity is {self.capacity}; it must be at least 1")


class Replay:
    """Uniform draws, and tasks from a queue among them."""

    Config = ReplayConfig

    def __init__(self, config: ReplayConfig | None = None) -> None:
        self._config = config or ReplayConfig()
        self._tasks: Sequence[Task] = ()
        self._number: dict[str, int] = {}
        self._passes = Passes(0, 0)
        self._queue: list[str] = []
        self._times: dict[str, int] = {}
        self._again: list[str] = []
        self._shown: dict[str, float] = {}

    def start(self, tasks: Sequence[Task], seed: int) -> None:
        """Takes the panel; orders follow from the seed.   Raises DataError for a panel without a task."""
        self._tasks = require_tasks(tasks)
        self._number = {task.id: number for number, task in enumerate(tasks)}
        self._passes = Passes(len(tasks), seed)

    def draw(self, num_tasks: int, num_rollouts: int) -> list[Draw]:
        """Tasks from the queue first, then those of the pass, each with the same number of rollouts."""
        num = min(int(self._config.share * num_tasks + 1e-9), len(self._queue))
        self._again, self._queue = self._queue[:num], self._queue[num:]
        numbers = [self._number[task] for task in self._again] + self._passes.take(num_tasks - num)
        return [Draw(self._tasks[number], num_rollouts) for number in numbers]

    def update(self, trajectories: Sequence[Trajectory]) -> None:
        """Queues what was nearly solved; in the order in which it was played."""
        for task, own in by_task(trajectories).items():
            times = self._times.pop(task, 0) + (task in self._again)
            near = self._config.low <= sum(t.outcome.score for t in own) / len(own) < self._config.high
            if task in self._queue:
                self._queue.remove(task)
            if near and times < self._config.times and task in self._number:
                self._queue.append(task)
                self._times[task] = times
        for task in self._queue[: -self._config.capacity]:
            self._times.pop(task, None)
        self._queue = self._queue[-self._config.capacity :]
        signal, groups = groups_that_differ(trajectories, "success")
        self._shown = {
            "curriculum/groups_with_signal": signal / max(groups, 1),
            "curriculum/replayed": float(len(self._again)),
            "curriculum/waiting": float(len(self._queue)),
        }

    def metrics(self) -> dict[str, float]:
        """Of the last step."""
        return self._shown

    def state_dict(self) -> dict[str, Any]:
        drawn = self._passes.num_drawn
        return {"num_drawn": drawn, "queue": list(self._queue), "times": dict(self._times)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._passes.num_drawn = int(state["num_drawn"])
        self._queue = [str(task) for task in state["queue"]]
        self._times = {str(task): int(times) for task, times in state["times"].items()}
