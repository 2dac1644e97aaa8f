"""Learning from single trajectories, each called good or bad: what KTO, BCO and APO have in common.

Good is what is worth more than a threshold: a logged pair's chosen side is worth 1, its rejected side 0. Or what is
worth more than its group on average (ours), where equals are bad.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from agentrl.segments import count_by, mean_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Couples, Part
from agentrl.trainers.parts.log_ratios import log_ratio
from agentrl.trainers.parts.pairings import trajectory_return
from agentrl.trainers.step_view import StepView, Term


@dataclass(frozen=True, kw_only=True)
class UnpairedConfig:
    beta: float = 0.1
    """How much a log-ratio counts; 0.1 as in TRL."""
    good: Literal["threshold", "group-mean"] = "threshold"
    """What is good: a return above `threshold`, or above the mean of the group's."""
    threshold: float = 0.5
    """Of the return; between a failure's 0 and a success's 1."""
    good_weight: float = 1.0
    """c_good: where there are few of them, raise it."""
    bad_weight: float = 1.0
    """c_bad."""

    def __post_init__(self) -> None:
        require(self.beta > 0, f"beta is {self.beta}; it must be above 0")
        for name in ("good_weight", "bad_weight"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must not be negative")


def counted_trajectories(view: StepView) -> Tensor:
    """Which have tokens that carry loss.   Returns [J] bool."""
    return count_by(view.trajectory_of_token[view.trained], view.num_trajectories) > 0


def good_trajectories(view: StepView, config: UnpairedConfig) -> Tensor:
    """Which trajectories are called good.   Returns [J] bool."""
    value = trajectory_return(view)
    if config.good == "threshold":
        return value > config.threshold
    counted, group = counted_trajectories(view), view.group_of_trajectory
    return value > mean_by(value[counted], group[counted], view.num_groups)[group] + 1e-9  # equal ones are not above


def unpaired_term(view: StepView, config: UnpairedConfig, loss: Callable[[Tensor, Tensor], Tensor]) -> Term:
    """Each trajectory's loss, weighed by its class.   loss: [J] rewards, [J] bool which are good -> [J]."""
    good = good_trajectories(view, config)
    values = loss(config.beta * log_ratio(view), good)
    weight = config.good_weight * good.to(values) + config.bad_weight * (~good).to(values)
    return Term(weight * values, level="trajectory")


def unpaired_metrics(view: StepView, config: UnpairedConfig) -> dict[str, float]:
    """Rewards of both classes, over the trajectories that carry loss."""
    with torch.no_grad():
        reward = config.beta * log_ratio(view)
    good, counted = good_trajectories(view, config), counted_trajectories(view)
    shown = {"unpaired/good_share": float((good & counted).sum()) / max(int(counted.sum()), 1)}
    for name, own in (("good", good & counted), ("bad", ~good & counted)):
        shown[f"unpaired/reward_{name}"] = float(reward[own].sum()) / max(int(own.sum()), 1)
    return shown


def unpaired_part(
    name: str, bind: Callable[..., Term], metrics: Callable[..., dict[str, float]], **further: Any
) -> Part:
    """A value reads its whole trajectory, whose tokens may stand in several sequences of the group."""
    couples: Couples = further.pop("couples", "group")
    needs = ("reference", *further.pop("needs", ()))
    return Part(
        name=name,
        kind="surrogate",
        config=UnpairedConfig,
        bind=bind,
        metrics=metrics,
        couples=couples,
        needs=needs,
        **further,
    )
