"""The vocabulary head in closed form: log-probs and entropies of the response tokens, chunk by chunk (R8).

With logits z = (W h + b) / tau, p = softmax(z), H = entropy, and incoming gradients g of log p(y) and g_H of H:

    d/dz = g (onehot(y) - p) - g_H p (log p + H)

so that neither pass holds more than two [chunk, V] buffers, which every chunk reuses. The backward rebuilds the logits.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_BLOCKED = -1e30
"""Logit of what the mask forbids: its probability is exactly 0, and 0 times it is 0, not nan."""


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

    def select(self, index: Tensor) -> "Allowed":
        """The rows of some tokens.   index: [K] int64."""
        counts = (self.starts[1:] - self.starts[:-1])[index]
        starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        offset = torch.arange(int(starts[-1])) - torch.repeat_interleave(starts[:-1], counts)
        return Allowed(self.ids[torch.repeat_interleave(self.starts[index], counts) + offset], starts)

    def to(self, device: torch.device) -> "Allowed":
        return Allowed(self.ids.to(device), self.starts.to(device))


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
        temperature: float,
        allowed: Allowed | None,
        with_entropy: bool,
        chunk: int,
    ) -> tuple[Tensor, Tensor]:
        first, second = log_softmax_buffers(hidden, len(weight), chunk)
        num = len(hidden)
        logprob, entropy, lse = (first.new_zeros(num) for _ in range(3))
        for i in range(0, num, chunk):
            c = min(chunk, num - i)
            z = _logits(first[:c], hidden[i : i + c], weight, bias, temperature, allowed, i)
            peak = z.amax(-1, keepdim=True)
            e = torch.sub(z, peak, out=second[:c]).exp_()
            total = e.sum(-1)
            lse[i : i + c] = peak[:, 0] + total.log()
            logprob[i : i + c] = z.gather(1, target[i : i + c, None])[:, 0] - lse[i : i + c]
            if with_entropy:
                entropy[i : i + c] = lse[i : i + c] - e.mul_(z).sum(-1) / total
        ctx.save_for_backward(hidden, weight, bias, target, lse, entropy)
        ctx.temperature, ctx.allowed, ctx.with_entropy, ctx.chunk = temperature, allowed, with_entropy, chunk
        return logprob, entropy

    @staticmethod
    def backward(ctx: Any, grad_logprob: Tensor, grad_entropy: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, target, lse, entropy = ctx.saved_tensors
        first, second = log_softmax_buffers(hidden, len(weight), ctx.chunk)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        grad_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        for i in range(0, len(hidden), ctx.chunk):
            c = min(ctx.chunk, len(hidden) - i)
            h = hidden[i : i + c]
            z = _logits(first[:c], h, weight, bias, ctx.temperature, ctx.allowed, i).sub_(lse[i : i + c, None])
            g = grad_logprob[i : i + c, None]
            if ctx.with_entropy:
                p = torch.exp(z, out=second[:c])
                z.add_(entropy[i : i + c, None]).mul_(grad_entropy[i : i + c, None]).add_(g).mul_(p).neg_()
            else:
                z.exp_().mul_(-g)
            z[torch.arange(c, device=z.device), target[i : i + c]] += g[:, 0]
            if ctx.temperature != 1:
                z.div_(ctx.temperature)
            grad_logits = z.to(hidden.dtype)
            torch.mm(grad_logits, weight, out=grad_hidden[i : i + c])
            if grad_weight is not None:
                grad_weight.addmm_(grad_logits.T, h)
            if grad_bias is not None:
                grad_bias.add_(grad_logits.sum(0))
        return grad_hidden, grad_weight, grad_bias, None, None, None, None, None


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
    """Log-probability of each target and entropy of its distribution, in nats, differentiable.

    hidden: [N, d].   weight: [V, d].   bias: [V] or None.   target: [N] int64.
    temperature: logits are divided by it.   allowed: mask of constrained sampling, or None.
    with_entropy: False leaves the entropy 0 and saves its time.
    chunk: tokens at a time; 0: 256 on a CPU (stays near the cache), 2048 on a GPU.
    Returns ([N], [N]) in float32, or float64 for float64 weights.
    """
    chunk = chunk or (2048 if hidden.is_cuda else 256)
    logprob, entropy = _Head.apply(hidden.contiguous(), weight, bias, target, temperature, allowed, with_entropy, chunk)
    return logprob, entropy
