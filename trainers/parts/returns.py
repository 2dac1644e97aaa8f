"""Returns: what each turn is credited with, from the rewards of the turns or from the outcome of the episode."""

from dataclasses import dataclass

import torch
from torch import Tensor

from agentrl.segments import count_by, sum_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Part
from agentrl.trainers.parts.credit import LAST, chain
from agentrl.trainers.step_view import StepView


@dataclass(frozen=True, kw_only=True)
class DiscountConfig:
    gamma: float = 0.995
    """Each acting turn that was still to come multiplies the score by this; 0.995 is the EAPO paper's."""

    def __post_init__(self) -> None:
        require(0 < self.gamma <= 1, f"gamma is {self.gamma}; it must be above 0 and at most 1")


def sum_of_rewards(reward: Tensor, trajectory_of_turn: Tensor, num_trajectories: int) -> Tensor:
    """R_u = sum of the rewards of u's whole trajectory.

    reward: [U] float.   trajectory_of_turn: [U] int.   Returns [U].
    """
    return sum_by(reward, trajectory_of_turn, num_trajectories)[trajectory_of_turn]


def discounted_outcome(
    score: Tensor, trajectory_of_turn: Tensor, turn_position: Tensor, acts: Tensor, gamma: float
) -> Tensor:
    """R_u = gamma^(T - 1 - p) * score, with T the acting turns of the trajectory and p the 0-based place among them.

    score: [J] float.   trajectory_of_turn, turn_position: [U] int.   acts: [U] bool.   Returns [U].
    A summarise turn is discounted like the acting turn that comes next; after the last one, not at all.
    From the EAPO paper (arXiv 2511.07327), whose t is 1-based.
    """
    num_acting = count_by(trajectory_of_turn[acts], len(score))
    still_to_come = (num_acting[trajectory_of_turn] - 1 - turn_position).clamp(min=0)
    return score[trajectory_of_turn] * torch.full_like(score[trajectory_of_turn], gamma) ** still_to_come


def outcome_at_last_turn(score: Tensor, trajectory_of_turn: Tensor, order: Tensor) -> Tensor:
    """R_u = score at the last turn of each trajectory, 0 before it.

    score: [J] float.   trajectory_of_turn, order: [U] int.   Returns [U].
    """
    last = chain(trajectory_of_turn, order) == LAST
    return torch.where(last, score[trajectory_of_turn], torch.zeros_like(score[trajectory_of_turn]))


def _turn_reward(view: StepView, config: None, state: None) -> Tensor:
    return view.reward


def _last_turn_outcome(view: StepView, config: None, state: None) -> Tensor:
    return outcome_at_last_turn(view.score, view.trajectory_of_turn, view.order_of_turn)


def _outcome(view: StepView, config: None, state: None) -> Tensor:
    return view.score[view.trajectory_of_turn]


def _reward_sum(view: StepView, config: None, state: None) -> Tensor:
    return sum_of_rewards(view.reward, view.trajectory_of_turn, view.num_trajectories)


def _discounted(view: StepView, config: DiscountConfig, state: None) -> Tensor:
    return discounted_outcome(view.score, view.trajectory_of_turn, view.turn_position, view.acts, config.gamma)


OUTCOME = Part(name="outcome", kind="returns", bind=_outcome)
"""Every turn gets the outcome's score; turn rewards are not read."""
REWARD_SUM = Part(name="reward-sum", kind="returns", bind=_reward_sum, needs=("reward",))
"""Every turn gets the sum of its trajectory's turn rewards; the outcome is not read."""
TURN_REWARD = Part(name="turn-reward", kind="returns", bind=_turn_reward, needs=("reward",), per_turn=True)
"""Every turn gets its own reward, for advantages that add them up themselves, as a critic's do; no outcome."""
LAST_TURN_OUTCOME = Part(name="last-turn-outcome", kind="returns", bind=_last_turn_outcome, per_turn=True)
"""The last turn gets the outcome's score, for advantages that add turns up themselves; turn rewards are not read."""
DISCOUNTED = Part(name="discounted", kind="returns", bind=_discounted, config=DiscountConfig)
"""The outcome's score, less the more turns were still to come."""
