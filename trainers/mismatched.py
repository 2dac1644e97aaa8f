"""Replies after prompts that they do not answer: what KTO's KL term is estimated from."""

from collections.abc import Callable

import torch
from torch import Tensor

from agentrl.segments import sum_by
from agentrl.trainers.batch import Batch, build_batch
from agentrl.trainers.step_view import StepView
from agentrl.types import Completion, Observation, Outcome, Task, Trajectory, Turn


def partners(view: StepView) -> list[int]:
    """For each trajectory the next one of another group, in the order of their keys; -1: there is none.

    The same pairing in any order of the batch.
    """
    assert view.key is not None
    order, group = view.key.argsort().tolist(), view.group_of_trajectory.tolist()
    place = {number: i for i, number in enumerate(order)}

    def following(number: int) -> int:
        around = (order[(place[number] + k) % len(order)] for k in range(1, len(order)))
        return next((other for other in around if group[other] != group[number]), -1)

    return [following(number) for number in range(len(order))]


def mismatched(batch: Batch) -> tuple[Batch, Tensor]:
    """A batch of first prompts, each with the first reply of its trajectory's partner, and whose prompts they are.

    Returns (batch of K sequences, [K] int64 into the trajectories); replies are not held to what a world admits.
    """
    first: dict[int, tuple[list[int], list[int]]] = {}
    turns = batch.view.turn_of_token
    for stretch in batch.stretches:
        number = int(batch.view.trajectory_of_token[stretch.first_token])
        if number not in first:
            own = turns[stretch.first_token : stretch.first_token + len(stretch.places)]
            begin, length = stretch.places[0], int((own == own[0]).sum())
            first[number] = list(stretch.ids[:begin]), list(stretch.ids[begin : begin + length])
    found = partners(batch.view)
    asked = [number for number in sorted(first) if found[number] in first]
    made = [_said(number, first[number][0], first[found[number]][1]) for number in asked]
    return build_batch(made), torch.tensor(asked, dtype=torch.int64)


def _said(number: int, prompt_ids: list[int], token_ids: list[int]) -> Trajectory:
    seen, completion = Observation(""), Completion("", token_ids)
    turn = Turn(0, seen, prompt_ids, False, completion, "", readable=True, valid=True, reward=0.0)
    task = Task("", str(number), "", 0)
    return Trajectory(task, str(number), 0, [turn], None, Outcome(False, 0.0), "done", source="logged")


def mismatched_log_ratio(
    batch: Batch, policy: Callable[[Batch], Tensor], reference: Callable[[Batch], Tensor]
) -> Tensor:
    """log p - log p_ref of each trajectory's mismatched reply.   Returns [J] float64; nan where there is none.

    policy, reference: log-probs of a batch's tokens, [N], without a graph.   KTO (arXiv 2402.01306), section 4.1.
    """
    ratio = torch.full((batch.view.num_trajectories,), torch.nan, dtype=torch.float64)
    other, asked = mismatched(batch)
    if len(asked):
        by_token = policy(other) - reference(other)
        ratio[asked] = sum_by(by_token, other.view.trajectory_of_token, len(asked))
    return ratio
