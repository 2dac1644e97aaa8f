"""What every turn position had as a mean in the steps so far: a state that several algorithms can keep."""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from agentrl.segments import mean_by
from agentrl.trainers.step_view import StepView


def means_by_position(view: StepView, value: Tensor, of_turn_means: bool) -> dict[int, float]:
    """Mean of every turn position, over the acting turns that have tokens and are in group statistics.

    value: [N] float.   of_turn_means: every turn counts the same; otherwise every token does.
    """
    counted = (view.acts & view.in_statistics[view.trajectory_of_turn])[view.turn_of_token]
    value, turn = value.detach()[counted], view.turn_of_token[counted]
    if of_turn_means:
        of_turn = mean_by(value, turn, view.num_turns)
        turn = turn.unique()
        value = of_turn[turn]
    seen, place = view.turn_position[turn].unique(return_inverse=True)
    return dict(zip(seen.tolist(), mean_by(value, place, len(seen)).tolist(), strict=True))


class PositionHistory:
    """Means over the steps in which a position was seen; every step counts the same, whatever its size.

    window: only this many of the run's last steps, seen in them or not; 0: all steps.
    """

    def __init__(self, window: int = 0) -> None:
        self._sum: dict[int, float] = {}
        self._count: dict[int, int] = {}
        self._recent: deque[dict[int, float]] = deque(maxlen=window or None)
        self._window = window

    def add(self, step: Mapping[int, float]) -> None:
        """Take up a step: position -> mean."""
        if self._window:
            self._recent.append(dict(step))
            return
        for p, mean in step.items():
            self._sum[p], self._count[p] = self._sum.get(p, 0.0) + mean, self._count.get(p, 0) + 1

    def mean(self, position: Tensor, also: Mapping[int, float] | None = None) -> Tensor:
        """The mean that each position had.   also: a step that counts as the newest, though it was not added.

        position: [K] int.   Returns [K] float64; nan where that position was not seen.
        """
        total, count = dict(self._sum), dict(self._count)
        steps = [*self._recent] if also is None else [*self._recent, also][-self._window :]
        for step in steps:
            for p, mean in step.items():
                total[p], count[p] = total.get(p, 0.0) + mean, count.get(p, 0) + 1
        means = [total[p] / count[p] if p in count else math.nan for p in position.tolist()]
        return torch.tensor(means, dtype=torch.float64, device=position.device)

    def state_dict(self) -> dict[str, Any]:
        """JSON-able: [position, sum, count] of all steps, or [position, mean] of each recent one."""
        return {
            "sums": [[p, self._sum[p], self._count[p]] for p in sorted(self._sum)],
            "recent": [[[p, step[p]] for p in sorted(step)] for step in self._recent],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._sum = {int(p): float(total) for p, total, _ in state["sums"]}
        self._count = {int(p): int(count) for p, _, count in state["sums"]}
        self._recent.clear()
        self._recent.extend({int(p): float(mean) for p, mean in step} for step in state["recent"])
