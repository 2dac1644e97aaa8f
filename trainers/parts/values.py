"""Parts with a critic: generalised advantage estimation over tokens, whitening, and what the values learn from."""

from dataclasses import dataclass

import torch
from torch import Tensor

from agentrl.segments import count_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Part
from agentrl.trainers.parts.credit import (
    LAST,
    advantage_of_values,
    chain_of_tokens,
    chain_of_turns,
    last_tokens,
    reward_at_tokens,
)
from agentrl.trainers.step_view import Credit, StepView, Term


@dataclass(frozen=True, kw_only=True)
class GAEConfig:
    gamma: float = 1.0
    """Discount from one response token to the next; 1 as in verl's examples."""
    lam: float = 1.0
    """lambda: how far credit reaches back past the values; 1 takes what was paid, 0 the next value. 1 as in verl."""

    def __post_init__(self) -> None:
        require(0 <= self.gamma <= 1, f"gamma is {self.gamma}; it must be from 0 to 1")
        require(0 <= self.lam <= 1, f"lam is {self.lam}; it must be from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class ValueClipConfig:
    clip: float = 0.5
    """A value that moved further than this from what it was at the rollout gains nothing more; 0: no bound. verl's."""
    coef: float = 1.0
    """Weight of the value loss; where the backbone is the critic's own, only the gradient's clipping knows it."""

    def __post_init__(self) -> None:
        require(self.clip >= 0, f"clip is {self.clip}; it must be 0 (off) or above")
        require(self.coef > 0, f"coef is {self.coef}; it must be above 0")


def token_gae(reward: Tensor, value: Tensor, end_value: Tensor, following: Tensor, gamma: float, lam: float) -> Tensor:
    """A_n = d_n + gamma * lam * A_next(n),  d_n = r_n + gamma * V_next(n) - V_n, over response tokens alone.

    reward, value: [N] float, r at the last token of a turn.   end_value: [N], V_next of what nothing follows.
    following: [N] int, the next response token of the trajectory: observations between turns are skipped.
    Returns [N]. As in verl's `compute_gae_advantage_return`, before whitening.
    """
    return advantage_of_values(reward, value, end_value, following, torch.full_like(value, gamma), lam)


def whitened(value: Tensor, counted: Tensor, epsilon: float = 1e-8) -> Tensor:
    """(x - mean) / sqrt(var + epsilon), mean and unbiased variance over what is counted.

    value: [K] float.   counted: [K] bool.   Returns [K]; 0 where not counted or where all are equal. A single one stays
    as it is. As verl's `masked_whiten`, whose count has 1e-8 added.
    """
    x = value[counted]
    if len(x) < 2:
        return value
    spread = x - x.mean()
    scaled = torch.zeros_like(x) if bool((x == x[0]).all()) else spread * torch.rsqrt(x.var() + epsilon)
    return torch.zeros_like(value).masked_scatter(counted, scaled)


def clipped_value_loss(value: Tensor, old: Tensor, target: Tensor, clip: float) -> Tensor:
    """l = 0.5 * max((v - R)^2, (clip(v, old - clip, old + clip) - R)^2); without a clip 0.5 * (v - R)^2.

    value: [K] float, with gradient.   old, target: [K].   Returns [K]. As verl's `compute_value_loss`.
    """
    free = (value - target).square()
    if not clip:
        return 0.5 * free
    held = torch.maximum(torch.minimum(value, old + clip), old - clip)
    return 0.5 * torch.maximum(free, (held - target).square())


def value_clip_share(value: Tensor, old: Tensor, target: Tensor, clip: float) -> Tensor:
    """Where the clipped branch is the larger one.   value, old, target: [K].   Returns [K] bool."""
    held = torch.maximum(torch.minimum(value, old + clip), old - clip)
    return ((held - target).square() > (value - target).square()) & (clip > 0)


def rewards_of_turns(view: StepView) -> Tensor:
    """What each turn is credited with, where tokens stand to carry it.   Returns [U]."""
    assert view.returns is not None
    order = view.order_of_turn
    return reward_at_tokens(view.returns, view.turn_of_token, view.trajectory_of_turn, order)


def chain_of_filled_turns(view: StepView) -> Tensor:
    """Which turn with tokens follows each one that has tokens.   Returns [U]; LAST: none, or it has none itself."""
    filled = count_by(view.turn_of_token, view.num_turns) > 0
    return chain_of_turns(view.trajectory_of_turn, view.order_of_turn, filled)


def _gae(view: StepView, config: GAEConfig, state: None) -> Credit:
    assert view.value is not None and view.value_after is not None
    _, last = last_tokens(view.turn_of_token, view.num_turns)
    filled = last != LAST
    reward = torch.zeros_like(view.value)
    reward[last[filled]] = rewards_of_turns(view)[filled].to(reward)
    following = chain_of_tokens(view.turn_of_token, chain_of_filled_turns(view))
    end_value = view.value_after[view.trajectory_of_token]
    advantage = token_gae(reward, view.value, end_value, following, config.gamma, config.lam)
    return Credit(advantage, advantage + view.value)


def _whiten(view: StepView, config: None, state: None) -> Tensor:
    assert view.advantage is not None
    return whitened(view.advantage, view.in_statistics[view.trajectory_of_token])


def _value_clip(view: StepView, config: ValueClipConfig, state: None) -> Term:
    if view.turn_value_target is not None:
        assert view.current_value_at_start is not None and view.value_at_start is not None
        value, old, target = view.current_value_at_start, view.value_at_start, view.turn_value_target
        return Term(clipped_value_loss(value, old, target, config.clip), "turn", config.coef, "turn-mean")
    assert view.current_value is not None and view.value is not None and view.value_target is not None
    return Term(
        clipped_value_loss(view.current_value, view.value, view.value_target, config.clip), "token", config.coef
    )


def _value_metrics(view: StepView, config: ValueClipConfig, state: None) -> dict[str, float]:
    """Of the values before the update and what they are to become, over what carries loss."""
    counted = view.trained
    old, now, target = view.value, view.current_value, view.value_target
    if view.turn_value_target is not None:
        counted = count_by(view.turn_of_token[view.trained], view.num_turns) > 0
        old, now, target = view.value_at_start, view.current_value_at_start, view.turn_value_target
    if old is None or now is None or target is None or not bool(counted.any()):
        return {}
    old, now, target = old[counted], now.detach()[counted], target[counted]
    variance = float(target.var(correction=0))
    return {
        "critic/value_mean": float(old.mean()),
        "critic/target_mean": float(target.mean()),
        "critic/explained_variance": 1 - float((target - old).var(correction=0)) / variance if variance > 0 else 0.0,
        "critic/clip_fraction": float(value_clip_share(now, old, target, config.clip).double().mean()),
    }


GAE = Part(
    name="gae",
    kind="advantage",
    bind=_gae,
    config=GAEConfig,
    needs=("value",),
    citation="J. Schulman et al.: High-dimensional continuous control using generalized advantage estimation (GAE). "
    "arXiv 1506.02438.",
)
"""Generalised advantage estimation over the response tokens of an episode; a turn's reward is at its last token."""
WHITEN = Part(name="whiten", kind="modifier", bind=_whiten)
"""Advantages of mean 0 and deviation 1 over the tokens of the batch."""
VALUE_CLIP = Part(
    name="value-clip",
    kind="value-loss",
    bind=_value_clip,
    config=ValueClipConfig,
    needs=("value",),
    metrics=_value_metrics,
)
"""PPO's clipped squared error of the values, of tokens or of turns as the advantage has them."""
