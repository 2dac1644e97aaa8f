"""Quantiles of a number over the steps of a run, followed by stochastic gradient steps (RiskPO)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

LEVELS = tuple(round(0.05 * i, 2) for i in range(1, 20))


def tracked_step(quantiles: Tensor, value: Tensor, lr: float) -> Tensor:
    """q + lr * (level - mean of 1[value < q]), for every level; they may cross.

    quantiles: [L].   value: [K], at least one.   Returns [L].
    """
    below = (value[None] < quantiles[:, None]).to(quantiles).mean(1)
    return quantiles + lr * (quantiles.new_tensor(LEVELS) - below)


class Quantiles:
    """Where a number has stood in the steps so far, at 19 levels from 0.05 to 0.95."""

    def __init__(self, lr: float) -> None:
        self._lr = lr
        self._quantiles: Tensor | None = None

    def at(self, level: float) -> float | None:
        """That of the nearest level, a tie going to the lower one; None before the first step."""
        if self._quantiles is None:
            return None
        nearest = min(range(len(LEVELS)), key=lambda i: (round(abs(LEVELS[i] - level), 9), i))
        return float(self._quantiles[nearest])

    def learn(self, value: Tensor) -> None:
        """Take up a step's values; the first ones set the quantiles, linear between them.   value: [K]."""
        if not len(value):
            return
        if self._quantiles is None:
            self._quantiles = torch.quantile(value, value.new_tensor(LEVELS))
        else:
            self._quantiles = tracked_step(self._quantiles, value, self._lr)

    def state_dict(self) -> dict[str, Any]:
        return {"quantiles": None if self._quantiles is None else self._quantiles.tolist()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        kept = state["quantiles"]
        self._quantiles = None if kept is None else torch.tensor(kept, dtype=torch.float64)
