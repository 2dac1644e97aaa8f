"""Gates: which groups enter the batch, decided before any statistic is taken."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.segments import max_by, min_by
from agentrl.trainers.algorithm import Part
from agentrl.trainers.step_view import StepView


@dataclass(frozen=True, kw_only=True)
class SignalConfig:
    of: Literal["returns", "success"] = "returns"
    """What must differ within a group: what turns are credited with, or whether episodes succeeded (as in DAPO)."""


def groups_that_differ(value: Tensor, group: Tensor, counted: Tensor, num_groups: int) -> Tensor:
    """Groups whose counted values are not all equal: those from which a comparison within the group can learn.

    value: [K] float.   group: [K] int.   counted: [K] bool.   Returns [G] bool; a group without values: False.
    """
    value, group = value[counted], group[counted]
    return min_by(value, group, num_groups) < max_by(value, group, num_groups)


def groups_of_one(group_of_trajectory: Tensor, counted: Tensor, num_groups: int) -> Tensor:
    """Groups with exactly one counted trajectory.   group_of_trajectory, counted: [J].   Returns [G] bool."""
    return torch.bincount(group_of_trajectory[counted], minlength=num_groups) == 1


def _signal(view: StepView, config: SignalConfig, state: None) -> Tensor:
    assert view.returns is not None
    if config.of == "success":
        signal = groups_that_differ(view.success, view.group_of_trajectory, view.in_statistics, view.num_groups)
    else:
        counted = view.in_statistics[view.trajectory_of_turn]
        signal = groups_that_differ(view.returns, view.group_of_turn, counted, view.num_groups)
    if view.singleton == "raw":
        signal = signal | groups_of_one(view.group_of_trajectory, view.in_statistics, view.num_groups)
    return signal


SIGNAL = Part(name="signal", kind="gate", bind=_signal, config=SignalConfig)
"""Dynamic sampling's gate (DAPO, arXiv 2503.14476; rule read in verl's code): groups whose returns are not all equal.

A group of one is kept where `trainer.singleton` is raw, as verl keeps it; with zero it has no signal and is dropped."""
