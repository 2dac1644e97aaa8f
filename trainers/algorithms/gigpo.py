"""GiGPO: group-in-group policy optimisation for agents (arXiv 2505.10978).

    L     = mean over the response tokens n of  max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high))
    A     = A_E + omega * A_S                                    of the turn in which n stands
    A_E   = (R - mean of R over the group) / (std + epsilon)     R: what the whole episode is credited with
    A_S   = (G - mean of G over the anchor group) / (std + epsilon)
    G_t   = sum over k >= t of  gamma^(k - t) * r_k              r_k: what the k-th acting turn was paid
    r     = exp(log p(n) - log p_old(n))

An anchor group is the acting turns of a group's rollouts that answered the same observation; several visits by one
rollout are several members. A member on its own has A_S = 0; a group of one, A_E as `trainer.singleton` says. `std:
false` takes the means off and divides by nothing: the released default, where the released scripts have `std: true`.

The paper's text was not at hand: the formulas follow verl-agent's `gigpo/core_gigpo.py`, as it was read. Set otherwise:
statistics of A_E are over trajectories; `unit: turn` counts each turn, so that long episodes weigh more, as released.
A summarise turn is in no anchor group and has A_S = 0 (ours). The released runs have a KL term of 0.01 (`settings:
{kl: {coef: 0.01}}`) and take 0.1 off for an invalid action (`parts: {rewards: [invalid-action-penalty]}`, read by G
alone unless `returns: reward-sum`). Observations are compared letter for letter, not by similarity (a released option).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.segments import count_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.advantages import group_norm, members_of_groups
from agentrl.trainers.parts.credit import chain_of_turns, step_returns
from agentrl.trainers.step_view import StepView


@dataclass(frozen=True, kw_only=True)
class GiGPOConfig:
    gamma: float = 0.95
    """Each acting turn that comes between a turn and a reward multiplies the reward by this; 0.95 as released."""
    omega: float = 1.0
    """Weight of the turn's own advantage beside the episode's; 1 as released, 0 leaves the episode's alone."""
    std: bool = True
    """Divide by standard deviations; false: the means alone are taken off."""
    epsilon: float = 1e-6
    """Added to the standard deviations."""
    unit: Literal["trajectory", "turn"] = "trajectory"
    """What is a member of the episodes' statistics; with turn, long episodes weigh more (released)."""

    def __post_init__(self) -> None:
        require(0 <= self.gamma <= 1, f"gamma is {self.gamma}; it must be from 0 to 1")
        require(self.omega >= 0, f"omega is {self.omega}; it must not be negative")
        require(self.epsilon >= 0, f"epsilon is {self.epsilon}; it must not be negative")


def anchor_groups(group_of_turn: Tensor, observation_class: Tensor) -> tuple[Tensor, int]:
    """Turns of one group that answered the same observation share a number.

    group_of_turn, observation_class: [U] int.   Returns [U] int64 and how many numbers there are.
    """
    if not len(group_of_turn):
        return group_of_turn, 0
    pairs = torch.stack([group_of_turn, observation_class], 1)
    found, anchor = torch.unique(pairs, dim=0, return_inverse=True)
    return anchor, len(found)


def _parts_of_advantage(view: StepView, config: GiGPOConfig) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """[N] A_E, [U] A_S, [U] anchor group, [U] bool whether the turn is a member of one."""
    value, group, counted, member_of_token = members_of_groups(view, config.unit)
    episode = group_norm(
        value, group, counted, view.num_groups, std=config.std, epsilon=config.epsilon, singleton=view.singleton
    )
    assert view.observation_class is not None
    following = chain_of_turns(view.trajectory_of_turn, view.order_of_turn, view.acts)
    gain = step_returns(view.reward, following, config.gamma)
    anchor, num_anchors = anchor_groups(view.group_of_turn, view.observation_class)
    member = view.acts & view.in_statistics[view.trajectory_of_turn]
    step = group_norm(gain, anchor, member, num_anchors, std=config.std, epsilon=config.epsilon)
    return episode[member_of_token], step, anchor, member


def _gigpo(view: StepView, config: GiGPOConfig, state: None) -> Tensor:
    episode, step, _, _ = _parts_of_advantage(view, config)
    return episode + config.omega * step[view.turn_of_token]


def _metrics(view: StepView, config: GiGPOConfig, state: None) -> dict[str, float]:
    """Shares of the turns at hand; `view` may be a minibatch, whose anchor groups are then smaller."""
    _, step, anchor, member = _parts_of_advantage(view, config)
    size = count_by(anchor[member], int(anchor.max()) + 1 if len(anchor) else 0)
    count = max(int(member.sum()), 1)
    return {
        "gigpo/anchored_share": float((size[anchor[member]] > 1).sum()) / count,
        "gigpo/step_signal_share": float((step[member] != 0).sum()) / count,
    }


GIGPO_ADVANTAGE = Part(
    name="group-in-group",
    kind="advantage",
    bind=_gigpo,
    config=GiGPOConfig,
    section="gigpo",
    needs=("reward",),
    metrics=_metrics,
)
"""GiGPO's: the episode against its group, and each turn against the turns that answered the same observation."""
GIGPO = Algorithm(
    name="gigpo",
    citation="L. Feng et al.: Group-in-group policy optimization for LLM agent training. arXiv 2505.10978.",
    returns="outcome",
    advantage=GIGPO_ADVANTAGE,
    surrogate="ppo-clip",
    regularisers=("kl",),
    aggregate="token-mean",
    settings={"kl": {"coef": 0.0}, "ppo-clip": {"dual_clip": 0.0}},
)
