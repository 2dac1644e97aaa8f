"""Knapsack RL: a step's rollouts are spread over its tasks so that most is to be learned (arXiv 2509.25849).

    maximise  sum_i Value(N_i, p_i)   with   sum_i N_i = tasks * rollouts,   low <= N_i <= up
    Value(N, p)    = P_nz(N, p) * InfoGain(p)
    P_nz(N, p)     = 1 - p^N - (1 - p)^N         the chance that N rollouts are neither all solved nor all failed
    InfoGain(p)    = p (1 - p)^2                 largest at p = 1/3

p is a task's success rate when it was last played. Value is concave in N from N = 1 on (its gain is
InfoGain * (p^N (1 - p) + (1 - p)^N p), which falls), so that taking the largest gains first is exact. What is left when
every mixed task has `up` goes to tasks never solved (p = 0), the lower number first, then to those always solved.
The paper's text was not found: formulas follow notes on it and a third party's recipe. Tasks that were not played yet
get the plain number of rollouts, so that a first pass is uniform.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agentrl.errors import ConfigError
from agentrl.settings import require
from agentrl.trainers.algorithm import Draw
from agentrl.trainers.curricula.outcomes import by_task, groups_that_differ, success_rate
from agentrl.trainers.curricula.passes import Passes, require_tasks
from agentrl.types import Task, Trajectory


@dataclass(frozen=True, kw_only=True)
class KnapsackConfig:
    low: int = 2
    """Rollouts that every task gets; 2 as in the paper."""
    up: int = 128
    """Rollouts that no task exceeds; 128 as in the paper."""
    momentum: float = 0.0
    """Weight of a task's earlier success rate against the newest; 0: the newest alone, as in the paper."""

    def __post_init__(self) -> None:
        require(self.low >= 1, f"low is {self.low}; it must be at least 1")
        require(self.up >= self.low, f"up is {self.up}; it must not be below low, {self.low}")
        require(0 <= self.momentum < 1, f"momentum is {self.momentum}; it must be from 0 to below 1")


def chance_of_signal(num: Tensor, rate: Tensor) -> Tensor:
    """P_nz.   num: rollouts, at least 1.   rate: p; both of shapes that fit each other.   Returns theirs."""
    return 1 - rate**num - (1 - rate) ** num


def info_gain(rate: Tensor) -> Tensor:
    """p (1 - p)^2.   rate: [B].   Returns [B]."""
    return rate * (1 - rate) ** 2


def rollouts_until_signal(rate: Tensor) -> Tensor:
    """Mean number of rollouts until not all are alike, 1 / p + 1 / (1 - p) - 1; inf where they always are.

    rate: [B].   Returns [B].
    """
    return 1 / rate + 1 / (1 - rate) - 1


def _gains(p: Tensor, low: int, steps: int) -> Tensor:
    """What one rollout more is worth, from `low` on; below 0 where it is never worth anything, p = 0 before p = 1.

    p: [B, 1].   Returns [B, steps].
    """
    powers = [torch.cat([q**low, q.expand(-1, steps - 1)], 1).cumprod(1) for q in (p, 1 - p)]
    gain = info_gain(p) * (powers[0] * (1 - p) + powers[1] * p)
    return torch.where(p <= 0, -1.0, torch.where(p >= 1, -2.0, gain))


def allocate(rate: Tensor, budget: int, low: int, up: int) -> list[int]:
    """Rollouts of each task: the largest gains first, every task from `low` on.

    rate: [B] float64, success rates.   budget: all rollouts together.   Returns B numbers whose sum is the budget.
    Ties go to the lower number.   Raises ConfigError for a budget that the bounds cannot meet.
    """
    size = len(rate)
    if not size * low <= budget <= size * up:
        raise ConfigError(f"{budget} rollouts cannot be spread over {size} tasks that get {low} to {up} each")
    num, steps = budget - size * low, up - low
    if num == 0:
        return [low] * size
    gain = _gains(rate.double()[:, None], low, steps).flatten()
    least = gain.kthvalue(len(gain) - num + 1).values  # the smallest that is taken: faster than sorting them all
    taken = gain > least
    at_least = (gain == least).nonzero()[:, 0]
    taken[at_least[: num - int(taken.sum())]] = True
    more = taken.view(size, steps).sum(1)
    return [low + int(extra) for extra in more.tolist()]


class Knapsack:
    """Tasks in uniform passes; how many rollouts each gets follows from its success rate."""

    Config = KnapsackConfig
    citation = (
        "Z. Li et al.: Knapsack RL: unlocking exploration of LLMs via optimizing budget allocation. arXiv 2509.25849."
    )

    def __init__(self, config: KnapsackConfig | None = None) -> None:
        self._config = config or KnapsackConfig()
        self._tasks: Sequence[Task] = ()
        self._passes = Passes(0, 0)
        self._rate: dict[str, float] = {}
        self._shown: dict[str, float] = {}

    def start(self, tasks: Sequence[Task], seed: int) -> None:
        """Takes the panel; orders follow from the seed.   Raises DataError for a panel without a task."""
        self._tasks = require_tasks(tasks)
        self._passes = Passes(len(tasks), seed)

    def draw(self, num_tasks: int, num_rollouts: int) -> list[Draw]:
        """The next tasks with num_tasks * num_rollouts rollouts together.

        Raises ConfigError where num_rollouts is not within the bounds.
        """
        config = self._config
        if not config.low <= num_rollouts <= config.up:  # in the first step too, before there is anything to allocate
            raise ConfigError(
                f"rollout.group_size is {num_rollouts}, and curriculum knapsack gives every task {config.low} to "
                f"{config.up}; change one of them (curriculum_settings.low and up)"
            )
        tasks = [self._tasks[number] for number in self._passes.take(num_tasks)]
        known = [place for place, task in enumerate(tasks) if task.id in self._rate]
        rates = torch.tensor([self._rate[tasks[place].id] for place in known], dtype=torch.float64)
        rollouts = [num_rollouts] * num_tasks
        for place, num in zip(known, allocate(rates, len(known) * num_rollouts, config.low, config.up), strict=True):
            rollouts[place] = num
        if not known:
            allocate(
                torch.zeros(num_tasks), num_tasks * num_rollouts, config.low, config.up
            )  # refuse in the first step
        self._shown = {
            "curriculum/known_tasks": len(self._rate) / len(self._tasks),
            "curriculum/rollouts_min": float(min(rollouts, default=0)),
            "curriculum/rollouts_max": float(max(rollouts, default=0)),
            "curriculum/moved_rollouts": sum(abs(num - num_rollouts) for num in rollouts) / 2,
        }
        return [Draw(task, num) for task, num in zip(tasks, rollouts, strict=True)]

    def update(self, trajectories: Sequence[Trajectory]) -> None:
        """Takes up the success rates of what was played."""
        for task, own in by_task(trajectories).items():
            rate, m = success_rate(own), self._config.momentum
            self._rate[task] = m * self._rate[task] + (1 - m) * rate if task in self._rate else rate
        signal, groups = groups_that_differ(trajectories, "success")
        self._shown["curriculum/groups_with_signal"] = signal / max(groups, 1)

    def metrics(self) -> dict[str, float]:
        """Of the last step; `moved_rollouts` are those that another task got than uniformly."""
        return self._shown

    def state_dict(self) -> dict[str, Any]:
        return {"num_drawn": self._passes.num_drawn, "rate": dict(self._rate)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._passes.num_drawn = int(state["num_drawn"])
        self._rate = {str(task): float(rate) for task, rate in state["rate"].items()}
