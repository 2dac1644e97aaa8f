"""Advantages: how much better a turn's return is than what it is compared with. Statistics are over the whole batch.

Members of a statistic are what is in group statistics: trajectories, each with the mean of its turns' returns, or
turns. A member on its own (`trainer.singleton`) gets 0, or its raw return as if mean 0 and deviation 1 were known.
What is in no statistic gets 0. Members that are all equal get exactly 0, not the rounding error of their mean.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.segments import count_by, max_by, mean_by, min_by, std_by, sum_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Part
from agentrl.trainers.parts.gates import groups_that_differ
from agentrl.trainers.step_view import StepView

Singleton = Literal["zero", "raw"]


@dataclass(frozen=True, kw_only=True)
class GroupNormConfig:
    std: bool = True
    """Divide by the group's standard deviation; false: the mean alone is taken off (Dr.GRPO)."""
    epsilon: float = 1e-6
    """Added to the standard deviation; 1e-6 as in verl."""
    unit: Literal["trajectory", "turn"] = "trajectory"
    """What is a member of a group's statistics; with turn, long trajectories weigh more."""
    alone: Literal["run", "zero"] = "run"
    """What a member on its own gets: as `trainer.singleton` says, or always 0 (EAPO)."""

    def __post_init__(self) -> None:
        require(self.epsilon >= 0, f"epsilon is {self.epsilon}; it must not be negative")


@dataclass(frozen=True, kw_only=True)
class RawReturnConfig:
    baseline: Literal["none", "batch-mean"] = "none"
    """batch-mean: the mean return of the batch's trajectories is taken off."""


def return_of_trajectory(returns: Tensor, trajectory_of_turn: Tensor, num_trajectories: int) -> Tensor:
    """Mean return of each trajectory's turns; exactly the common one where they are equal.

    returns: [U] float.   trajectory_of_turn: [U] int.   Returns [J]; a trajectory without turns: 0.
    """
    low = min_by(returns, trajectory_of_turn, num_trajectories)
    high = max_by(returns, trajectory_of_turn, num_trajectories)
    return torch.where(low == high, low, mean_by(returns, trajectory_of_turn, num_trajectories))


def group_norm(
    value: Tensor,
    group: Tensor,
    counted: Tensor,
    num_groups: int,
    *,
    std: bool = True,
    epsilon: float = 1e-6,
    singleton: Singleton = "zero",
) -> Tensor:
    """A_i = (R_i - mean of its group) / (std of its group + epsilon), std unbiased; without `std`: R_i - mean.

    value: [K] float.   group: [K] int.   counted: [K] bool.   Returns [K]; 0 where not counted or all are equal.
    From verl's `compute_grpo_outcome_advantage`; a member on its own under `raw`: mean 0, std 1.
    """
    x, g = value[counted], group[counted]
    alone = count_by(g, num_groups) == 1
    mean, spread = mean_by(x, g, num_groups), std_by(x, g, num_groups)
    has_signal = groups_that_differ(value, group, counted, num_groups)
    if singleton == "raw":
        mean, spread = mean.masked_fill(alone, 0.0), spread.masked_fill(alone, 1.0)
        has_signal = has_signal | alone
    scale = spread + epsilon if std else torch.ones_like(spread)
    advantage = torch.where(has_signal[g], (x - mean[g]) / scale[g], torch.zeros_like(x))
    return torch.zeros_like(value).masked_scatter(counted, advantage)


def leave_one_out(
    value: Tensor, group: Tensor, counted: Tensor, num_groups: int, singleton: Singleton = "zero"
) -> Tensor:
    """A_i = R_i - mean of the others of its group, which is n / (n - 1) * (R_i - mean of its group).

    value: [K] float.   group: [K] int.   counted: [K] bool.   Returns [K]; 0 where not counted or all are equal.
    From RLOO (arXiv 2402.14740) as in verl's `compute_rloo_outcome_advantage`.
    """
    x, g = value[counted], group[counted]
    count = count_by(g, num_groups)
    others = (sum_by(x, g, num_groups)[g] - x) / (count - 1).clamp(min=1)[g]
    has_signal = groups_that_differ(value, group, counted, num_groups)
    if singleton == "raw":
        has_signal = has_signal | (count == 1)
    advantage = torch.where(has_signal[g], x - others, torch.zeros_like(x))
    return torch.zeros_like(value).masked_scatter(counted, advantage)


def batch_mean(value: Tensor, counted: Tensor, singleton: Singleton) -> Tensor:
    """Mean of the counted values, exactly their common value where all are equal.

    value: [J] float.   counted: [J] bool.   Returns a scalar; no value, or one alone under `raw`: 0.
    """
    x = value[counted]
    if len(x) == 0 or (len(x) == 1 and singleton == "raw"):
        return value.new_zeros(())
    return x[0] if bool((x == x[0]).all()) else x.mean()


def _trajectories(view: StepView) -> tuple[Tensor, Tensor]:
    """[J] mean return, [J] bool whether it is a member: in statistics, and with a turn to have a return."""
    assert view.returns is not None
    has_turn = count_by(view.trajectory_of_turn, view.num_trajectories) > 0
    value = return_of_trajectory(view.returns, view.trajectory_of_turn, view.num_trajectories)
    return value.masked_fill(~has_turn, 0.0), view.in_statistics & has_turn


def members_of_groups(view: StepView, unit: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What is compared within a group.   unit: trajectory, or turn.

    Returns [K] return, [K] group, [K] whether it counts, [N] the member of each token.
    """
    if unit == "turn":
        assert view.returns is not None
        return view.returns, view.group_of_turn, view.in_statistics[view.trajectory_of_turn], view.turn_of_token
    value, counted = _trajectories(view)
    return value, view.group_of_trajectory, counted, view.trajectory_of_token


def _group_norm(view: StepView, config: GroupNormConfig, state: None) -> Tensor:
    value, group, counted, member_of_token = members_of_groups(view, config.unit)
    singleton: Singleton = "zero" if config.alone == "zero" else view.singleton
    advantage = group_norm(
        value, group, counted, view.num_groups, std=config.std, epsilon=config.epsilon, singleton=singleton
    )
    return advantage[member_of_token]


def groups_with_signal(advantage: Tensor, group_of_token: Tensor, group_is_here: Tensor) -> float:
    """Share of the groups in which a token has an advantage.

    advantage: [N].   group_of_token: [N] int.   group_is_here: [G] bool, groups that count; none: 0.
    """
    has_signal = count_by(group_of_token[advantage != 0], len(group_is_here)) > 0
    return float((has_signal & group_is_here).sum()) / max(int(group_is_here.sum()), 1)


def signal_metrics(view: StepView, config: object, state: object) -> dict[str, float]:
    """Share of groups with an advantage, which was taken over the whole batch; `view` may be one of its minibatches."""
    assert view.advantage is not None
    here = count_by(view.group_of_trajectory[view.in_statistics], view.num_groups) > 0
    group_of_token = view.group_of_trajectory[view.trajectory_of_token]
    return {"advantage/groups_with_signal": groups_with_signal(view.advantage, group_of_token, here)}


def _leave_one_out(view: StepView, config: None, state: None) -> Tensor:
    value, group, counted, member_of_token = members_of_groups(view, "trajectory")
    return leave_one_out(value, group, counted, view.num_groups, view.singleton)[member_of_token]


def _raw_return(view: StepView, config: RawReturnConfig, state: None) -> Tensor:
    assert view.returns is not None
    value, counted = _trajectories(view)
    baseline = batch_mean(value, counted, view.singleton) if config.baseline == "batch-mean" else 0.0
    in_statistics = view.in_statistics[view.trajectory_of_turn]
    advantage = torch.where(in_statistics, view.returns - baseline, torch.zeros_like(view.returns))
    return advantage[view.turn_of_token]


GROUP_NORM = Part(name="group-norm", kind="advantage", bind=_group_norm, config=GroupNormConfig, metrics=signal_metrics)
"""GRPO's: return against the group's mean, in units of its standard deviation."""
LEAVE_ONE_OUT = Part(name="leave-one-out", kind="advantage", bind=_leave_one_out, metrics=signal_metrics)
"""RLOO's: return against the mean of the others of the group."""
RAW_RETURN = Part(name="raw-return", kind="advantage", bind=_raw_return, config=RawReturnConfig)
"""REINFORCE's: the return itself, or the return less the batch's mean."""
