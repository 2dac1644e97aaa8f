"""Rewards of our own, added to the turn rewards that the world paid, or to the outcome's score."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from agentrl.segments import count_by, max_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Part
from agentrl.trainers.step_view import StepView


@dataclass(frozen=True, kw_only=True)
class InvalidActionConfig:
    penalty: float = 0.1
    """Taken off the reward of each acting turn that was unreadable or refused; 0.1 as in verl-agent's runs."""

    def __post_init__(self) -> None:
        require(self.penalty >= 0, f"penalty is {self.penalty}; it must not be negative")


@dataclass(frozen=True, kw_only=True)
class OverlongConfig:
    max_length: int = 0
    """Response tokens at which the whole penalty is taken; 0: no penalty. 20480 in the paper."""
    buffer: int = 0
    """The penalty grows over this many tokens before `max_length`; 0: a fifth of it, as 4096 of the paper's 20480."""
    factor: float = 1.0
    """How much is taken off the score at `max_length`."""
    unit: Literal["trajectory", "turn"] = "trajectory"
    """Whose length counts: that of all replies of an episode together, or of its longest one."""
    clamp: bool = True
    """Take no more than `factor` from what is longer still, as the paper has it; false: the line goes on (verl)."""

    def __post_init__(self) -> None:
        require(self.max_length >= 0, f"max_length is {self.max_length}; it must not be negative")
        require(0 <= self.buffer <= self.max_length, f"buffer is {self.buffer}; it must be from 0 to max_length")
        require(self.factor >= 0, f"factor is {self.factor}; it must not be negative")


def overlong_penalty(length: Tensor, max_length: int, buffer: int, factor: float, clamp: bool) -> Tensor:
    """min(-(length - (max_length - buffer)) / buffer * factor, 0); with `clamp` not below -factor.

    length: [K] response tokens.   Returns [K].
    DAPO (arXiv 2503.14476), from verl's reward manager, which does not clamp; the paper's piecewise form does.
    """
    penalty = (-(length - (max_length - buffer)) / buffer * factor).clamp(max=0)
    return penalty.clamp(min=-factor) if clamp else penalty


def invalid_action_reward(acts: Tensor, readable: Tensor, valid: Tensor, reward: Tensor, penalty: float) -> Tensor:
    """-penalty where an acting turn's reply could not be read or the world refused its action, 0 elsewhere.

    acts, readable, valid: [U] bool.   reward: [U] float, for the type alone.   Returns [U].
    """
    refused = acts & ~(readable & valid)
    return -penalty * refused.to(reward)


def _invalid_action(view: StepView, config: InvalidActionConfig, state: None) -> Tensor:
    return invalid_action_reward(view.acts, view.readable, view.valid, view.reward, config.penalty)


def _overlong(view: StepView, config: OverlongConfig, state: None) -> Tensor:
    length = count_by(view.trajectory_of_token, view.num_trajectories).to(view.score)
    if config.unit == "turn":
        of_turn = count_by(view.turn_of_token, view.num_turns).to(view.score)
        length = max_by(of_turn, view.trajectory_of_turn, view.num_trajectories).clamp(min=0)
    buffer = config.buffer or max(config.max_length // 5, 1)
    return overlong_penalty(length, config.max_length, buffer, config.factor, config.clamp)


OVERLONG = Part(
    name="overlong",
    kind="reward",
    bind=_overlong,
    config=OverlongConfig,
    adds_to="score",
    active=lambda config: config.max_length > 0 and config.factor > 0,
)
"""DAPO's over-long shaping: episodes that near a number of tokens lose score."""
INVALID_ACTION_PENALTY = Part(
    name="invalid-action-penalty",
    kind="reward",
    bind=_invalid_action,
    config=InvalidActionConfig,
    active=lambda config: config.penalty > 0,
)
"""Makes invalid actions cost; needs a returns part that reads turn rewards, as reward-sum does."""
