"""Difficulty stages: easy tasks first, and on to harder ones (as CRAFT-GUI, arXiv 2508.11360, does by length).

The panel is ordered from easy to hard and cut into `stages` of the same size; a step draws from the current stage, in
uniform passes. A task is as hard as its world says, or as it was found to be: with `order: measured` a first pass plays
every task, and what failed most often is the hardest. Which rule moves on is open in the papers (recalled): after
`steps` steps of a stage, or as soon as the success of its last `window` episodes reaches `threshold`.
"""

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentrl.errors import DataError
from agentrl.settings import require
from agentrl.trainers.algorithm import Draw
from agentrl.trainers.curricula.outcomes import by_task, groups_that_differ, scored, success_rate
from agentrl.trainers.curricula.passes import Passes, require_tasks
from agentrl.types import Task, Trajectory


@dataclass(frozen=True, kw_only=True)
class StagesConfig:
    stages: int = 3
    """Into how many stages the panel is cut."""
    order: Literal["difficulty", "measured"] = "difficulty"
    """difficulty: as the world says. measured: by the success rate of a first pass over all tasks."""
    keep_earlier: bool = False
    """A stage has the tasks of the earlier ones too."""
    steps: int = 50
    """A stage ends after this many steps at the latest; 0: it ends by its success alone."""
    threshold: float = 0.8
    """A stage ends when this share of its last episodes succeeded; 1 or less."""
    window: int = 64
    """How many episodes that is judged by."""

    def __post_init__(self) -> None:
        require(self.stages >= 1, f"stages is {self.stages}; it must be at least 1")
        require(self.steps >= 0, f"steps is {self.steps}; it must not be negative")
        require(0 < self.threshold <= 1, f"threshold is {self.threshold}; it must be above 0 and at most 1")
        require(self.window >= 1, f"window is {self.window}; it must be at least 1")


def cut_into_stages(order: Sequence[int], stages: int) -> list[list[int]]:
    """As many parts of the same size as there are stages (at most one a task), the earlier ones the longer."""
    num = min(stages, len(order))
    size, rest = divmod(len(order), max(num, 1))
    ends = [number * size + min(number, rest) for number in range(num + 1)]
    return [list(order[a:b]) for a, b in itertools.pairwise(ends)]


class Stages:
    """Uniform draws from the tasks of the current stage."""

    Config = StagesConfig
    citation = "S. Nong et al.: CRAFT-GUI: curriculum-reinforced agent for GUI tasks. arXiv 2508.11360."

    def __init__(self, config: StagesConfig | None = None) -> None:
        self._config = config or StagesConfig()
        self._tasks: Sequence[Task] = ()
        self._seed = 0
        self._stage = 0
        self._steps = 0
        self._rate: dict[str, float] = {}
        self._recent: deque[float] = deque(maxlen=self._config.window)
        self._stages: list[list[int]] = []
        self._passes = Passes(0, 0)
        self._shown: dict[str, float] = {}

    def start(self, tasks: Sequence[Task], seed: int) -> None:
        """Takes the panel; orders follow from the seed.

        Raises DataError for a panel without a task, or with tasks whose difficulty is asked for and not known.
        """
        self._tasks, self._seed = require_tasks(tasks), seed
        unknown = next((task.id for task in tasks if task.difficulty is None), None)
        if self._config.order == "difficulty" and unknown is not None:
            raise DataError(
                f"task {unknown!r} has no difficulty; curriculum_settings.order=measured finds it out by a first pass"
            )
        self._stage = -1 if self._config.order == "measured" else 0
        self._enter()

    def _enter(self, num_drawn: int = 0) -> None:
        """Make the current stage's passes; stage -1 is the pass that measures."""
        self._stages = cut_into_stages(self._order(), self._config.stages)
        self._passes = Passes(len(self._members()), self._seed, f"stage-{self._stage}")
        self._passes.num_drawn = num_drawn

    def _order(self) -> list[int]:
        """Numbers of the tasks from easy to hard; equally hard ones as in the panel."""
        if self._config.order == "measured":
            return sorted(range(len(self._tasks)), key=lambda i: -self._rate.get(self._tasks[i].id, 0.0))
        return sorted(range(len(self._tasks)), key=lambda i: self._tasks[i].difficulty or 0.0)

    def _members(self) -> list[int]:
        if self._stage < 0:
            return list(range(len(self._tasks)))
        first = 0 if self._config.keep_earlier else self._stage
        return [number for stage in self._stages[first : self._stage + 1] for number in stage]

    def draw(self, num_tasks: int, num_rollouts: int) -> list[Draw]:
        """The next tasks of the stage, each with the same number of rollouts."""
        members = self._members()
        return [Draw(self._tasks[members[place]], num_rollouts) for place in self._passes.take(num_tasks)]

    def update(self, trajectories: Sequence[Trajectory]) -> None:
        """Takes up what was played, and goes on to the next stage where it is time."""
        if self._stage < 0:
            self._rate |= {task: success_rate(own) for task, own in by_task(trajectories).items()}
        self._recent.extend(float(t.outcome.success) for t in scored(trajectories))
        self._steps += 1
        success = sum(self._recent) / max(len(self._recent), 1)
        signal, groups = groups_that_differ(trajectories, "success")
        self._shown = {
            "curriculum/groups_with_signal": signal / max(groups, 1),
            "curriculum/stage": float(self._stage),
            "curriculum/stage_success": success,
        }
        if self._over(success):
            self._stage += 1
            self._steps = 0
            self._recent.clear()
            self._enter()

    def _over(self, success: float) -> bool:
        config = self._config
        if self._stage < 0:
            return self._passes.num_drawn >= len(self._tasks)
        if self._stage + 1 >= len(self._stages):
            return False
        reached = len(self._recent) == config.window and success >= config.threshold
        return reached or (config.steps > 0 and self._steps >= config.steps)

    def metrics(self) -> dict[str, float]:
        """Of the last step."""
        return self._shown

    def state_dict(self) -> dict[str, Any]:
        return {
            "stage": self._stage,
            "steps": self._steps,
            "num_drawn": self._passes.num_drawn,
            "rate": dict(self._rate),
            "recent": list(self._recent),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._stage, self._steps = int(state["stage"]), int(state["steps"])
        self._rate = {str(task): float(rate) for task, rate in state["rate"].items()}
        self._recent.clear()
        self._recent.extend(float(success) for success in state["recent"])
        self._enter(int(state["num_drawn"]))
