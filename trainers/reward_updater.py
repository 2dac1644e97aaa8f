"""The updater of a reward model: one score a trajectory in place of one number a token, the same loop around it.

A trajectory's score is read at the last token of its last sequence. What a loss reads is `view.judged` [J], and its
gradient is one number a trajectory. Groups stay whole in a forward pass, so that one pass is enough where pairs are
within one; where they are not, or a group is longer than a pass, scores are gathered first, as log-probs are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from agentrl.config import RunConfig
from agentrl.models.forward import Packed
from agentrl.models.head import Probe
from agentrl.models.load import Model
from agentrl.models.polar_form import PolarForm
from agentrl.models.reward_model import HEAD_FILE, RewardForm, RewardModel, form_of, last_token_scores
from agentrl.models.value_head import ValueModel
from agentrl.trainers.batch import Batch, Stretch
from agentrl.trainers.composition import Composition
from agentrl.trainers.optimiser import Optimiser
from agentrl.trainers.packing import packed_stream
from agentrl.trainers.ranks import Ranks
from agentrl.trainers.step_view import StepView
from agentrl.trainers.update import Objective, TokenNumbers, Update, Updater


def _no_numbers() -> Tensor:
    return torch.zeros(0, dtype=torch.float64)


@dataclass
class Judgements(TokenNumbers):
    """What the forward of a reward model gives: no number of tokens, and a score a trajectory."""

    logprob: Tensor = field(default_factory=_no_numbers)
    entropy: Tensor = field(default_factory=_no_numbers)
    judged: Tensor = field(default_factory=_no_numbers)
    """[J] float64; 0 of a trajectory without a token."""

    def in_view(self, view: StepView) -> StepView:
        """The view with these as the scores of the reward model that is trained."""
        return view.with_fields(judged=self.judged)


@dataclass
class RewardUpdater(Updater):
    """Runs batches through a reward model and changes its weights; its `module` is the backbone."""

    values: ValueModel = field(kw_only=True)
    """The backbone and the head; what the optimiser steps."""

    @torch.no_grad()
    def evaluate(self, batch: Batch, with_entropy: bool = True, probes: Sequence[Probe] = ()) -> Judgements:
        """Scores of the whole batch, over all ranks, without a graph; there are no log-probs, entropies or probes."""
        judged = torch.zeros(batch.view.num_trajectories, dtype=torch.float64)
        for stretches in self.micro_batches(_last_sequences(batch)):
            numbers, scores = self._scores(batch, stretches)
            judged[numbers] = scores
        return Judgements(judged=self.ranks.add(judged))

    def _scores(self, batch: Batch, stretches: list[Stretch]) -> tuple[Tensor, Tensor]:
        """Numbers of the trajectories of some sequences, [K], and their scores, [K] float64, with gradient."""
        numbers = batch.view.trajectory_of_token[torch.tensor([s.first_token for s in stretches])]
        stream = packed_stream(stretches, share=not self.one_by_one)
        positions = stream.positions.to(self.device)
        images: dict[str, Tensor] = {}
        if self.image_inputs is not None and any(s.images for s in stretches):
            images, positions = self.image_inputs(stretches)
        packed = Packed(stream.ids.to(self.device), stream.starts, positions, images, stream.before)
        return numbers, last_token_scores(self.values, packed, self.one_by_one).double().cpu()

    def _one_pass_is_exact(self, batch: Batch, objective: Objective) -> bool:
        return super()._one_pass_is_exact(_last_sequences(batch), objective)

    def _two_passes(self, batch: Batch, objective: Objective, known: TokenNumbers, with_entropy: bool) -> Update:
        assert isinstance(known, Judgements)
        judged = known.judged.clone().requires_grad_()
        loss, terms = objective.loss(Judgements(judged=judged).in_view(batch.view))
        (by_trajectory,) = torch.autograd.grad(loss, [judged])
        for stretches in self.micro_batches(_last_sequences(batch)):
            numbers, live = self._scores(batch, stretches)
            (by_trajectory[numbers] * live).sum().backward()
        return Update(float(loss.detach()), terms, 0.0, known)

    def _one_pass(self, batch: Batch, objective: Objective, with_entropy: bool) -> Update:
        judged = torch.zeros(batch.view.num_trajectories, dtype=torch.float64)
        for stretches in self.micro_batches(_last_sequences(batch), whole_groups=True):
            numbers, live = self._scores(batch, stretches)
            judged[numbers] = live.detach()
            current = Judgements(judged=judged.index_copy(0, numbers, live))
            loss, _ = objective.loss(current.in_view(batch.view))
            loss.backward()
        found = Judgements(judged=self.ranks.add(judged))
        with torch.no_grad():
            whole, terms = objective.loss(found.in_view(batch.view))
        return Update(float(whole), terms, 0.0, found)


def _last_sequences(batch: Batch) -> Batch:
    """The batch with the last sequence of each trajectory alone: the one in which its last token stands."""
    view, last = batch.view, dict[int, tuple[int, Stretch]]()
    order = view.order_of_turn[view.turn_of_token]
    for stretch in batch.stretches:
        token = stretch.first_token + len(stretch.places) - 1
        number, place = int(view.trajectory_of_token[token]), int(order[token])
        if number not in last or place > last[number][0]:
            last[number] = place, stretch
    return replace(batch, stretches=tuple(stretch for _, stretch in last.values()))


def reward_form(composition: Composition) -> RewardForm:
    """In which form the composition's rewrites write what is judged."""
    polar = next((bound.config for bound in composition if isinstance(bound.config, PolarForm)), None)
    return RewardForm() if polar is None else RewardForm(form="polar", polar=polar)


def make_reward_updater(
    config: RunConfig, model: Model, composition: Composition, ranks: Ranks
) -> tuple[RewardUpdater, RewardModel]:
    """What the loop takes in place of its `Updater` where "judged" is in the composition's needs.

    model: becomes the backbone. One whose folder holds a head goes on with it, any other begins with scores of 0.
    Returns the updater, whose `optimiser` is that of backbone and head, to be used and saved in place of the policy's;
    and the reward model, which writes its head into every checkpoint (`save_checkpoint(..., reward_model=)`), so that
    the checkpoint's folder is a reward, and reads it back (`restore(..., reward_model=)`).
    Nothing is played with such a model: the run has no validation panel.
    """
    form = reward_form(composition)
    reward_model = RewardModel.of(model, form)
    folder = Path(model.name) if model.name else None
    if folder is not None and (folder / HEAD_FILE).is_file() and form_of(folder).form == form.form:
        reward_model.read_head(folder)
    updater = RewardUpdater(
        model.module,
        Optimiser(reward_model.values, config.trainer),
        micro_batch_tokens=config.trainer.micro_batch_tokens,
        one_by_one=reward_model.one_by_one,
        two_passes=config.trainer.passes == "two",
        ranks=ranks,
        values=reward_model.values,
    )
    return updater, reward_model
