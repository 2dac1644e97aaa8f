"""VAS: variance-aware sampling of tasks, by a promotion score (MMR1, arXiv 2509.21268).

    OVS = P (1 - P)                              P: success rate of the task's rollouts
    TDS = different n-grams / all n-grams        of the token ids of the task's replies together, n = 2
    VPS = alpha * OVS + beta * TDS
    of a step's draws, floor(weighted_share * number) come with replacement, with a chance proportional to VPS,
    the rest uniformly

The paper's text was read; which measure of diversity TDS is, it leaves open: distinct-n is our choice. Scores are made
of the training's own rollouts and become weights every `every` steps; the paper's pass over the whole training set,
which costs a group of rollouts for every task, is not made: a task that was not played since the start weighs as much
as the heaviest (ours). The released code normalises to [0, 1] (`normalise: min-max`), where the lowest is never drawn.
Where all weights are equal, or 0, draws are uniform. A task that comes twice in a step makes two groups.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentrl.seeds import seed_of
from agentrl.settings import require
from agentrl.trainers.algorithm import Draw
from agentrl.trainers.curricula.outcomes import by_task, groups_that_differ, success_rate
from agentrl.trainers.curricula.passes import Passes, require_tasks
from agentrl.types import Task, Trajectory

Normalise = Literal["none", "min-max"]


@dataclass(frozen=True, kw_only=True)
class VASConfig:
    alpha: float = 0.8
    """Weight of the variance of outcomes, OVS."""
    beta: float = 0.2
    """Weight of the diversity of replies, TDS."""
    weighted_share: float = 0.5
    """lambda: share of a step's tasks drawn by their weight; the others come in uniform passes."""
    every: int = 35
    """Steps after which scores become weights; 35 as in the paper's main runs. Until then draws are uniform."""
    normalise: Normalise = "none"
    """none: weights are the scores (paper). min-max: scores from the lowest, 0, to the highest, 1 (released code)."""
    momentum: float = 0.0
    """Weight of the old weights against the new, after normalising."""
    ngram: int = 2
    """n of the n-grams in TDS."""

    def __post_init__(self) -> None:
        require(self.alpha >= 0 and self.beta >= 0, f"alpha is {self.alpha}, beta {self.beta}; none may be negative")
        require(0 <= self.weighted_share <= 1, f"weighted_share is {self.weighted_share}; it must be from 0 to 1")
        require(self.every >= 1, f"every is {self.every}; it must be at least 1")
        require(0 <= self.momentum <= 1, f"momentum is {self.momentum}; it must be from 0 to 1")
        require(self.ngram >= 1, f"ngram is {self.ngram}; it must be at least 1")


def distinct(replies: Sequence[Sequence[int]], n: int = 2) -> float:
    """Different n-grams / all n-grams of the replies together; 0 if there are none."""
    ngrams = [tuple(reply[i : i + n]) for reply in replies for i in range(len(reply) - n + 1)]
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def promotion_score(rate: float, diversity: float, alpha: float, beta: float) -> float:
    """VPS = alpha * P (1 - P) + beta * TDS."""
    return alpha * rate * (1 - rate) + beta * diversity


def weights_of(scores: Sequence[float], normalise: Normalise) -> list[float]:
    """The scores as they are, or from 0 to 1 by the lowest and the highest; there 1 where all are equal."""
    if normalise == "none" or not scores:
        return [float(score) for score in scores]
    low, high = min(scores), max(scores)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]


def blended(old: Sequence[float], new: Sequence[float], momentum: float) -> list[float]:
    """momentum * old + (1 - momentum) * new."""
    return [momentum * before + (1 - momentum) * now for before, now in zip(old, new, strict=True)]


def probabilities(weights: Sequence[float]) -> list[float]:
    """Of one weighted draw; all weights 0: uniform."""
    total = sum(weights)
    return [weight / total if total > 0 else 1 / len(weights) for weight in weights]


def num_weighted(share: float, num: int) -> int:
    """floor(share * num), with slack for what floating point takes off a whole number."""
    return math.floor(share * num + 1e-9)


class VAS:
    """Draws part of each step by promotion score."""

    Config = VASConfig
    citation = (
        "S. Leng et al.: MMR1: enhancing multimodal reasoning with variance-aware sampling and open resources. "
        "arXiv 2509.21268."
    )

    def __init__(self, config: VASConfig | None = None) -> None:
        self._config = config or VASConfig()
        self._tasks: Sequence[Task] = ()
        self._seed = 0
        self._passes = Passes(0, 0)
        self._steps = 0
        self._measured: dict[str, tuple[float, float]] = {}
        self._weight: dict[str, float] = {}
        self._shown: dict[str, float] = {}

    def start(self, tasks: Sequence[Task], seed: int) -> None:
        """Takes the panel; draws follow from the seed.   Raises DataError for a panel without a task."""
        self._tasks, self._seed = require_tasks(tasks), seed
        self._passes = Passes(len(tasks), seed)

    def draw(self, num_tasks: int, num_rollouts: int) -> list[Draw]:
        """The next tasks, the weighted ones first, each with the same number of rollouts."""
        num = num_weighted(self._config.weighted_share, num_tasks) if self._weight else 0
        heaviest = max(self._weight.values(), default=0.0)
        chances = probabilities([self._weight.get(task.id, heaviest) for task in self._tasks])
        dice = random.Random(seed_of(self._seed, "vas", self._steps))
        chosen = dice.choices(range(len(self._tasks)), chances, k=num) + self._passes.take(num_tasks - num)
        return [Draw(self._tasks[number], num_rollouts) for number in chosen]

    def update(self, trajectories: Sequence[Trajectory]) -> None:
        """Measures what was played, and turns scores into weights where it is time."""
        config = self._config
        for task, own in by_task(trajectories).items():
            replies = [turn.completion.token_ids for t in own for turn in t.turns]
            self._measured[task] = success_rate(own), distinct(replies, config.ngram)
        self._steps += 1
        if self._steps % config.every == 0:
            self._weigh()
        scores = list(self._scores().values())
        signal, groups = groups_that_differ(trajectories, "success")
        self._shown = {
            "curriculum/groups_with_signal": signal / max(groups, 1),
            "curriculum/promotion_score": sum(scores) / max(len(scores), 1),
            "curriculum/promotion_score_max": max(scores, default=0.0),
            "curriculum/known_tasks": len(scores) / len(self._tasks),
        }

    def _scores(self) -> dict[str, float]:
        alpha, beta = self._config.alpha, self._config.beta
        return {task: promotion_score(p, tds, alpha, beta) for task, (p, tds) in self._measured.items()}

    def _weigh(self) -> None:
        """A task that has no old weight takes its new one."""
        scores = self._scores()
        new = weights_of(list(scores.values()), self._config.normalise)
        old = [self._weight.get(task, weight) for task, weight in zip(scores, new, strict=True)]
        self._weight = dict(zip(scores, blended(old, new, self._config.momentum), strict=True))

    def metrics(self) -> dict[str, float]:
        """Of the last step."""
        return self._shown

    def state_dict(self) -> dict[str, Any]:
        measured = {task: list(values) for task, values in self._measured.items()}
        drawn = self._passes.num_drawn
        return {"num_drawn": drawn, "steps": self._steps, "measured": measured, "weight": dict(self._weight)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._passes.num_drawn, self._steps = int(state["num_drawn"]), int(state["steps"])
        self._measured = {str(task): (float(p), float(tds)) for task, (p, tds) in state["measured"].items()}
        self._weight = {str(task): float(weight) for task, weight in state["weight"].items()}
