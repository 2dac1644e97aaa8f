"""Rewards of our own, added to the turn rewards that the world paid."""

from dataclasses import dataclass

from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Part
from agentrl.trainers.step_view import StepView


@dataclass(frozen=True, kw_only=True)
class InvalidActionConfig:
    penalty: float = 0.1
    """Taken off the reward of each acting turn that was unreadable or refused; 0.1 as in verl-agent's runs."""

    def __post_init__(self) -> None:
        require(self.penalty >= 0, f"penalty is {self.penalty}; it must not be negative")


def invalid_action_reward(acts: Tensor, readable: Tensor, valid: Tensor, reward: Tensor, penalty: float) -> Tensor:
    """-penalty where an acting turn's reply could not be read or the world refused its action, 0 elsewhere.

    acts, readable, valid: [U] bool.   reward: [U] float, for the type alone.   Returns [U].
    """
    refused = acts & ~(readable & valid)
    return -penalty * refused.to(reward)


def _invalid_action(view: StepView, config: InvalidActionConfig, state: None) -> Tensor:
    return invalid_action_reward(view.acts, view.readable, view.valid, view.reward, config.penalty)


INVALID_ACTION_PENALTY = Part(
    name="invalid-action-penalty",
    kind="reward",
    bind=_invalid_action,
    config=InvalidActionConfig,
    active=lambda config: config.penalty > 0,
)
"""Makes invalid actions cost; needs a returns part that reads turn rewards, as reward-sum does."""
