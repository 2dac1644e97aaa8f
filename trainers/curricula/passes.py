"""Draws without replacement, pass after pass, each pass in an order that follows from the seed."""

import random
from collections.abc import Sequence

from agentrl.errors import DataError
from agentrl.seeds import seed_of
from agentrl.types import Task


def require_tasks(tasks: Sequence[Task]) -> Sequence[Task]:
    """The panel, which must have a task.   Raises DataError for one without."""
    if not tasks:
        raise DataError("the training split has no task; `agentrl tasks ENV` shows the splits of a world")
    return tasks


class Passes:
    """Numbers below `size`, every one once a pass; where it stands is `num_drawn` alone."""

    def __init__(self, size: int, seed: int, name: str = "curriculum") -> None:
        self._size, self._seed, self._name = size, seed, name
        self._pass = -1
        self._order: list[int] = []
        self.num_drawn = 0

    def take(self, num: int) -> list[int]:
        """The next numbers."""
        places = range(self.num_drawn, self.num_drawn + num)
        self.num_drawn += num
        return [self._order_of(place // self._size)[place % self._size] for place in places]

    def _order_of(self, number: int) -> list[int]:
        if number != self._pass:
            self._pass, self._order = number, list(range(self._size))
            random.Random(seed_of(self._seed, self._name, number)).shuffle(self._order)
        return self._order
