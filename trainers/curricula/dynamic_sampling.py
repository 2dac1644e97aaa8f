"""Dynamic sampling: a step draws again until it has as many groups with signal as were asked for (DAPO, 2503.14476).

A group in which all succeed, or all fail, teaches nothing; gate `signal` drops it. This curriculum makes up for what is
dropped: after the first draw it draws as many tasks as groups with signal are missing, and so on, at most `max_draws`
times a step. verl's recipe, read and run, always generates a batch of three times the size and cuts what is too much;
there ten draws without enough are an error, here the step goes on with what it has, and says how many are missing.
Use it with `parts: {gates: [signal]}`, as algorithm dapo does; without the gate, groups without signal stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.settings import require
from agentrl.trainers.algorithm import Draw
from agentrl.trainers.curricula.outcomes import Measure, groups_that_differ
from agentrl.trainers.curricula.passes import Passes, require_tasks
from agentrl.types import Task, Trajectory


@dataclass(frozen=True, kw_only=True)
class DynamicSamplingConfig:
    max_draws: int = 10
    """How often a step draws at most, the first time included; 10 as in verl's recipe. 1: never again."""
    of: Measure = "success"
    """By what the members of a group with signal differ: success, as in DAPO, or the world's score."""

    def __post_init__(self) -> None:
        require(self.max_draws >= 1, f"max_draws is {self.max_draws}; it must be at least 1")


class DynamicSampling:
    """Uniform draws, and more of them in the same step."""

    Config = DynamicSamplingConfig
    citation = "Q. Yu et al.: DAPO: an open-source LLM reinforcement learning system at scale. arXiv 2503.14476."

    def __init__(self, config: DynamicSamplingConfig | None = None) -> None:
        self._config = config or DynamicSamplingConfig()
        self._tasks: Sequence[Task] = ()
        self._passes = Passes(0, 0)
        self._wanted = (0, 0)
        self._draws = 0
        self._shown: dict[str, float] = {}

    def start(self, tasks: Sequence[Task], seed: int) -> None:
        """Takes the panel; orders follow from the seed.   Raises DataError for a panel without a task."""
        self._tasks = require_tasks(tasks)
        self._passes = Passes(len(tasks), seed)

    def draw(self, num_tasks: int, num_rollouts: int) -> list[Draw]:
        """The next tasks, each with the same number of rollouts."""
        self._wanted, self._draws = (num_tasks, num_rollouts), 1
        return self._next(num_tasks)

    def _next(self, num_tasks: int) -> list[Draw]:
        return [Draw(self._tasks[number], self._wanted[1]) for number in self._passes.take(num_tasks)]

    def more(self, trajectories: Sequence[Trajectory]) -> list[Draw]:
        """As many tasks as groups with signal are missing, or none.   trajectories: all of this step so far."""
        signal, _ = groups_that_differ(trajectories, self._config.of)
        missing = self._wanted[0] - signal
        if missing <= 0 or self._draws >= self._config.max_draws:
            return []
        self._draws += 1
        return self._next(missing)

    def update(self, trajectories: Sequence[Trajectory]) -> None:
        """Counts what the step took."""
        signal, groups = groups_that_differ(trajectories, self._config.of)
        wanted, num_rollouts = self._wanted
        self._shown = {
            "curriculum/groups_with_signal": signal / max(groups, 1),
            "curriculum/draws": float(self._draws),
            "curriculum/extra_episodes": float(max(groups - wanted, 0) * num_rollouts),
            "curriculum/missing_groups": float(max(wanted - signal, 0)),
        }

    def metrics(self) -> dict[str, float]:
        """Of the last step."""
        return self._shown

    def state_dict(self) -> dict[str, Any]:
        return {"num_drawn": self._passes.num_drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._passes.num_drawn = int(state["num_drawn"])
