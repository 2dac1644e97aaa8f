"""Adam's moments of a matrix's rows, learned from the mean of what each row was given in a step: a state of parts."""

import base64
from typing import Any

import numpy as np
import torch
from torch import Tensor


class RowMoments:
    """m and q of every row [d], and this step's sums. A row that a step did not touch keeps its moments.

    Tables are as large as the matrix, on the device of what is measured, made when its size is first seen.
    """

    def __init__(self, beta1: float, beta2: float, epsilon: float) -> None:
        self.betas, self.epsilon, self.steps = (beta1, beta2), epsilon, 0
        self._first = self._second = self._total = self._count = torch.zeros(0)
        self._stored: dict[str, Any] | None = None

    def begin(self) -> None:
        """A step begins: its sums are 0."""
        self._total, self._count = torch.zeros_like(self._total), torch.zeros_like(self._count)

    def _fit(self, weight: Tensor) -> None:
        """Make the tables, and fill in what a checkpoint held."""
        if self._first.shape == weight.shape and self._first.device == weight.device:
            return
        dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
        self._first, self._second, self._total = (weight.new_zeros(weight.shape, dtype=dtype) for _ in range(3))
        self._count = weight.new_zeros(len(weight), dtype=dtype)
        if self._stored is None:
            return
        rows = torch.tensor(self._stored["rows"], device=weight.device)
        for table, name in ((self._first, "first"), (self._second, "second")):
            values = np.frombuffer(base64.b64decode(self._stored[name]), np.float64).reshape(len(rows), -1)
            table[rows] = torch.tensor(values).to(table)
        self._stored = None

    def direction(self, g: Tensor, ids: Tensor) -> Tensor:
        """Adam's step for a gradient that comes now; without any moments yet, the gradient itself.

        g: [c, k, d].   ids: [c, k] int64 rows; -1: none, whose g is 0.   Returns [c, k, d].
        """
        if self.steps == 0:
            return g
        (b1, b2), t, rows = self.betas, self.steps + 1, ids.clamp(min=0)
        first = (b1 * self._first[rows] + (1 - b1) * g) / (1 - b1**t)
        second = (b2 * self._second[rows] + (1 - b2) * g.square()) / (1 - b2**t)
        return (first / (second.sqrt() + self.epsilon)).masked_fill((ids < 0)[..., None], 0.0)

    def add(self, g: Tensor, ids: Tensor) -> None:
        """Take up gradients of rows.   g: [c, k, d].   ids: [c, k], -1: none."""
        real = ids >= 0
        self._total.index_add_(0, ids[real], g[real])
        self._count.index_add_(0, ids[real], torch.ones_like(ids[real], dtype=self._count.dtype))

    def sums(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """[V, d] and [V]: this step's, of this rank until they are summed over the ranks in place.

        weight: [V, d], the matrix; the tables are made to its size.
        """
        self._fit(weight)
        return self._total, self._count

    def mean(self) -> dict[int, list[float]]:
        """row -> the mean of what it was given in this step."""
        rows = self._count.nonzero()[:, 0].tolist()
        return {row: (self._total[row] / self._count[row]).tolist() for row in rows}

    def learn(self) -> None:
        """The step is over: m <- b1 m + (1 - b1) mean, q <- b2 q + (1 - b2) mean^2, for the rows that it touched."""
        seen = self._count > 0
        if not bool(seen.any()):
            return
        (b1, b2), mean = self.betas, self._total[seen] / self._count[seen][:, None]
        self._first[seen] = b1 * self._first[seen] + (1 - b1) * mean
        self._second[seen] = b2 * self._second[seen] + (1 - b2) * mean.square()
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """JSON-able; the rows' numbers as base64 of little-endian float64."""
        if self._stored is not None:
            return {"steps": self.steps, **self._stored}
        rows = (self._second != 0).any(-1).nonzero()[:, 0] if self._second.ndim == 2 else torch.zeros(0).long()
        tables = {
            name: base64.b64encode(table[rows].double().cpu().numpy().tobytes()).decode() if len(rows) else ""
            for name, table in (("first", self._first), ("second", self._second))
        }
        return {"steps": self.steps, "rows": rows.tolist(), **tables}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = int(state["steps"])
        self._stored = {name: state[name] for name in ("rows", "first", "second")} if state["rows"] else None
        self._first = self._second = self._total = self._count = torch.zeros(0)
