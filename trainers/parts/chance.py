"""Chance that belongs to a token or a trajectory, not to its place: the same in any order and any cut of a batch (R6).

A number follows from the run's seed, the step, what it is for, and what it belongs to. In the several updates of one
step it is the same.
"""

import torch
from torch import Tensor

from agentrl.seeds import seed_of
from agentrl.segments import min_by
from agentrl.trainers.step_view import StepView


def trajectory_chance(view: StepView, what: str) -> Tensor:
    """A number in [0, 1) for each trajectory.   what: names the choice, so that two choices differ.   Returns [J]."""
    return _unit_interval(_of_trajectory(view, what))


def turn_chance(view: StepView, what: str) -> Tensor:
    """A number in [0, 1) for each turn: by its trajectory and its place in it.   Returns [U] float64."""
    return _unit_interval(_of_turn(view, what))


def token_chance(view: StepView, what: str) -> Tensor:
    """A number in [0, 1) for each response token: by its trajectory, turn and place in the turn.

    what: names the choice, so that two choices differ.   Returns [N] float64.
    """
    turn = _of_turn(view, what)
    number = torch.arange(view.num_tokens)
    first = min_by(number.double(), view.turn_of_token, view.num_turns)
    place = number - first[view.turn_of_token].long()
    return _unit_interval(_mixed(turn[view.turn_of_token] + place))


def largest(value: Tensor, counted: Tensor, num: int, chance: Tensor) -> Tensor:
    """The `num` counted members with the largest value; ties go by chance.

    value, chance: [K] float.   counted: [K] bool.   Returns [K] bool, at most `num` of them true.
    Values closer than 2**-40 of the largest are ties: sums of the same numbers in another order differ by less.
    """
    members = counted.nonzero()[:, 0]
    own = value.detach()[members].double()
    scale = own.abs().max() if len(own) else value.new_zeros(())
    coarse = (own / scale * 2.0**40).round() if scale > 0 else torch.zeros_like(own)
    by_chance = chance[members].argsort()
    order = by_chance[coarse[by_chance].argsort(descending=True, stable=True)]
    chosen = torch.zeros_like(counted)
    chosen[members[order[:num]]] = True
    return chosen


def _of_trajectory(view: StepView, what: str) -> Tensor:
    assert view.key is not None
    return _mixed(view.key + seed_of(view.seed, what, view.step))


def _of_turn(view: StepView, what: str) -> Tensor:
    return _mixed(_of_trajectory(view, what)[view.trajectory_of_turn] + view.order_of_turn)


def _mixed(number: Tensor) -> Tensor:
    """Sixty-four bits stirred, as in splitmix64; int64 arithmetic wraps around.   number: [K] int64.   Returns [K]."""
    number = number - 7046029254386353131
    number = (number ^ _shifted(number, 30)) * -4658895280553007687
    number = (number ^ _shifted(number, 27)) * -7723592293110705685
    return number ^ _shifted(number, 31)


def _shifted(number: Tensor, bits: int) -> Tensor:
    """To the right, filled up with zeros."""
    return (number >> bits) & ((1 << (64 - bits)) - 1)


def _unit_interval(number: Tensor) -> Tensor:
    return _shifted(number, 11).double() / 2.0**53
