"""The optimal token baseline: each token of a trajectory is compared with the group's tokens at the same place.

    A_n = R_n - B,   B = sum over the group's members at n's place of  W R  /  (sum of W + epsilon)
    W   = the running sum, over the trajectory up to the token, of  w = 1 - 2 pi(o) + q,   q = sum over v of pi_v^2

w is the squared norm of the score onehot(o) - pi: members with a larger gradient weigh more, which is what makes the
variance of the estimate least. Places count the response tokens of a trajectory in order, observations left out: of
verl 0.9.1, whose functions were run, that is `compute_multi_turn_optimal_token_baseline_advantage`;
`compute_optimal_token_baseline_advantage` counts columns, which is the same without observations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from agentrl.segments import count_by, max_by, sum_by
from agentrl.settings import require
from agentrl.trainers.algorithm import Part
from agentrl.trainers.parts.credit import last_tokens
from agentrl.trainers.parts.probes import SUM_OF_SQUARES
from agentrl.trainers.step_view import StepView


@dataclass(frozen=True, kw_only=True)
class OptimalBaselineConfig:
    zero_tail: bool = True
    """Where the longest trajectory of a group goes on alone, its baseline is 0, as in verl; false: its own return."""
    epsilon: float = 1e-8
    """Added to the sum of weights; 1e-8 as in verl."""

    def __post_init__(self) -> None:
        require(self.epsilon > 0, f"epsilon is {self.epsilon}; it must be above 0")


def place_in_trajectory(view: StepView) -> Tensor:
    """How many response tokens of its trajectory stand before each token, in the order of the turns.   Returns [N]."""
    first, _ = last_tokens(view.turn_of_token, view.num_turns)
    count = count_by(view.turn_of_token, view.num_turns)
    by_order = torch.argsort(view.order_of_turn, stable=True)
    by_trajectory = by_order[torch.argsort(view.trajectory_of_turn[by_order], stable=True)]
    before = torch.zeros_like(count)
    before[by_trajectory] = count[by_trajectory].cumsum(0) - count[by_trajectory]
    of_trajectory = count_by(view.trajectory_of_token, view.num_trajectories)
    start = (of_trajectory.cumsum(0) - of_trajectory)[view.trajectory_of_turn]
    own = torch.arange(view.num_tokens) - first[view.turn_of_token]
    return own + (before - start)[view.turn_of_token]


def running_weight(old: Tensor, squares: Tensor, trajectory: Tensor, place: Tensor) -> Tensor:
    """W of each token.   old: [N] log-probs.   squares: [N], q.   trajectory, place: [N] int.   Returns [N]."""
    order = torch.argsort(place, stable=True)
    order = order[torch.argsort(trajectory[order], stable=True)]
    weight = (1 - 2 * old.exp() + squares)[order]
    total = weight.cumsum(0)
    opens = torch.ones_like(order, dtype=torch.bool)
    opens[1:] = trajectory[order][1:] != trajectory[order][:-1]
    before = (total - weight)[opens.nonzero()[:, 0]]
    running = torch.empty_like(total)
    running[order] = total - before[opens.long().cumsum(0) - 1]
    return running


def optimal_baseline(value: Tensor, weight: Tensor, cell: Tensor, num_cells: int, epsilon: float) -> Tensor:
    """B of each cell: sum of W R / (sum of W + epsilon).   value, weight: [N].   cell: [N] int.   Returns [cells]."""
    return sum_by(weight * value, cell, num_cells) / (sum_by(weight, cell, num_cells) + epsilon)


def alone_at_the_end(length: Tensor, group: Tensor, num_groups: int, column: Tensor, trajectory: Tensor) -> Tensor:
    """Tokens of the longest member of a group that stand where every other has ended.

    length: [J], -1 where not counted.   group: [J] int.   column: [N] where a token stands.   trajectory: [N] int.
    Returns [N] bool.
    """
    longest = max_by(length, group, num_groups)
    is_longest = length == longest[group]
    single = count_by(group[is_longest], num_groups) == 1
    others = max_by(length.masked_fill(is_longest, -1), group, num_groups)
    last = is_longest & single[group]
    return last[trajectory] & (column >= others[group][trajectory])


def _optimal_token_baseline(view: StepView, config: OptimalBaselineConfig, state: None) -> Tensor:
    assert view.returns is not None and view.old is not None
    return token_advantage(view, view.returns[view.turn_of_token], place_in_trajectory(view), config)


def token_advantage(view: StepView, value: Tensor, column: Tensor, config: OptimalBaselineConfig) -> Tensor:
    """A of each token.   value: [N], the return from it on.   column: [N] int, what members are compared by.

    Returns [N]; 0 where not in statistics. A member that is alone in its group gets 0, or its return (`singleton`).
    """
    assert view.old is not None
    trajectory, place = view.trajectory_of_token, place_in_trajectory(view)
    weight = running_weight(view.old, view.sampled_probes["sum-of-squares"], trajectory, place)
    counted = view.in_statistics[trajectory]
    group = view.group_of_trajectory[trajectory]
    width = int(column.max()) + 1 if len(column) else 1
    cell = group * width + column
    baseline = optimal_baseline(value, weight * counted, cell, view.num_groups * width, config.epsilon)[cell]
    if config.zero_tail:
        own = count_by(trajectory, view.num_trajectories).double().masked_fill(~view.in_statistics, -1.0)
        tail = alone_at_the_end(own, view.group_of_trajectory, view.num_groups, column, trajectory)
        baseline = baseline.masked_fill(tail, 0.0)
    members = count_by(view.group_of_trajectory[view.in_statistics], view.num_groups)[group]
    alone = value if view.singleton == "raw" else torch.zeros_like(value)
    return torch.where(members == 1, alone, value - baseline).masked_fill(~counted, 0.0)


OPTIMAL_TOKEN_BASELINE = Part(
    name="optimal-token-baseline",
    kind="advantage",
    bind=_optimal_token_baseline,
    config=OptimalBaselineConfig,
    needs=("old",),
    sampled_probes=(SUM_OF_SQUARES,),
    citation="Y. Li et al.: The optimal token baseline: variance reduction for long-horizon LLM-RL. PMLR 306, 2026.",
)
"""The return less the group's mean at the same place, weighed by the squared norm of each one's score so far."""
