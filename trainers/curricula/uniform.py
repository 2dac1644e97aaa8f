"""Every task of the panel once a pass, in a new order each pass."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.errors import DataError
from agentrl.seeds import seed_of
from agentrl.trainers.algorithm import Draw
from agentrl.types import Task, Trajectory


@dataclass(frozen=True, kw_only=True)
class UniformConfig:
    shuffle: bool = True
    """false: every pass keeps the panel's own order."""


class Uniform:
    """Draws without replacement. Where a pass ends inside a draw, the next begins: a task may then come twice in it."""

    Config = UniformConfig

    def __init__(self, config: UniformConfig | None = None) -> None:
        self._config = config or UniformConfig()
        self._tasks: Sequence[Task] = ()
        self._seed = 0
        self._num_drawn = 0
        self._pass = -1
        self._order: list[int] = []

    def start(self, tasks: Sequence[Task], seed: int) -> None:
        """Takes the panel; orders follow from the seed.   Raises DataError for a panel without a task."""
        if not tasks:
            raise DataError("the training split has no task; `agentrl tasks ENV` shows the splits of a world")
        self._tasks, self._seed, self._pass = tasks, seed, -1

    def draw(self, num_tasks: int, num_rollouts: int) -> list[Draw]:
        """The next tasks, each with the same number of rollouts."""
        draws = []
        for place in range(self._num_drawn, self._num_drawn + num_tasks):
            number = self._order_of_pass(place // len(self._tasks))[place % len(self._tasks)]
            draws.append(Draw(self._tasks[number], num_rollouts))
        self._num_drawn += num_tasks
        return draws

    def _order_of_pass(self, number: int) -> list[int]:
        if number != self._pass:
            self._pass, self._order = number, list(range(len(self._tasks)))
            if self._config.shuffle:
                random.Random(seed_of(self._seed, "curriculum", number)).shuffle(self._order)
        return self._order

    def update(self, trajectories: Sequence[Trajectory]) -> None:
        """Outcomes change nothing here."""

    def state_dict(self) -> dict[str, Any]:
        return {"num_drawn": self._num_drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._num_drawn = int(state["num_drawn"])
