"""How credit runs backwards in time: chains of turns and tokens, discounted sums, and advantages from values.

Turns of a trajectory come in the order of `StepView.order_of_turn`, never in that of the batch.
"""

import torch
from torch import Tensor

from agentrl.segments import count_by

LAST = -1
"""In a chain: nothing follows."""


def chain(unit: Tensor, order: Tensor) -> Tensor:
    """Which member follows each one in its unit, by order; members that tie stay as they stand.

    unit, order: [K] int.   Returns [K] int64 into [K]; LAST: none follows.
    """
    by_order = torch.argsort(order, stable=True)
    by_unit = by_order[torch.argsort(unit[by_order], stable=True)]
    following = torch.full_like(unit, LAST)
    same = unit[by_unit[1:]] == unit[by_unit[:-1]]
    following[by_unit[:-1][same]] = by_unit[1:][same]
    return following


def chain_of_turns(trajectory_of_turn: Tensor, order: Tensor, counted: Tensor) -> Tensor:
    """Which of the counted turns follows each of them in its trajectory.

    trajectory_of_turn, order: [U] int.   counted: [U] bool.   Returns [U] int64 into [U]; LAST: none, or not counted.
    """
    among = counted.nonzero()[:, 0]
    following = chain(trajectory_of_turn[among], order[among])
    placed = torch.full_like(trajectory_of_turn, LAST)
    placed[among] = torch.where(following == LAST, following, among[following])
    return placed


def last_tokens(turn_of_token: Tensor, num_turns: int) -> tuple[Tensor, Tensor]:
    """Where each turn's tokens begin and end, which are contiguous.

    turn_of_token: [N] int.   Returns ([U], [U]) int64 into [N]: its first and its last token; LAST: it has none.
    """
    first, last = (torch.full((num_turns,), LAST, dtype=torch.int64) for _ in range(2))
    place = torch.arange(len(turn_of_token))
    edge = torch.ones(len(turn_of_token) + 1, dtype=torch.bool)
    edge[1:-1] = turn_of_token[1:] != turn_of_token[:-1]
    first[turn_of_token[edge[:-1]]] = place[edge[:-1]]
    last[turn_of_token[edge[1:]]] = place[edge[1:]]
    return first, last


def chain_of_tokens(turn_of_token: Tensor, following_turn: Tensor) -> Tensor:
    """Which token follows each one in its trajectory, over what stands between the turns.

    turn_of_token: [N] int.   following_turn: [U] int, of the turns with tokens.   Returns [N] int64; LAST: none.
    """
    first, last = last_tokens(turn_of_token, len(following_turn))
    following = torch.arange(1, len(turn_of_token) + 1)
    ends = (last != LAST).nonzero()[:, 0]
    then = following_turn[ends]
    following[last[ends]] = torch.where(then == LAST, then, first[then])
    return following


def backward_sum(value: Tensor, decay: Tensor, following: Tensor) -> Tensor:
    """S_k = value_k + decay_k * S_next(k), from the ends of the chains backwards.

    value, decay: [K] float.   following: [K] int, LAST: none.   Returns [K].
    """
    before = torch.full_like(following, LAST)
    linked = following != LAST
    before[following[linked]] = linked.nonzero()[:, 0]
    total = value.clone()
    now = before[(~linked).nonzero()[:, 0]]
    while len(now := now[now != LAST]):
        total[now] = value[now] + decay[now] * total[following[now]]
        now = before[now]
    return total


def step_returns(reward: Tensor, following: Tensor, gamma: float) -> Tensor:
    """G_t = sum over k >= t of gamma^(k - t) * r_k, over the acting turns of a trajectory.

    reward: [U] float.   following: [U] int, the acting turn that comes next.   Returns [U].
    """
    return backward_sum(reward, torch.full_like(reward, gamma), following)


def reward_at_tokens(reward: Tensor, turn_of_token: Tensor, trajectory_of_turn: Tensor, order: Tensor) -> Tensor:
    """The reward of each turn where its tokens stand; that of a turn without tokens goes to the turn before it.

    Where none before it has tokens it goes to the first that has; a trajectory without any token keeps none (ours).
    reward: [U] float.   turn_of_token: [N] int.   trajectory_of_turn, order: [U] int.   Returns [U].
    """
    num_turns, num_trajectories = len(reward), int(trajectory_of_turn.max()) + 1 if len(reward) else 0
    filled = count_by(turn_of_token, num_turns) > 0
    if bool(filled.all()):
        return reward
    by_order = torch.argsort(order, stable=True)
    by_order = by_order[torch.argsort(trajectory_of_turn[by_order], stable=True)]
    holder = torch.full((num_trajectories,), LAST, dtype=torch.int64)
    waiting = reward.new_zeros(num_trajectories)
    moved = torch.zeros_like(reward)
    for turn in by_order.tolist():
        trajectory = int(trajectory_of_turn[turn])
        if filled[turn]:
            holder[trajectory] = turn
            moved[turn] += reward[turn] + waiting[trajectory]
            waiting[trajectory] = 0
        elif holder[trajectory] != LAST:
            moved[holder[trajectory]] += reward[turn]
        else:
            waiting[trajectory] += reward[turn]
    return moved


def advantage_of_values(
    reward: Tensor, value: Tensor, end_value: Tensor, following: Tensor, gamma: Tensor, lam: float
) -> Tensor:
    """A_k = d_k + gamma_k * lam * A_next(k),  d_k = r_k + gamma_k * V_next(k) - V_k:  generalised advantage estimation.

    reward, value: [K] float.   end_value: [K], stands for V_next where nothing follows; 0 where the episode ended.
    following: [K] int.   gamma: [K] float.   Returns [K]. GAE (arXiv 1506.02438), as recalled.
    """
    then = torch.where(following == LAST, end_value, value[following.clamp(min=0)]) if len(value) else value
    return backward_sum(reward + gamma * then - value, gamma * lam, following)
