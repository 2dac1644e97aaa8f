"""Views built by hand: a batch as nested lists, and the same batch with its turns and trajectories in another order."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from agentrl.trainers.step_view import StepView

TOKEN_FIELDS = (
    "trained",
    "sampled",
    "old",
    "reference",
    "guidance",
    "current",
    "entropy",
    "sampled_entropy",
    "value",
    "current_value",
    "value_target",
    "advantage",
    "target",
)
TURN_FIELDS = (
    "turn_position",
    "turn_place",
    "acts",
    "sequence_of_turn",
    "readable",
    "valid",
    "reward",
    "returns",
    "observation_class",
    "value_at_start",
    "value_at_end",
    "current_value_at_start",
    "turn_value_target",
)
TRAJECTORY_FIELDS = (
    *(
        "in_statistics",
        "bootstraps",
        "score",
        "success",
        "key",
        "task",
        "answer_class",
        "value_after",
        "mismatched",
        "demonstrated",
        "greedy",
    ),
)
_SWITCHES = {"trained", "acts", "in_statistics", "bootstraps", "readable", "valid", "demonstrated", "greedy"}
_INTEGERS = {
    *(
        "turn_of_token",
        "trajectory_of_turn",
        "group_of_trajectory",
        "turn_position",
        "turn_place",
        "sequence_of_turn",
        "pairs",
    ),
    *("target", "observation_class", "key", "task", "answer_class"),
}

Groups = Sequence[Sequence[Sequence[int]]]


def tensor_of(name: str, values: Any) -> Tensor:
    """The tensor of a view's field: bool, int64 or float64, by the field."""
    if isinstance(values, Tensor):
        return values
    kind = torch.bool if name in _SWITCHES else torch.int64 if name in _INTEGERS else torch.float64
    return torch.tensor(values, dtype=kind)


def view_of(groups: Groups, **fields: Any) -> StepView:
    """A view in order, from the number of tokens of each turn: groups, in them trajectories, in them turns.

    `view_of([[[2, 1], [3]]], score=[1, 0])` is one group of two trajectories, of two turns and of one.
    Lists become tensors; what is not given: every turn acts, is readable and valid, every token carries loss,
    everything is in statistics, rewards and scores are 0.
    """
    trajectories = [turns for group in groups for turns in group]
    turns = [tokens for turns in trajectories for tokens in turns]
    num_tokens, num_turns, num_trajectories = sum(turns), len(turns), len(trajectories)
    values: dict[str, Any] = {
        "turn_of_token": [u for u, tokens in enumerate(turns) for _ in range(tokens)],
        "trajectory_of_turn": [j for j, own in enumerate(trajectories) for _ in own],
        "group_of_trajectory": [g for g, own in enumerate(groups) for _ in own],
        "turn_position": [p for own in trajectories for p in range(len(own))],
        "acts": [True] * num_turns,
        "sequence_of_turn": list(range(num_turns)),
        "trained": [True] * num_tokens,
        "in_statistics": [True] * num_trajectories,
        "bootstraps": [False] * num_trajectories,
        "readable": [True] * num_turns,
        "valid": [True] * num_turns,
        "reward": [0.0] * num_turns,
        "score": [0.0] * num_trajectories,
        "success": [0.0] * num_trajectories,
        "target": [0] * num_tokens,
        "observation_class": list(range(num_turns)),
        "key": list(range(num_trajectories)),
        "task": [g for g, own in enumerate(groups) for _ in own],
        "answer_class": list(range(num_trajectories)),
        "demonstrated": [False] * num_trajectories,
        "greedy": [False] * num_trajectories,
    }
    settings: dict[str, Any] = {"num_groups": len(groups)}
    scalars = ("num_groups", "step", "num_steps", "singleton", "learning_rate")
    settings |= {name: fields.pop(name) for name in scalars if name in fields}
    values |= fields
    tensors = {name: tensor_of(name, value) for name, value in values.items()}
    return StepView(**settings, **tensors)


def reordered(view: StepView, seed: int) -> tuple[StepView, Tensor, Tensor, Tensor]:
    """The same batch with groups, trajectories, turns and their blocks of tokens in another order.

    Returns the view, and for tokens, turns and trajectories where each of the new ones stood before.
    """
    random = torch.Generator().manual_seed(seed)

    def order(size: int) -> tuple[Tensor, Tensor]:
        before = torch.randperm(size, generator=random)
        return before, torch.argsort(before)

    _, new_group = order(view.num_groups)
    old_trajectory, new_trajectory = order(view.num_trajectories)
    old_turn, new_turn = order(view.num_turns)
    _, block = order(view.num_turns)
    old_token = torch.argsort(block[view.turn_of_token], stable=True)
    changes: dict[str, Tensor] = {
        "turn_of_token": new_turn[view.turn_of_token[old_token]],
        "trajectory_of_turn": new_trajectory[view.trajectory_of_turn[old_turn]],
        "group_of_trajectory": new_group[view.group_of_trajectory[old_trajectory]],
    }
    levels = ((TOKEN_FIELDS, old_token), (TURN_FIELDS, old_turn), (TRAJECTORY_FIELDS, old_trajectory))
    for names, before in levels:
        for name in names:
            value = getattr(view, name)
            if value is not None:
                changes[name] = value[before]
    read = {
        name: {key: value[old_token] for key, value in getattr(view, name).items()}
        for name in ("probes", "sampled_probes")
    }
    return view.with_fields(**changes, **read), old_token, old_turn, old_trajectory
