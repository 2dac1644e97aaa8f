"""The vocabulary head in closed form: log-probs and entropies of the response tokens, chunk by chunk (R8).

With logits z = (W h + b) / tau, p = softmax(z), H = entropy, and incoming gradients g of log p(y) and g_H of H:

    d/dz = g (onehot(y) - p) - g_H p (log p + H)

so that neither pass holds more than two [chunk, V] buffers, which every chunk reuses. The backward rebuilds the logits.
A probe reads further numbers of the same chunks; where it has a slope, that is added to d/dz in the same place.

A token that was sampled among few ids has a softmax over these alone: only their logits are computed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

_BLOCKED = -1e30
"""Logit of what the mask forbids: its probability is exactly 0, and 0 times it is 0, not nan."""
_FEW = 8
"""A token that was sampled among no more than this part of the vocabulary (an eighth) has few ids."""
_ENTRIES = 4096
"""Logits of single ids that are computed at a time."""


@dataclass(frozen=True)
class Allowed:
    """Which ids each token was sampled among, where sampling was constrained."""

    ids: Tensor
    """[M] int64, the rows one after the other."""
    starts: Tensor
    """[N + 1] int64; a row without ids is not constrained."""

    def rows(self, begin: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of tokens [begin, end): row number of each allowed id, the ids, and which rows are constrained."""
        counts = (self.starts[begin + 1 : end + 1] - self.starts[begin:end]).to(torch.int64)
        row = torch.repeat_interleave(torch.arange(end - begin, device=counts.device), counts)
        return row, self.ids[self.starts[begin] : self.starts[end]], counts > 0

    @property
    def counts(self) -> Tensor:
        """[N] int64: how many ids each token was sampled among; 0 where it was not constrained."""
        return self.starts[1:] - self.starts[:-1]

    def open(self, target: Tensor) -> Tensor:
        """[N] bool: where another id could have been sampled; elsewhere log-prob and entropy are 0 whatever the model.

        target: [N] int64, the ids that were sampled.
        """
        only = self.ids[self.starts[:-1].clamp(max=len(self.ids) - 1)] == target
        return ~((self.counts == 1) & only)

    def select(self, index: Tensor) -> "Allowed":
        """The rows of some tokens.   index: [K] int64."""
        counts = self.counts[index]
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        offset = torch.arange(int(starts[-1]), device=counts.device) - torch.repeat_interleave(starts[:-1], counts)
        return Allowed(self.ids[torch.repeat_interleave(self.starts[index], counts) + offset], starts)

    def to(self, device: torch.device) -> "Allowed":
        return Allowed(self.ids.to(device), self.starts.to(device))


@dataclass(frozen=True)
class Chunk:
    """Some response tokens as a probe sees them: c tokens, V ids, width d. Not to be written into."""

    logp: Tensor
    """[c, V] log-softmax of the logits, at the sampling temperature; what a mask forbids is about -1e30."""
    hidden: Tensor
    """[c, d] last hidden states, those that made these logits."""
    target: Tensor
    """[c] int64: the sampled ids."""
    given: Mapping[str, Tensor] = field(default_factory=dict)
    """name -> [c]: what the probe `reads` of the view."""


@dataclass(frozen=True)
class Probe:
    """Numbers that an algorithm reads from the logits, chunk by chunk: never a [T, V] tensor."""

    names: tuple[str, ...]
    """Of the numbers that `measure` gives, under which the view holds them."""
    measure: Callable[..., tuple[Tensor, ...]]
    """(chunk, *settings) -> a [c] for each name."""
    slope: Callable[..., Tensor] | None = None
    """(chunk, gradients, *settings) -> [c, V]: d/d logits of the numbers, each times its gradient [c]; logits are those
    of `chunk.logp`, before the softmax. None: the numbers are constants to the loss."""
    settings: tuple[Any, ...] = ()
    reads: tuple[str, ...] = ()
    """Fields [N] of the view that `measure` wants in `chunk.given`, as `advantage`."""
    tables: Callable[[Tensor], Sequence[Tensor]] | None = None
    """(the head's weight [V, d]) -> what measuring adds up beside the numbers, over all tokens of this rank: asked for
    once before a batch, and summed over the ranks in place after it."""


def log_softmax_buffers(hidden: Tensor, vocabulary: int, chunk: int) -> tuple[Tensor, Tensor]:
    """The two buffers that a pass works in: [chunk, V], float32 (float64 for float64 weights)."""
    dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    size = (min(chunk, max(len(hidden), 1)), vocabulary)
    return hidden.new_empty(size, dtype=dtype), hidden.new_empty(size, dtype=dtype)


def _logits(
    out: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    temperature: float,
    allowed: Allowed | None,
    i: int,
) -> Tensor:
    """Logits of tokens [i, i + len(hidden)) at the sampling temperature and mask, written into `out`."""
    if hidden.dtype == out.dtype:
        torch.mm(hidden, weight.T, out=out)
    else:
        out.copy_(hidden @ weight.T)
    if bias is not None:
        out.add_(bias)
    if temperature != 1:
        out.div_(temperature)
    if allowed is not None:
        row, ids, constrained = allowed.rows(i, i + len(hidden))
        blocked = constrained[:, None].expand(-1, out.shape[1]).clone()
        blocked[row, ids] = False
        out.masked_fill_(blocked, _BLOCKED)
    return out


class _Head(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        reading: "_Reading",
    ) -> Tensor:
        chunk, num = reading.chunk, len(hidden)
        first, second = log_softmax_buffers(hidden, len(weight), chunk)
        numbers = first.new_zeros(2 + sum(len(probe.names) for probe in reading.probes), num)
        lse = first.new_zeros(num)
        for i in range(0, num, chunk):
            c = min(chunk, num - i)
            z = _logits(first[:c], hidden[i : i + c], weight, bias, reading.temperature, reading.allowed, i)
            peak = z.amax(-1, keepdim=True)
            e = torch.sub(z, peak, out=second[:c]).exp_()
            total = e.sum(-1)
            lse[i : i + c] = peak[:, 0] + total.log()
            numbers[0, i : i + c] = z.gather(1, target[i : i + c, None])[:, 0] - lse[i : i + c]
            if reading.with_entropy:
                numbers[1, i : i + c] = lse[i : i + c] - e.mul_(z).sum(-1) / total
            if reading.probes:
                seen = reading.seen(z.sub_(lse[i : i + c, None]), hidden, target, i)
                rows = [row for probe in reading.probes for row in probe.measure(seen, *probe.settings)]
                numbers[2:, i : i + c] = torch.stack(rows)
        ctx.save_for_backward(hidden, weight, bias, target, lse, numbers[1].clone())
        ctx.reading = reading
        return numbers

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, target, lse, entropy = ctx.saved_tensors
        reading: _Reading = ctx.reading
        first, second = log_softmax_buffers(hidden, len(weight), reading.chunk)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        grad_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        for i in range(0, len(hidden), reading.chunk):
            c = min(reading.chunk, len(hidden) - i)
            h = hidden[i : i + c]
            z = _logits(first[:c], h, weight, bias, reading.temperature, reading.allowed, i).sub_(lse[i : i + c, None])
            slopes = reading.slopes(z, hidden, target, i, grad[2:, i : i + c])
            g = grad[0, i : i + c, None]
            if reading.with_entropy:
                p = torch.exp(z, out=second[:c])
                z.add_(entropy[i : i + c, None]).mul_(grad[1, i : i + c, None]).add_(g).mul_(p).neg_()
            else:
                z.exp_().mul_(-g)
            z[torch.arange(c, device=z.device), target[i : i + c]] += g[:, 0]
            for slope in slopes:
                z.add_(slope)
            if reading.temperature != 1:
                z.div_(reading.temperature)
            grad_logits = z.to(hidden.dtype)
            torch.mm(grad_logits, weight, out=grad_hidden[i : i + c])
            if grad_weight is not None:
                grad_weight.addmm_(grad_logits.T, h)
            if grad_bias is not None:
                grad_bias.add_(grad_logits.sum(0))
        return grad_hidden, grad_weight, grad_bias, None, None


@dataclass(frozen=True)
class _Reading:
    """What is read of the logits, and how they are made."""

    temperature: float
    allowed: Allowed | None
    with_entropy: bool
    chunk: int
    probes: tuple[Probe, ...]
    given: Mapping[str, Tensor]

    def seen(self, logp: Tensor, hidden: Tensor, target: Tensor, i: int) -> Chunk:
        here = slice(i, i + len(logp))
        return Chunk(logp, hidden[here], target[here], {name: value[here] for name, value in self.given.items()})

    def slopes(self, logp: Tensor, hidden: Tensor, target: Tensor, i: int, grad: Tensor) -> list[Tensor]:
        """What the probes add to the gradient of the logits.   grad: [K, c], by their numbers."""
        found, row = [], 0
        for probe in self.probes:
            own = grad[row : row + len(probe.names)]
            row += len(probe.names)
            if probe.slope is not None:
                found.append(probe.slope(self.seen(logp, hidden, target, i), tuple(own), *probe.settings))
        return found


class _SingleLogits(torch.autograd.Function):
    """Logits of some ids: z_m = W[ids_m] . h[rows_m].   hidden: [n, d].   rows, ids: [M].   Returns [M]."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, rows: Tensor, ids: Tensor, dtype: torch.dtype) -> Tensor:
        out = hidden.new_empty(len(ids), dtype=dtype)
        for i in range(0, len(ids), _ENTRIES):
            here = slice(i, i + _ENTRIES)
            out[here] = torch.linalg.vecdot(hidden[rows[here]].to(dtype), weight[ids[here]].to(dtype))
        ctx.save_for_backward(hidden, weight, rows, ids)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, rows, ids = ctx.saved_tensors
        grad_hidden = torch.zeros_like(hidden, dtype=grad.dtype)
        grad_weight = torch.zeros_like(weight, dtype=grad.dtype) if ctx.needs_input_grad[1] else None
        for i in range(0, len(ids), _ENTRIES):
            here = slice(i, i + _ENTRIES)
            g = grad[here, None]
            grad_hidden.index_add_(0, rows[here], weight[ids[here]].to(grad.dtype).mul_(g))
            if grad_weight is not None:
                grad_weight.index_add_(0, ids[here], hidden[rows[here]].to(grad.dtype).mul_(g))
        into_weight = None if grad_weight is None else grad_weight.to(weight.dtype)
        return grad_hidden.to(hidden.dtype), into_weight, None, None, None


def _among_few(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    temperature: float,
    allowed: Allowed,
    like: Tensor,
) -> Tensor:
    """Log-probability and entropy, [2, n], of tokens sampled among few ids, their own being one of these."""
    counts = allowed.counts
    rows = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    place = torch.arange(len(rows), device=counts.device) - torch.repeat_interleave(allowed.starts[:-1], counts)
    z = _SingleLogits.apply(hidden, weight, rows, allowed.ids, like.dtype)
    if bias is not None:
        z = z + bias[allowed.ids]
    blocked = z.new_full((len(counts), int(counts.max())), _BLOCKED)
    logp = torch.log_softmax(blocked.index_put((rows, place), z / temperature), 1)
    sampled = logp.new_zeros(len(counts), dtype=torch.int64)
    own = allowed.ids == target[rows]
    sampled[rows[own]] = place[own]
    return torch.stack([logp.gather(1, sampled[:, None])[:, 0], -(logp.exp() * logp).sum(1)])


def _has_few(allowed: Allowed, target: Tensor, vocabulary: int) -> Tensor:
    """[N] bool: which tokens `_among_few` is for."""
    counts = allowed.counts
    rows = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    own = torch.zeros_like(counts, dtype=torch.bool)
    own[rows[allowed.ids == target[rows]]] = True
    return own & (counts <= max(1, vocabulary // _FEW))


def token_numbers(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    *,
    temperature: float = 1.0,
    allowed: Allowed | None = None,
    with_entropy: bool = True,
    probes: Sequence[Probe] = (),
    given: Mapping[str, Tensor] | None = None,
    chunk: int = 0,
) -> Tensor:
    """Log-probability of each target, entropy of its distribution in nats, and what the probes read; differentiable.

    hidden: [N, d].   weight: [V, d].   bias: [V] or None.   target: [N] int64.
    temperature: logits are divided by it.   allowed: mask of constrained sampling, or None.
    with_entropy: False leaves the entropy 0 and saves its time.   given: name -> [N], what the probes read beside.
    chunk: tokens at a time; 0: 256 on a CPU (stays near the cache), 2048 on a GPU.
    Returns [2 + K, N], K numbers of the probes in their order, in float32, or float64 for float64 weights.
    """
    if allowed is not None and not probes:
        few = _has_few(allowed, target, len(weight))
        if bool(few.any()):
            rest, own = (~few).nonzero()[:, 0], few.nonzero()[:, 0]
            whole = token_numbers(
                hidden[rest],
                weight,
                bias,
                target[rest],
                temperature=temperature,
                allowed=allowed.select(rest) if len(rest) else None,
                with_entropy=with_entropy,
                chunk=chunk,
            )
            among = _among_few(hidden[own], weight, bias, target[own], temperature, allowed.select(own), whole)
            among = among if with_entropy else torch.stack([among[0], torch.zeros_like(among[0])])
            return whole.new_zeros(2, len(few)).index_copy(1, rest, whole).index_copy(1, own, among)
    chunk = chunk or (2048 if hidden.is_cuda else 256)
    reading = _Reading(temperature, allowed, with_entropy, chunk, tuple(probes), given or {})
    numbers: Tensor = _Head.apply(hidden.contiguous(), weight, bias, target, reading)
    return numbers


def logprob_and_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    *,
    temperature: float = 1.0,
    allowed: Allowed | None = None,
    with_entropy: bool = True,
    chunk: int = 0,
) -> tuple[Tensor, Tensor]:
    """The first two of `token_numbers`, which explains the arguments.   Returns ([N], [N])."""
    numbers = token_numbers(
        hidden, weight, bias, target, temperature=temperature, allowed=allowed, with_entropy=with_entropy, chunk=chunk
    )
    return numbers[0], numbers[1]
