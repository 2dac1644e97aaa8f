"""How losses become one number: each rule is a weight for every value of a level, over the whole batch.

A rule weighs tokens, and only those that carry loss; a turn or trajectory weighs what its tokens weigh together. So a
term on turns means the same as one that repeats its values for each token. A turn or trajectory without such tokens is
in no count; a batch without any has weights 0. A preference pair weighs what its pairing says, whatever its tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from agentrl.segments import sum_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Part
from agentrl.trainers.step_view import Level, StepView


@dataclass(frozen=True, kw_only=True)
class TokenSumConfig:
    mean_over: Literal["batch", "turn", "trajectory"] = "batch"
    """batch: the plain sum. turn, trajectory: the mean over these of each one's sum (REINFORCE, RLOO)."""
    constant: float = 1.0
    """Each sum is divided by this, the same at every step; Dr.GRPO takes the longest possible reply."""

    def __post_init__(self) -> None:
        require(self.constant > 0, f"constant is {self.constant}; it must be above 0")


def token_mean(trained: Tensor) -> Tensor:
    """w = 1 / (tokens that carry loss).   trained: [N] float, 0 or 1.   Returns [N]."""
    return trained / trained.sum().clamp(min=1)


def token_sum(trained: Tensor, unit_of_token: Tensor | None, num_units: int, constant: float) -> Tensor:
    """w = 1 / (units with tokens that carry loss * constant).

    trained: [N] float, 0 or 1.   unit_of_token: [N] int, or None: the whole batch is one unit.   Returns [N].
    """
    if unit_of_token is None:
        return trained / constant
    filled = sum_by(trained, unit_of_token, num_units) > 0
    return trained / (filled.sum().clamp(min=1) * constant)


def mean_of_unit_means(trained: Tensor, unit_of_token: Tensor, num_units: int) -> Tensor:
    """w = 1 / (tokens of its unit * units): every turn, or every trajectory, counts the same.

    trained: [N] float, 0 or 1.   unit_of_token: [N] int.   Returns [N].
    """
    count = sum_by(trained, unit_of_token, num_units)
    return trained / (count[unit_of_token] * (count > 0).sum()).clamp(min=1)


def mean_of_trajectories_of_turn_means(trained: Tensor, turn_of_token: Tensor, trajectory_of_turn: Tensor) -> Tensor:
    """w = 1 / (tokens of its turn * turns of its trajectory * trajectories).

    trained: [N] float, 0 or 1.   turn_of_token: [N] int.   trajectory_of_turn: [U] int.   Returns [N].
    """
    num_tokens = sum_by(trained, turn_of_token, len(trajectory_of_turn))
    filled = (num_tokens > 0).to(trained)
    num_trajectories = int(trajectory_of_turn.max()) + 1 if len(trajectory_of_turn) else 0
    num_turns = sum_by(filled, trajectory_of_turn, num_trajectories)
    of_turn = num_tokens * num_turns[trajectory_of_turn] * (num_turns > 0).sum()
    return trained / of_turn[turn_of_token].clamp(min=1)


def mean_of_groups_of_trajectory_means(
    trained: Tensor, trajectory_of_token: Tensor, group_of_trajectory: Tensor, num_groups: int
) -> Tensor:
    """w = 1 / (tokens of its trajectory * trajectories of its group * groups).

    trained: [N] float, 0 or 1.   trajectory_of_token: [N] int.   group_of_trajectory: [J] int.   Returns [N].
    """
    num_tokens = sum_by(trained, trajectory_of_token, len(group_of_trajectory))
    num_trajectories = sum_by((num_tokens > 0).to(trained), group_of_trajectory, num_groups)
    of_trajectory = num_tokens * num_trajectories[group_of_trajectory] * (num_trajectories > 0).sum()
    return trained / of_trajectory[trajectory_of_token].clamp(min=1)


def at_level(weight: Tensor, view: StepView, level: Level) -> Tensor:
    """The tokens' weights summed up at a level.   weight: [N].   Returns [N], [U], [J] or [P]."""
    if level == "token":
        return weight
    if level == "turn":
        return sum_by(weight, view.turn_of_token, view.num_turns)
    if level == "trajectory":
        return sum_by(weight, view.trajectory_of_token, view.num_trajectories)
    return _share_of_pairs(view)


def share_of_pairs(weight: Tensor) -> Tensor:
    """w_p / sum of w: what each pair counts, 1 together.   weight: [P] float, not negative.   Returns [P]."""
    return weight / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


def _share_of_pairs(view: StepView) -> Tensor:
    return share_of_pairs(view.score.new_ones(view.size("pair")) if view.pair_weight is None else view.pair_weight)


def pair_token_mean(weight: Tensor, tokens: Tensor) -> Tensor:
    """w_p / sum over the pairs of (w_p * tokens of both sides): sums over tokens become a mean.

    weight, tokens: [P] float.   Returns [P].
    """
    return weight / (weight * tokens).sum().clamp(min=torch.finfo(weight.dtype).tiny)


def _trained(view: StepView) -> Tensor:
    return view.trained.to(view.score)


def _token_mean(view: StepView, level: Level, config: None) -> Tensor:
    return at_level(token_mean(_trained(view)), view, level)


def _token_sum(view: StepView, level: Level, config: TokenSumConfig) -> Tensor:
    if level == "pair":
        return view.score.new_full((view.size("pair"),), 1 / config.constant)
    unit = {"batch": None, "turn": view.turn_of_token, "trajectory": view.trajectory_of_token}[config.mean_over]
    size = view.num_turns if config.mean_over == "turn" else view.num_trajectories
    return at_level(token_sum(_trained(view), unit, size, config.constant), view, level)


def _turn_mean(view: StepView, level: Level, config: None) -> Tensor:
    return at_level(mean_of_unit_means(_trained(view), view.turn_of_token, view.num_turns), view, level)


def _trajectory_mean(view: StepView, level: Level, config: None) -> Tensor:
    return at_level(mean_of_unit_means(_trained(view), view.trajectory_of_token, view.num_trajectories), view, level)


def _trajectory_mean_of_turn_means(view: StepView, level: Level, config: None) -> Tensor:
    weight = mean_of_trajectories_of_turn_means(_trained(view), view.turn_of_token, view.trajectory_of_turn)
    return at_level(weight, view, level)


def _group_mean(view: StepView, level: Level, config: None) -> Tensor:
    trajectory, group = view.trajectory_of_token, view.group_of_trajectory
    return at_level(mean_of_groups_of_trajectory_means(_trained(view), trajectory, group, view.num_groups), view, level)


def _pair_mean(view: StepView, level: Level, config: None) -> Tensor:
    by_token = level in ("token", "turn")
    return _token_mean(view, level, config) if by_token else _trajectory_mean(view, level, config)


def _pair_token_mean(view: StepView, level: Level, config: None) -> Tensor:
    if level != "pair" or view.pairs is None:
        return _token_mean(view, level, config)
    tokens = sum_by(_trained(view), view.trajectory_of_token, view.num_trajectories)[view.pairs].sum(1)
    return pair_token_mean(_share_of_pairs(view), tokens)


def _part(name: str, bind: Callable[..., Tensor], config: type | None = None) -> Part:
    return Part(name=name, kind="aggregate", bind=bind, config=config)


TOKEN_MEAN = _part("token-mean", _token_mean)
"""Every token counts the same (DAPO, arXiv 2503.14476)."""
TOKEN_SUM = _part("token-sum", _token_sum, TokenSumConfig)
"""Tokens are added up, over the batch or before the mean over turns or trajectories; Dr.GRPO with a constant."""
TURN_MEAN = _part("turn-mean", _turn_mean)
"""Every turn counts the same, its tokens share."""
TRAJECTORY_MEAN = _part("trajectory-mean", _trajectory_mean)
"""Every trajectory counts the same, its tokens share (GRPO's paper, where a trajectory is one reply)."""
TRAJECTORY_MEAN_OF_TURN_MEANS = _part("trajectory-mean-of-turn-means", _trajectory_mean_of_turn_means)
"""Every trajectory counts the same, its turns share, and the tokens of a turn share its share."""
GROUP_MEAN = _part("group-mean", _group_mean)
"""Every group counts the same, its trajectories share, and the tokens of a trajectory share its share (GTPO)."""
PAIR_MEAN = _part("pair-mean", _pair_mean)
"""Every preference pair counts what its pairing says, every trajectory the same, every token the same."""
PAIR_TOKEN_MEAN = _part("pair-token-mean", _pair_token_mean)
"""Pairs are added up by their weights, over the number of tokens of all of them, both sides'; elsewhere token-mean."""
