"""PPO with bi-level advantages: credit first over turns, then over the tokens of each turn (RAGEN, arXiv 2504.20073).

    d_k   = R_k + gamma_turn * V(p_(k+1)) - V(p_k),   A_k = d_k + gamma_turn * lam * A_(k+1),   Ret_k = A_k + V(p_k)
    A'_n  = d_n + gamma_token * lam * A'_(n+1),       d_n = r_n + gamma_token * V_(n+1) - V_n     within a turn
    A     = (A' - mean of A') / sqrt(var of A' + 1e-8);   the policy's and the critic's losses are PPO's

p_k is the last response token of the k-th turn, R_k what that turn was paid. Below, r_n is 0 but at p_k, where it is
Ret_k; V and A' after p_k are 0 there. Above, the value after the last turn is 0, or that at the end of the final
observation where the episode was cut. One lambda serves both levels; of an episode of one turn, gamma_turn is not used.

The paper's text was not at hand: the formulas follow `compute_bi_level_gae_advantage_return`, which was read. Released,
a turn without reward merges with the next one and loses its gamma_turn, and a last turn without reward is an error;
here turns are turns whatever they were paid. A summarise turn is a turn of its own that no gamma_turn follows (ours).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from agentrl.settings import require
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.parts.credit import LAST, advantage_of_values, chain_of_tokens, last_tokens
from agentrl.trainers.parts.values import chain_of_filled_turns, rewards_of_turns, token_gae
from agentrl.trainers.step_view import Credit, StepView


@dataclass(frozen=True, kw_only=True)
class BilevelConfig:
    gamma_turn: float = 0.95
    """Discount from one turn to the next; 0.95 as released."""
    gamma_token: float = 1.0
    """Discount from one token of a turn to the next; 1 as released."""
    lam: float = 1.0
    """lambda of both levels; 1 as released."""

    def __post_init__(self) -> None:
        for name in ("gamma_turn", "gamma_token", "lam"):
            require(0 <= getattr(self, name) <= 1, f"{name} is {getattr(self, name)}; it must be from 0 to 1")


def turn_level(
    reward: Tensor, value: Tensor, end_value: Tensor, following_turn: Tensor, acts: Tensor, config: BilevelConfig
) -> Tensor:
    """A_k, the upper level.

    reward, value: [U] float, V at the turn's last token.   end_value: [U], V after the last turn.
    following_turn: [U] int.   acts: [U] bool.   Returns [U]; what a turn without tokens gets is read by nothing.
    """
    gamma = torch.where(acts, torch.full_like(value, config.gamma_turn), torch.ones_like(value))
    return advantage_of_values(reward, value, end_value, following_turn, gamma, config.lam)


def token_level(turn_return: Tensor, value: Tensor, turn_of_token: Tensor, config: BilevelConfig) -> Tensor:
    """A'_n, the lower level: each turn is an episode of its own that is paid Ret_k at its end.

    turn_return: [U] float.   value: [N] float.   turn_of_token: [N] int.   Returns [N].
    """
    _, last = last_tokens(turn_of_token, len(turn_return))
    filled = last != LAST
    reward = torch.zeros_like(value)
    reward[last[filled]] = turn_return[filled]
    within = chain_of_tokens(turn_of_token, torch.full_like(last, LAST))
    return token_gae(reward, value, torch.zeros_like(value), within, config.gamma_token, config.lam)


def _bilevel(view: StepView, config: BilevelConfig, state: None) -> Credit:
    assert view.value is not None and view.value_after is not None
    _, last = last_tokens(view.turn_of_token, view.num_turns)
    filled = last != LAST
    at_end = torch.zeros_like(view.reward)
    at_end[filled] = view.value[last[filled]].to(at_end)
    end_value = view.value_after[view.trajectory_of_turn]
    of_turn = turn_level(rewards_of_turns(view), at_end, end_value, chain_of_filled_turns(view), view.acts, config)
    advantage = token_level(of_turn + at_end, view.value, view.turn_of_token, config)
    return Credit(advantage, advantage + view.value)


BILEVEL_GAE = Part(name="bilevel-gae", kind="advantage", bind=_bilevel, config=BilevelConfig, needs=("value",))
"""Generalised advantage estimation over turns, and below it over the tokens of each turn."""
BILEVEL_PPO = Algorithm(
    name="bilevel-ppo",
    citation="Z. Wang et al.: RAGEN: understanding self-evolution in LLM agents via multi-turn RL. arXiv 2504.20073.",
    returns="turn-reward",
    advantage=BILEVEL_GAE,
    modifiers=("whiten",),
    surrogate="ppo-clip",
    regularisers=("kl",),
    value_loss="value-clip",
    aggregate="token-mean",
    settings={"ppo-clip": {"dual_clip": 0.0}, "kl": {"coef": 0.0}},
)
