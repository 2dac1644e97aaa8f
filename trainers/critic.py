"""The critic: values for advantages, and what they learn, with a backbone of its own or a head on the policy's.

A value loss is a term over the values of the whole batch, as the policy's loss is one over log-probs: sequences are run
in micro-batches, shared among the ranks, and the gradient does not depend on how they are cut (R7). Values of one token
or turn are mixed with no other's, so that one pass is enough.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from agentrl.config import RunConfig
from agentrl.models.forward import PACKED, Packed, attention, hidden_states, recomputing, register
from agentrl.models.value_head import ValueModel, copied
from agentrl.trainers.batch import Batch, micro_batches
from agentrl.trainers.composition import Composition
from agentrl.trainers.optimiser import Optimiser
from agentrl.trainers.step_view import StepView
from agentrl.trainers.update import TokenNumbers, Update, Updater
from agentrl.trainers.value_reads import (
    NextPrompt,
    ValueReads,
    ValueStretch,
    value_reads,
    with_current_values,
    with_values,
)
from agentrl.types import ENDS, Trajectory


@dataclass
class Critic:
    """Reads values of the step's batch and learns from it."""

    model: ValueModel
    optimiser: Optimiser
    """Of the critic's own weights: all of them, or beside a shared backbone the head's."""
    updater: Updater
    """The policy's, whose ranks, images and cuts are the critic's too."""
    next_prompt: NextPrompt
    shared: bool = False
    warmup_steps: int = 0
    updates: int = 1
    reads: ValueReads | None = None
    """Of the batch at hand."""
    whole: StepView | None = None
    """The batch at hand, of which minibatches are parts."""
    shown: list[dict[str, float]] = field(default_factory=list)
    """Metrics of each update of the batch at hand."""

    def read(self, trajectories: Sequence[Trajectory], view: StepView) -> None:
        """Begin a step: its episodes, and the view of the batch that was built of them."""
        kept = [t for t in trajectories if not ENDS[t.ended].infrastructure]
        self.reads, self.shown = value_reads(kept, view, self.next_prompt), []

    def keep(self, view: StepView, trajectories: Tensor) -> None:
        """Leave out what the batch leaves out.   view: before it did.   trajectories: [K] int64, sorted."""
        assert self.reads is not None
        self.reads = self.reads.keep(view, trajectories)
        self.whole = view.keep(trajectories)

    @torch.no_grad()
    def valued(self, view: StepView) -> StepView:
        """The view of the batch at hand with the values of the critic as it is."""
        assert self.reads is not None
        self.whole = view
        values = torch.zeros(self.reads.num_slots, dtype=torch.float64)
        for stretches in self._micro_batches(self.reads):
            slots, live = self._values(stretches)
            values[slots] = live.double().cpu()
        return with_values(view, self.reads, self.updater.ranks.add(values))

    def policy_share(self, share: float, step: int) -> float:
        """Share of the policy's peak learning rate: none while the critic warms up."""
        return 0.0 if step < self.warmup_steps else share

    def step(
        self,
        batch: Batch,
        trajectories: Tensor,
        composition: Composition,
        share: float,
        known: TokenNumbers | None = None,
    ) -> Update:
        """One optimiser step of the policy, and the critic's beside it.

        batch: a minibatch, whose view has values and what they are to become.   trajectories: [K] int64, sorted: which
        of the batch at hand it holds.   share: of the peak learning rates.   known: as `Updater.step` takes it.
        """
        assert self.reads is not None and self.whole is not None
        reads = self.reads.keep(self.whole, trajectories)
        of_policy = self.policy_share(share, batch.view.step)
        if not self.shared:
            for number in range(self.updates):
                self._step(batch.view, reads, composition, share, first=number == 0)
            return self.updater.step(batch, composition, of_policy, known)
        policy = self.updater.optimiser
        policy.zero_grad()  # the values' gradient into the backbone comes first, so that ranks add both at once
        self._step(batch.view, reads, composition, share, first=True)
        update = self.updater.gradient(batch, composition, known)
        update.grad_norm = policy.step(of_policy)
        policy.zero_grad()
        return update

    def _step(self, view: StepView, reads: ValueReads, composition: Composition, share: float, first: bool) -> None:
        self.optimiser.zero_grad()
        loss, values = self.gradient(view, reads, composition)
        self.updater.ranks.add_all(self.optimiser.gradients())
        norm = self.optimiser.step(share)
        self.optimiser.zero_grad()
        if first:
            (bound,) = composition.slots["value_loss"]
            row = {"critic/loss": loss, "critic/grad_norm": norm}
            if bound.part.metrics is not None:
                row |= bound.part.metrics(with_current_values(view, reads, values), bound.config, bound.state)
            self.shown.append(row)

    def gradient(self, view: StepView, reads: ValueReads, composition: Composition) -> tuple[float, Tensor]:
        """Add the value loss's gradient to the weights', of this rank's sequences; nothing is stepped.

        Returns the loss and the [M] values, over all ranks.
        """
        register()
        values = torch.zeros(reads.num_slots, dtype=torch.float64)
        backbone = self.model.backbone
        own = contextlib.nullcontext() if self.updater.one_by_one else attention(backbone, PACKED)
        with own, recomputing(backbone):
            for stretches in self._micro_batches(reads):
                slots, live = self._values(stretches)
                live = live.double().cpu()
                values[slots] = live.detach()
                value_loss(composition, with_current_values(view, reads, values.index_copy(0, slots, live))).backward()
        self.updater.ranks.add(values)
        with torch.no_grad():
            loss = float(value_loss(composition, with_current_values(view, reads, values)))
        return loss, values

    def weights(self) -> dict[str, torch.nn.Parameter]:
        """What is trained of the critic's own, by name: what a checkpoint holds."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def metrics(self) -> dict[str, float]:
        """Means over the updates of the step."""
        if not self.shown or self.reads is None:
            return {}
        names = dict.fromkeys(name for row in self.shown for name in row)
        means = {n: sum(row.get(n, 0.0) for row in self.shown) / len(self.shown) for n in names}
        return means | {"critic/unread_ends": float(self.reads.unread_ends)}

    def _micro_batches(self, reads: ValueReads) -> list[list[ValueStretch]]:
        """This rank's sequences, cut into forward passes as the policy's are."""
        order = sorted(range(len(reads.stretches)), key=lambda i: -len(reads.stretches[i].ids))
        own = [reads.stretches[order[i]] for i in self.updater.ranks.share(len(order))]
        budget = self.updater.micro_batch_tokens or (16384 if self.updater.device.type == "cuda" else 2048)
        return [[own[i] for i in sorted(cut)] for cut in micro_batches([len(s.ids) for s in own], budget)]

    def _values(self, stretches: list[ValueStretch]) -> tuple[Tensor, Tensor]:
        """What some sequences are read for: the slots [K], and their values [K], with gradient if enabled."""
        device = self.updater.device
        starts = [0]
        for stretch in stretches:
            starts.append(starts[-1] + len(stretch.ids))
        places = [a + p for a, s in zip(starts, stretches, strict=False) for p in s.places]
        ids = torch.tensor([i for s in stretches for i in s.ids], device=device)
        positions = torch.cat([torch.arange(len(s.ids)) for s in stretches]).to(device)
        images: dict[str, Tensor] = {}
        if self.updater.image_inputs is not None and any(s.images for s in stretches):
            images, positions = self.updater.image_inputs(stretches)  # type: ignore[arg-type]
        packed = Packed(ids, tuple(starts), positions, images)
        read, of_slot = torch.unique(torch.tensor(places, device=device), return_inverse=True)
        hidden = hidden_states(self.model.backbone, packed, self.updater.one_by_one, read)
        slots = torch.tensor([slot for s in stretches for slot in s.slots])
        return slots, self.model(hidden)[of_slot]


def value_loss(composition: Composition, view: StepView) -> Tensor:
    """Sum of the value loss's terms, weighed over the whole batch."""
    (bound,) = composition.slots["value_loss"]
    term = bound(view)
    weights = composition.weights(view, term.level, term.aggregate).detach()
    counted = weights != 0
    loss: Tensor = term.weight * (weights[counted] * term.values[counted]).sum()
    return loss


def make_critic(config: RunConfig, module: torch.nn.Module, updater: Updater, next_prompt: NextPrompt) -> Critic:
    """The critic that a run asks for, before its policy has changed.   module: the policy's."""
    asked, trainer = config.critic, config.trainer
    shared = asked.backbone == "shared"
    model = ValueModel(module if shared else copied(module), shared=shared)
    settings = replace(trainer, lr=asked.lr or trainer.lr, optimiser="adamw")
    return Critic(
        model,
        Optimiser(model, settings),
        updater,
        next_prompt,
        shared=shared,
        warmup_steps=asked.warmup_steps,
        updates=asked.updates,
    )
