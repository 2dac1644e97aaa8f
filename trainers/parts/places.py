"""Where members stand in their unit: by what they are, never by their place in the batch."""

import torch
from torch import Tensor

from agentrl.segments import count_by
from agentrl.trainers.step_view import StepView


def place_within(unit: Tensor, order: Tensor, num_units: int) -> Tensor:
    """0-based place of each member in its unit, by order; members that tie stay as they stand.

    unit, order: [K] int.   Returns [K] int64.
    """
    by_order = torch.argsort(order, stable=True)
    by_unit = by_order[torch.argsort(unit[by_order], stable=True)]
    count = count_by(unit, num_units)
    first = count.cumsum(0) - count
    place = torch.empty_like(unit)
    place[by_unit] = torch.arange(len(unit)) - first[unit[by_unit]]
    return place


def rank(order: Tensor) -> Tensor:
    """0-based place of each value among all, smallest first; ties stay as they stand.   order: [K].   Returns [K]."""
    return torch.argsort(torch.argsort(order, stable=True), stable=True)


def trajectory_rank(view: StepView) -> Tensor:
    """A number for every trajectory that follows from its key alone: 0 to J - 1.   Returns [J] int64."""
    assert view.key is not None
    return rank(view.key)


def token_rank(view: StepView) -> Tensor:
    """A number for every token: by its trajectory's rank, its turn's order, its place in the turn.   Returns [N]."""
    turn = trajectory_rank(view)[view.trajectory_of_turn]
    width = int(view.order_of_turn.max()) + 1 if view.num_turns else 1
    of_turn = turn * width + view.order_of_turn
    return rank(of_turn[view.turn_of_token])  # tokens of a turn are contiguous and in order


def place_in_trajectory(view: StepView) -> Tensor:
    """0-based place of each token among its trajectory's, in the order of the turns.   Returns [N] int64."""
    order = view.order_of_turn[view.turn_of_token]
    return place_within(view.trajectory_of_token, order, view.num_trajectories)
