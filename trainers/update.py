"""From a batch to new weights: the forward gives one number a token, the loss is differentiated there (R7, R8).

Two passes: the log-probs (entropies, numbers of probes) of the whole batch are gathered without a graph, the loss is a
function of these flat vectors and is differentiated there; the coefficients d loss / d number then drive the model's
backward, sequence by sequence. So it does not matter what a loss couples or how the batch is cut.
One pass gives the same gradient where every value of every term reads current numbers of one turn alone, or of one
group whose sequences are run together.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from agentrl.models.forward import PACKED, Packed, attention, causal_model, hidden_states, recomputing, register
from agentrl.models.head import Probe, token_numbers
from agentrl.trainers.batch import Batch, Stretch, micro_batches
from agentrl.trainers.optimiser import Optimiser
from agentrl.trainers.packing import num_tokens, packed_stream
from agentrl.trainers.ranks import Ranks
from agentrl.trainers.step_view import StepView

ImageInputs = Callable[[list[Stretch]], tuple[dict[str, Tensor], Tensor]]
"""Sequences with images -> further inputs of the model, and positions [3, T]."""


class Objective(Protocol):
    """What the update needs of a composition of parts."""

    @property
    def needs(self) -> frozenset[str]: ...
    @property
    def couples(self) -> str: ...
    @property
    def probes(self) -> tuple[Probe, ...]: ...
    def loss(self, view: StepView) -> tuple[Tensor, dict[str, float]]: ...


@dataclass
class TokenNumbers:
    """What the forward gives: one number a response token."""

    logprob: Tensor
    """[N] float64."""
    entropy: Tensor
    """[N] float64, nats; zeros where no part asked for it."""
    probes: dict[str, Tensor] = field(default_factory=dict)
    """name -> [N] float64: what the probes read that were asked for."""

    @classmethod
    def of(cls, rows: Sequence[Tensor], probes: Sequence[Probe]) -> "TokenNumbers":
        """From the rows of `token_numbers`."""
        names = [name for probe in probes for name in probe.names]
        return cls(rows[0], rows[1], dict(zip(names, rows[2:], strict=True)))

    def rows(self, probes: Sequence[Probe]) -> list[Tensor]:
        """The rows of `token_numbers`, of these probes alone."""
        return [self.logprob, self.entropy, *(self.probes[name] for probe in probes for name in probe.names)]

    def select(self, tokens: Tensor) -> "TokenNumbers":
        """Of some tokens alone.   tokens: [n] int64."""
        probes = {name: value[tokens] for name, value in self.probes.items()}
        return TokenNumbers(self.logprob[tokens], self.entropy[tokens], probes)

    def in_view(self, view: StepView) -> StepView:
        """The view with these as the current policy's numbers; where `old` is absent, they are the old ones too."""
        old = view.old if view.old is not None else self.logprob.detach()
        return view.with_fields(current=self.logprob, entropy=self.entropy, probes=self.probes, old=old)


@dataclass
class Update:
    """What one optimiser step did."""

    loss: float
    terms: dict[str, float]
    grad_norm: float
    numbers: TokenNumbers
    """Of the policy before the step."""
    stream_tokens: int = 0
    passes: int = 0


@dataclass
class Updater:
    """Runs batches through one model and changes its weights."""

    module: torch.nn.Module
    optimiser: Optimiser
    temperature: float = 1.0
    micro_batch_tokens: int = 0
    """0: 2048 on a CPU, where a pass should stay near the cache, 16384 on a GPU."""
    one_by_one: bool = False
    """The model cannot be packed: a sequence a call."""
    two_passes: bool = False
    image_inputs: ImageInputs | None = None
    ranks: Ranks = field(default_factory=Ranks)

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def budget(self) -> int:
        """Tokens of one forward pass."""
        return self.micro_batch_tokens or (16384 if self.device.type == "cuda" else 2048)

    def micro_batches(self, batch: Batch, whole_groups: bool = False) -> list[list[Stretch]]:
        """This rank's sequences, cut into forward passes.

        whole_groups: those of a group stay together; else they do where they fit, since they may share their prompt.
        """
        units = []
        for group in batch.groups():
            together = whole_groups or (not self.one_by_one and num_tokens(group) <= self.budget)
            units += [group] if together else [[stretch] for stretch in group]
        sizes = [num_tokens(unit) for unit in units]
        order = sorted(range(len(units)), key=lambda i: -sizes[i])
        own = [order[i] for i in self.ranks.share(len(order))]
        cuts = micro_batches([sizes[i] for i in own], self.budget)
        return [[stretch for i in sorted(cut) for stretch in units[own[i]]] for cut in cuts]

    def _numbers(
        self, batch: Batch, stretches: list[Stretch], with_entropy: bool, probes: Sequence[Probe] = ()
    ) -> tuple[Tensor, Tensor]:
        """Response tokens of some sequences: their places among N, and the rows of `token_numbers`, [2 + K, n].

        Those of which nothing but 0 can come are left out: the only id that was allowed has probability 1.
        """
        device = self.device
        stream = packed_stream(stretches, share=not self.one_by_one)
        index = torch.cat([torch.arange(s.first_token, s.first_token + len(s.places)) for s in stretches])
        predicted_at = stream.predicted_at
        allowed = None if batch.allowed is None else batch.allowed.select(index)
        if allowed is not None and not probes:
            chosen = allowed.open(batch.target[index]).nonzero()[:, 0]
            if len(chosen):  # the numbers of all others are 0, and so are their gradients
                index, predicted_at, allowed = index[chosen], predicted_at[chosen], allowed.select(chosen)
        positions = stream.positions.to(device)
        images: dict[str, Tensor] = {}
        if self.image_inputs is not None and any(s.images for s in stretches):
            images, positions = self.image_inputs(stretches)
        packed = Packed(stream.ids.to(device), stream.starts, positions, images, stream.before)
        if stream.before:  # several replies begin after the same token
            at, of_token = torch.unique(predicted_at.to(device), return_inverse=True)
            hidden = hidden_states(self.module, packed, self.one_by_one, at=at)[of_token]
        else:
            hidden = hidden_states(self.module, packed, self.one_by_one, at=predicted_at.to(device))
        head = causal_model(self.module).get_output_embeddings()
        names = dict.fromkeys(name for probe in probes for name in probe.reads)
        numbers = token_numbers(
            hidden,
            head.weight,
            head.bias,
            batch.target[index].to(device),
            temperature=self.temperature,
            allowed=None if allowed is None else allowed.to(device),
            with_entropy=with_entropy,
            probes=probes,
            given={name: getattr(batch.view, name)[index].to(hidden) for name in names},
        )
        return index, numbers

    @torch.no_grad()
    def evaluate(self, batch: Batch, with_entropy: bool = True, probes: Sequence[Probe] = ()) -> TokenNumbers:
        """Log-probs, entropies and probes' numbers of the whole batch, over all ranks, without a graph."""
        rows, head = self._nothing(batch, probes), causal_model(self.module).get_output_embeddings()
        tables = [table for probe in probes if probe.tables is not None for table in probe.tables(head.weight)]
        for stretches in self.micro_batches(batch):
            index, numbers = self._numbers(batch, stretches, with_entropy, probes)
            rows[:, index] = numbers.double().cpu()
        self.ranks.add(rows)
        self.ranks.add_all(tables)
        return TokenNumbers.of(list(rows), probes)

    def _nothing(self, batch: Batch, probes: Sequence[Probe]) -> Tensor:
        num_rows = 2 + sum(len(probe.names) for probe in probes)
        return torch.zeros(num_rows, batch.view.num_tokens, dtype=torch.float64)

    def gradient(self, batch: Batch, objective: Objective, known: TokenNumbers | None = None) -> Update:
        """Add the loss's gradient to the module's, whole over all ranks; nothing is stepped.

        batch: its view carries advantage and whatever else the objective needs but current numbers; where `old` is
        needed and absent, this is the first update after the rollout and the current log-probs are the old ones.
        known: the current numbers, if they were gathered already.
        """
        with_entropy, probes = "entropy" in objective.needs, objective.probes
        one_pass = known is None and not self.two_passes and self._one_pass_is_exact(batch, objective)
        register()
        own_attention = contextlib.nullcontext() if self.one_by_one else attention(self.module, PACKED)
        with own_attention, recomputing(self.module):
            if one_pass:
                update = self._one_pass(batch, objective, with_entropy)
            else:
                gathered = known or self.evaluate(batch, with_entropy, probes)
                update = self._two_passes(batch, objective, gathered, with_entropy)
        self.ranks.add_all(self.optimiser.gradients())
        update.stream_tokens = batch.num_stream_tokens
        update.passes = 1 if one_pass or known is not None else 2
        return update

    def _one_pass_is_exact(self, batch: Batch, objective: Objective) -> bool:
        """Whether what a value of a term mixes is always in one forward pass, which stays within its budget."""
        if objective.couples != "group":
            return objective.couples in ("token", "turn")
        return max(num_tokens(group) for group in batch.groups()) <= self.budget

    def _two_passes(self, batch: Batch, objective: Objective, known: TokenNumbers, with_entropy: bool) -> Update:
        probes = objective.probes
        rows = [row.clone().requires_grad_() for row in known.rows(probes)]
        loss, terms = objective.loss(TokenNumbers.of(rows, probes).in_view(batch.view))
        grads = torch.autograd.grad(loss, rows, allow_unused=True)
        by_number = torch.stack([torch.zeros_like(row) if g is None else g for row, g in zip(rows, grads, strict=True)])
        for stretches in self.micro_batches(batch):
            index, live = self._numbers(batch, stretches, with_entropy, probes)
            (by_number[:, index].to(live) * live).sum().backward()
        return Update(float(loss.detach()), terms, 0.0, known)

    def _one_pass(self, batch: Batch, objective: Objective, with_entropy: bool) -> Update:
        probes = objective.probes
        rows = self._nothing(batch, probes)
        for stretches in self.micro_batches(batch, objective.couples == "group"):
            index, live = self._numbers(batch, stretches, with_entropy, probes)
            live = live.double().cpu()
            rows[:, index] = live.detach()
            current = [row.index_copy(0, index, own) for row, own in zip(rows, live, strict=True)]
            loss, _ = objective.loss(TokenNumbers.of(current, probes).in_view(batch.view))
            loss.backward()
        self.ranks.add(rows)
        numbers = TokenNumbers.of(list(rows), probes)
        with torch.no_grad():
            whole, terms = objective.loss(numbers.in_view(batch.view))
        return Update(float(whole), terms, 0.0, numbers)

    def step(self, batch: Batch, objective: Objective, share: float, known: TokenNumbers | None = None) -> Update:
        """One optimiser step at a share of the peak learning rate."""
        self.optimiser.zero_grad()
        update = self.gradient(batch, objective, known)
        update.grad_norm = self.optimiser.step(share)
        self.optimiser.zero_grad()
        return update


def flat_gradient(module: torch.nn.Module) -> Tensor:
    """All gradients of a module as one vector, float64; for comparisons."""
    return torch.cat([p.grad.double().reshape(-1) for p in module.parameters() if p.grad is not None])
