"""Turn credit in the style of ArCHer: a critic of whole turns, a policy gradient of their tokens (arXiv 2402.19446).

    L    = -mean over the turns u of  A_u * sum over u's response tokens n of  log p(n)
    A_u  = d_u + gamma * lam * A_next(u),   d_u = r_u + gamma * V(s_next(u)) - V(s_u)
    L_V  = mean over the turns u of  0.5 * (v(s_u) - R_u)^2,   R_u = A_u + V(s_u)

s_u is everything up to the start of turn u: a turn is one action, its value is read before its first token. With lam 0,
d_u is Q(s, a) - V(s) for Q = r + gamma * V(s'), and R_u is Q. After the last turn V is 0, or where the episode was cut
that at the end of the final observation.

The paper's text was not at hand: what is ArCHer's follows the released `archer/algorithms/archer/trainer.py`, as it was
read: a critic of utterances, gamma 0.95, the policy gradient of A times an utterance's log-prob, more critic than actor
updates. Released, that critic is twin Q and twin V learned off-policy from a replay buffer with slow targets, and A is
the smaller Q less the smaller V; here it is one V, learned from the rollout at hand (ours), which needs no targets. lam
0.95 is ours too: a young critic's one-step credit says little; 0 is the released form. Summarise turns are turns of
their own that no gamma follows, and advantages are whitened (ours). Where minibatches or epochs make several updates of
a rollout, take `parts: {surrogate: ppo-clip}`; `critic: {updates: 16}` has the released ratio of 50 to 3.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.credit import advantage_of_values
from agentrl.trainers.parts.values import chain_of_filled_turns, rewards_of_turns
from agentrl.trainers.step_view import Credit, StepView


@dataclass(frozen=True, kw_only=True)
class TurnCreditConfig:
    gamma: float = 0.95
    """Discount from one turn to the next; 0.95 as released."""
    lam: float = 0.95
    """lambda: how far credit reaches back past the values; 0 is one step, as released."""

    def __post_init__(self) -> None:
        for name in ("gamma", "lam"):
            require(0 <= getattr(self, name) <= 1, f"{name} is {getattr(self, name)}; it must be from 0 to 1")


def turn_credit(
    reward: Tensor, value: Tensor, end_value: Tensor, following_turn: Tensor, acts: Tensor, config: TurnCreditConfig
) -> Tensor:
    """A_u.

    reward, value: [U] float, V at the turn's start.   end_value: [U], V after the last turn.
    following_turn: [U] int.   acts: [U] bool.   Returns [U]; what a turn without tokens gets is read by nothing.
    """
    gamma = torch.where(acts, torch.full_like(value, config.gamma), torch.ones_like(value))
    return advantage_of_values(reward, value, end_value, following_turn, gamma, config.lam)


def _turn_credit(view: StepView, config: TurnCreditConfig, state: None) -> Credit:
    assert view.value_at_start is not None and view.value_after is not None
    end_value = view.value_after[view.trajectory_of_turn]
    following = chain_of_filled_turns(view)
    advantage = turn_credit(rewards_of_turns(view), view.value_at_start, end_value, following, view.acts, config)
    return Credit(advantage[view.turn_of_token], advantage + view.value_at_start, "turn")


TURN_CREDIT = Part(name="turn-credit", kind="advantage", bind=_turn_credit, config=TurnCreditConfig, needs=("value",))
"""A turn's advantage by a critic of turns, the same for each of its tokens."""
ARCHER = Algorithm(
    name="archer",
    citation="Y. Zhou et al.: ArCHer: training language model agents via hierarchical multi-turn RL. arXiv 2402.19446.",
    returns="turn-reward",
    advantage=TURN_CREDIT,
    modifiers=("whiten",),
    surrogate="policy-gradient",
    regularisers=("kl",),
    value_loss="value-clip",
    aggregate="token-sum",
    settings={"token-sum": {"mean_over": "turn"}, "value-clip": {"clip": 0.0}, "kl": {"coef": 0.0}},
)
