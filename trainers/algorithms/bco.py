"""BCO: a binary classifier of good and bad trajectories, whose logit is the implicit reward (arXiv 2404.04656).

    L     = mean over the trajectories of  -c_good log sigmoid(x - shift)  or, of what is bad,
                                           -c_bad log sigmoid(shift - x)
    x     = beta * (sum over the response tokens of the trajectory of  log p(n) - log p_reference(n))
    shift = mean of the x of all trajectories so far, this batch's too, a constant

No pairs are needed; of pairs, without a shift, it is `bco-pair`. Formulas as in TRL's `BCOTrainer.bco_loss` (f2cd577,
1.10.0 in the making), which was read and run; there the two classes count the same. The paper's text was not at hand;
it also weighs examples by a classifier of their prompts, which is not built. A step's trajectories are added to the
mean once, with the log-probs before its first update.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from agentrl.trainers.algorithm import Algorithm
from agentrl.trainers.algorithms.dpo_sides import BCO_PAIR
from agentrl.trainers.parts.log_ratios import log_ratio
from agentrl.trainers.parts.unpaired import (
    UnpairedConfig,
    counted_trajectories,
    unpaired_metrics,
    unpaired_part,
    unpaired_term,
)
from agentrl.trainers.step_view import StepView, Term


def classified(reward: Tensor, good: Tensor, shift: float) -> Tensor:
    """-log sigmoid(x - shift) of what is good, -log sigmoid(shift - x) of what is bad.

    reward: [J], with gradient.   good: [J] bool.   Returns [J].
    """
    return -logsigmoid(torch.where(good, reward - shift, shift - reward))


class RunningMean:
    """Mean of the rewards of every trajectory so far: BCO's shift."""

    def __init__(self, config: UnpairedConfig | None = None) -> None:
        self.beta = 1.0 if config is None else config.beta
        self.total, self.count = 0.0, 0

    def with_batch(self, reward: Tensor) -> float:
        """The mean as it is with these; nothing is remembered.   reward: [K]; nothing so far: 0."""
        return (self.total + float(reward.detach().sum())) / max(self.count + len(reward), 1)

    def add(self, reward: Tensor) -> None:
        """Remember these.   reward: [K]."""
        self.total, self.count = self.total + float(reward.detach().sum()), self.count + len(reward)

    def update(self, view: StepView) -> None:
        """Once a step, with the log-probs before its first update."""
        ratio = log_ratio(view.with_fields(current=view.old))
        self.add(self.beta * ratio[counted_trajectories(view)])

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.total, self.count = float(state["total"]), int(state["count"])


def _bco(view: StepView, config: UnpairedConfig, state: RunningMean) -> Term:
    shift = state.with_batch(config.beta * log_ratio(view).detach()[counted_trajectories(view)])
    return unpaired_term(view, config, lambda reward, good: classified(reward, good, shift))


def _bco_metrics(view: StepView, config: UnpairedConfig, state: RunningMean) -> dict[str, float]:
    ratio = log_ratio(view).detach()[counted_trajectories(view)]
    return unpaired_metrics(view, config) | {"unpaired/shift": state.with_batch(config.beta * ratio)}


BCO_SURROGATE = unpaired_part("bco", _bco, _bco_metrics, needs=("old",), state=RunningMean, couples="batch")
"""BCO's: a classifier of good and bad trajectories, shifted by the mean reward so far."""
BCO = Algorithm(
    name="bco",
    citation=BCO_PAIR.citation,
    advantage=None,
    surrogate=BCO_SURROGATE,
    aggregate="pair-mean",
    learns_from="both",
)
