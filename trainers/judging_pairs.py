"""Judging by held-out preferences: is the better one of two also what the model finds better."""

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from agentrl.segments import count_by, sum_by
from agentrl.statistics import TOTAL, Tally
from agentrl.trainers.batch import Batch
from agentrl.trainers.composition import Composition
from agentrl.trainers.judging import Verdict
from agentrl.trainers.parts.pairings import all_pairs, pairs_within
from agentrl.trainers.step_view import StepView
from agentrl.trainers.update import Updater


def model_worth(view: StepView) -> Tensor:
    """What the model finds a trajectory worth.   Returns [J].

    Its score where it is a reward model; else its summed log-ratio to the reference, the reward that DPO's model stands
    for (arXiv 2305.18290); without a reference its mean log-prob a token, as SimPO's (arXiv 2405.14734).
    """
    if view.judged is not None:
        return view.judged
    assert view.current is not None
    num = view.num_trajectories
    if view.reference is not None:
        return sum_by(view.current - view.reference, view.trajectory_of_token, num)
    lengths = count_by(view.trajectory_of_token, num).clamp(min=1)
    return sum_by(view.current, view.trajectory_of_token, num) / lengths


def pairs_in_order(view: StepView) -> tuple[Tensor, Tensor]:
    """Every two of a group that differ in score.   Returns their margin in `model_worth`, [P], and the pairs [P, 2]."""
    made = pairs_within(
        view.score, view.group_of_trajectory, view.in_statistics, view.num_groups, lambda scores, _: all_pairs(scores)
    )
    worth = model_worth(view)
    return worth[made.pairs[:, 0]] - worth[made.pairs[:, 1]], made.pairs


@torch.no_grad()
def judge_pairs(batch: Batch, updater: Updater, composition: Composition) -> Verdict:
    """Share of held-out pairs in the right order; a tie counts as wrong.

    batch: of the held-out groups, whose view has what frozen models say.   `success` is that share.
    """
    view = updater.evaluate(batch, with_entropy=False).in_view(batch.view)
    margin, pairs = pairs_in_order(view)
    right = int((margin > 0).sum())
    tally = Tally(episodes=len(pairs), successes=right)
    record: dict[str, Any] = {"pair_margin": float(margin.mean()) if len(pairs) else 0.0}
    record["pair_accuracy"] = right / max(len(pairs), 1)
    if composition.slots["pairing"]:
        loss, _ = composition.loss(composition.paired(view))
        record["loss"] = float(loss)
    record["tally"] = {TOTAL: asdict(tally)}
    return Verdict(record, {TOTAL: tally}, [], record["pair_accuracy"])
