"""REINFORCE++: a return to go for every token, whitened over the whole batch (arXiv 2501.03262).

    L   = mean over the response tokens n of  max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high))
    G_n = sum over the response tokens k >= n of n's trajectory of  gamma^(k - n) * r_k
    A_n = (G_n - mean of G over the tokens of the batch) / sqrt(variance + 1e-8)
    r   = exp(log p(n) - log p_old(n))

r_k is the outcome's score at the last response token of the trajectory; with `returns: turn-reward`, the reward of a
turn at its last token. What stands between the turns is skipped. No critic, no group.

With a baseline (`reinforce-plus-plus-baseline`): A is R - mean of R over the group, whitened over the tokens of the
batch, so that long trajectories weigh more in what the mean and the variance are.

The paper's text was not at hand: the formulas follow verl's `compute_reinforce_plus_plus_outcome_advantage` and its
baseline form, which were read and run. The KL penalty that the paper takes off the reward is a term of the loss here,
off by default (`settings: {kl: {coef: 0.01, estimator: k1}}`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.credit import LAST, backward_sum, chain_of_tokens, last_tokens
from agentrl.trainers.parts.values import chain_of_filled_turns, rewards_of_turns
from agentrl.trainers.step_view import StepView


@dataclass(frozen=True, kw_only=True)
class ReturnToGoConfig:
    gamma: float = 1.0
    """Each response token between a token and what is paid multiplies it by this; 1 as in verl's examples."""

    def __post_init__(self) -> None:
        require(0 <= self.gamma <= 1, f"gamma is {self.gamma}; it must be from 0 to 1")


def return_to_go(reward: Tensor, following: Tensor, gamma: float) -> Tensor:
    """G_n = r_n + gamma * G_next(n).   reward: [N] float.   following: [N] int, the next token.   Returns [N]."""
    return backward_sum(reward, torch.full_like(reward, gamma), following)


def _return_to_go(view: StepView, config: ReturnToGoConfig, state: None) -> Tensor:
    _, last = last_tokens(view.turn_of_token, view.num_turns)
    filled = last != LAST
    reward = view.score.new_zeros(view.num_tokens)
    reward[last[filled]] = rewards_of_turns(view)[filled].to(reward)
    following = chain_of_tokens(view.turn_of_token, chain_of_filled_turns(view))
    in_statistics = view.in_statistics[view.trajectory_of_token]
    return return_to_go(reward, following, config.gamma).masked_fill(~in_statistics, 0.0)


RETURN_TO_GO = Part(name="return-to-go", kind="advantage", bind=_return_to_go, config=ReturnToGoConfig, per_turn=True)
"""REINFORCE++'s: what is paid from a token on, discounted by the token."""
REINFORCE_PLUS_PLUS = Algorithm(
    name="reinforce-plus-plus",
    citation=(
        "J. Hu: REINFORCE++: stabilizing critic-free policy optimization with global advantage normalization. "
        "arXiv 2501.03262."
    ),
    returns="last-turn-outcome",
    advantage=RETURN_TO_GO,
    modifiers=("whiten",),
    surrogate="ppo-clip",
    regularisers=("kl",),
    aggregate="token-mean",
    settings={"kl": {"coef": 0.0}, "ppo-clip": {"dual_clip": 0.0}},
)
REINFORCE_PLUS_PLUS_BASELINE = Algorithm(
    name="reinforce-plus-plus-baseline",
    citation=REINFORCE_PLUS_PLUS.citation,
    returns="outcome",
    advantage="group-norm",
    modifiers=("whiten",),
    surrogate="ppo-clip",
    regularisers=("kl",),
    aggregate="token-mean",
    settings={"group-norm": {"std": False}, "kl": {"coef": 0.0}, "ppo-clip": {"dual_clip": 0.0}},
)
