"""Selections: which tokens carry loss, after every statistic was taken over all of them.

Random choices are keyed by the run's seed, the step and what is chosen (R6): the same in any order and on any rank.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Part
from agentrl.trainers.parts.chance import turn_chance
from agentrl.trainers.step_view import StepView


class StepCounts:
    """What selections did to the whole batch of this step, for their metrics; nothing of it outlives the step."""

    def __init__(self, config: object = None) -> None:
        self.counts: dict[str, float] = {}

    def update(self, view: StepView) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class WholeMultipleConfig:
    multiple: int = 1
    """As many turns carry loss as this divides; the rest, drawn at random, is dropped. 1: all of them."""

    def __post_init__(self) -> None:
        require(self.multiple >= 1, f"multiple is {self.multiple}; it must be at least 1")


def kept_of(count: int, multiple: int) -> int:
    """floor(count / multiple) * multiple."""
    return count // multiple * multiple


def _whole_multiple(view: StepView, config: WholeMultipleConfig, state: StepCounts) -> Tensor:
    turns = view.turn_of_token[view.trained].unique()
    num = kept_of(len(turns), config.multiple)
    state.counts["whole_multiple/too_few"] = float(0 < len(turns) < config.multiple)
    if num == 0:  # an empty step would teach nothing, and nothing here must be divisible
        num = len(turns)
    state.counts["whole_multiple/dropped_turns"] = float(len(turns) - num)
    chance = turn_chance(view, "whole-multiple")
    kept = torch.zeros(view.num_turns, dtype=torch.bool)
    kept[turns[chance[turns].argsort()[:num]]] = True
    return kept[view.turn_of_token]


def _counts(view: StepView, config: WholeMultipleConfig, state: StepCounts) -> dict[str, float]:
    return {name: count for name, count in state.counts.items() if name.startswith("whole_multiple/")}


WHOLE_MULTIPLE = Part(
    name="whole-multiple",
    kind="selection",
    bind=_whole_multiple,
    config=WholeMultipleConfig,
    state=StepCounts,
    active=lambda config: config.multiple > 1,
    metrics=_counts,
)
"""EAPO's down-sampling: turns are dropped at random until their number is a multiple; with fewer than that, none."""
