"""Decoder layers of the usual kind, written out: a forward and a backward without a graph, for a CPU.

Such a layer is attention between root-mean-square norms, with rotary positions, and a gated MLP (Llama, Qwen2, Qwen3
and what has their form):

    n = x / rms(x)          q, k, v = n (w Wqkv)'         x' = x + attention(rotate(q), rotate(k), v) Wo'
    m = x' / rms(x')        g, u    = m (w Wgu)'          y  = x' + (silu(g) u) Wd'

What autograd does with the same layers is twice the work on a CPU: it keeps and reads again what every small operation
gave, and it runs the last layer for tokens that nothing is read from. Here the norms' weights are multiplied into the
matrices behind them, related matrices are run as one, and of the last layer only the asked for tokens are computed.

Whether a model is of this kind is found out by looking at its modules, and held by comparing it with its own forward
pass, values and gradients (`forward.closed_form`).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_attend_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True)
class Shape:
    """What the layers of a model share."""

    heads: int
    kv_heads: int
    width: int
    """Of a head."""
    eps: float
    head_eps: float | None
    """Of the norms of queries and keys, where there are such."""
    scale: float

    @property
    def turned(self) -> int:
        """Heads that the positions turn."""
        return self.heads + self.kv_heads


@dataclass(frozen=True)
class Layer:
    """A layer's weights as they are used; those of the norms are in the matrices."""

    into: Tensor
    """[(heads + 2 kv heads) e, d]."""
    into_bias: Tensor | None
    out: Tensor
    """[d, heads e]."""
    out_bias: Tensor | None
    head_norms: Tensor | None
    """[heads + kv heads, e]."""
    gate_up: Tensor
    """[2 I, d]."""
    down: Tensor
    """[d, I]."""


def read_shape(base: Any) -> Shape | None:
    """The shape of a model's layers (`base`: what holds embed_tokens, layers, norm, rotary_emb); None: another kind."""
    try:
        found = {_shape_of(layer) for layer in base.layers}
        plain = len(found) == 1 and isinstance(base.embed_tokens, nn.Embedding) and callable(base.rotary_emb)
        return found.pop() if plain else None
    except (AttributeError, TypeError, ValueError):
        return None


def _shape_of(layer: Any) -> Shape | None:
    attention, mlp = layer.self_attn, layer.mlp
    parts = {name for name, _ in layer.named_children()}
    if parts != {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}:
        return None
    normed = hasattr(attention, "q_norm")
    wanted = {"q_proj", "k_proj", "v_proj", "o_proj", *(("q_norm", "k_norm") if normed else ())}
    if {name for name, _ in attention.named_children()} != wanted:
        return None
    if {name for name, _ in mlp.named_children()} != {"gate_proj", "up_proj", "down_proj", "act_fn"}:
        return None
    matrices = [*(getattr(attention, f"{x}_proj") for x in "qkvo"), mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    if any(type(matrix) is not nn.Linear for matrix in matrices) or any(m.bias is not None for m in matrices[4:]):
        return None
    if len({matrix.bias is None for matrix in matrices[:3]}) != 1 or getattr(attention, "sliding_window", None):
        return None
    norms = [layer.input_layernorm, layer.post_attention_layernorm]
    width = attention.head_dim
    head_eps = attention.q_norm.variance_epsilon if normed else None
    if normed and (attention.q_norm.weight.shape != (width,) or attention.k_norm.variance_epsilon != head_eps):
        return None
    if len({norm.variance_epsilon for norm in norms}) != 1 or not isinstance(mlp.act_fn, nn.Module):
        return None
    rows = [matrix.out_features // width for matrix in matrices[:3]]
    return Shape(rows[0], rows[1], width, norms[0].variance_epsilon, head_eps, attention.scaling)


def _parameters(layer: Any) -> list[Tensor | None]:
    """A layer's parameters in the order of `_together`."""
    attention, mlp = layer.self_attn, layer.mlp
    projections = [getattr(attention, f"{x}_proj") for x in "qkvo"]
    norms = [getattr(getattr(attention, name, None), "weight", None) for name in ("q_norm", "k_norm")]
    return [
        layer.input_layernorm.weight,
        *(p.weight for p in projections),
        *(p.bias for p in projections),
        *norms,
        layer.post_attention_layernorm.weight,
        mlp.gate_proj.weight,
        mlp.up_proj.weight,
        mlp.down_proj.weight,
    ]


def _together(shape: Shape, parameters: Sequence[Any]) -> Layer:
    norm, q, k, v, out, q_bias, k_bias, v_bias, out_bias, q_norm, k_norm, second, gate, up, down = parameters
    head_norms = None
    if q_norm is not None:
        head_norms = torch.cat([q_norm.expand(shape.heads, -1), k_norm.expand(shape.kv_heads, -1)])
    return Layer(
        torch.cat([q, k, v]).mul_(norm),
        None if q_bias is None else torch.cat([q_bias, k_bias, v_bias]),
        out,
        out_bias,
        head_norms,
        torch.cat([gate, up]).mul_(second),
        down,
    )


def layer_weights(shape: Shape, layer: Any) -> Layer:
    """A layer's weights as they are used, copied: good until they change."""
    with torch.no_grad():
        return _together(shape, _parameters(layer))


def normed(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x: [..., d].   Returns x / rms(x), and 1 / rms(x) [..., 1]."""
    rate = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return x * rate, rate


def _normed_backward(grad: Tensor, n: Tensor, rate: Tensor) -> Tensor:
    """The gradient of x from that of n = x / rms(x); `grad` is overwritten."""
    along = (grad * n).mean(-1, keepdim=True)
    return grad.addcmul_(n, along, value=-1).mul_(rate)


@dataclass(frozen=True)
class Turn:
    """The rotary angles of some tokens: each half of cosines and sines, [T, 1, e / 2]."""

    cos: tuple[Tensor, Tensor]
    sin: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, base: Any, like: Tensor, positions: Tensor) -> "Turn":
        """positions: [T], or [3, T].   Raises ValueError where not the whole of a head turns."""
        cos, sin = base.rotary_emb(like, positions[None] if positions.ndim == 1 else positions[:, None])
        cos, sin = cos[0][:, None].chunk(2, -1), sin[0][:, None].chunk(2, -1)
        return cls((cos[0], cos[1]), (sin[0], sin[1]))

    def only(self, rows: Tensor) -> "Turn":
        """The angles of some tokens."""
        return Turn((self.cos[0][rows], self.cos[1][rows]), (self.sin[0][rows], self.sin[1][rows]))

    def apply(self, x: Tensor, weight: Tensor | None) -> Tensor:
        """x: [T, h, e].   weight: [h, e] that x is multiplied with before.   Returns [T, h, e]."""
        if weight is not None:
            x = x * weight
        out = torch.empty_like(x)
        a, b = x.chunk(2, -1)
        first, second = out.chunk(2, -1)
        torch.mul(a, self.cos[0], out=first).addcmul_(b, self.sin[0], value=-1)
        torch.mul(b, self.cos[1], out=second).addcmul_(a, self.sin[1])
        return out

    def back(self, grad: Tensor) -> Tensor:
        """The gradient of what was turned, from that of the result."""
        out = torch.empty_like(grad)
        first, second = grad.chunk(2, -1)
        a, b = out.chunk(2, -1)
        torch.mul(first, self.cos[0], out=a).addcmul_(second, self.sin[1])
        torch.mul(second, self.cos[1], out=b).addcmul_(first, self.sin[0], value=-1)
        return out


@dataclass(frozen=True)
class Sequences:
    """Where the sequences of a stream stand, and what attention sees as each of them.

    A sequence that begins with tokens of an earlier one has them there alone: they are run once. Attention takes them
    from there, so that it sees the whole of each sequence.
    """

    starts: tuple[int, ...]
    """S + 1 offsets into the stream: of each sequence's own tokens."""
    whole: tuple[int, ...]
    """S + 1 offsets into the E tokens that attention sees."""
    index: Tensor | None = None
    """[E] int64: where in the stream they stand; None: the E tokens are the stream."""
    own: Tensor | None = None
    """[T] int64: which of the E tokens each token of the stream is, in its own sequence."""

    @classmethod
    def of(cls, starts: Sequence[int], before: Sequence[tuple[int, int]] = ()) -> "Sequences":
        """starts: S + 1 offsets.   before: of each sequence the places in the stream of what it begins with."""
        if not any(a < b for a, b in before):
            return cls(tuple(starts), tuple(starts))
        whole, index, own = [0], list[int](), list[int]()
        for (a, b), (begin, end) in zip(before, itertools.pairwise(starts), strict=True):
            index += [*range(a, b), *range(begin, end)]
            whole.append(len(index))
            own += range(whole[-1] - (end - begin), whole[-1])
        return cls(tuple(starts), tuple(whole), torch.tensor(index), torch.tensor(own))

    def spread(self, x: Tensor) -> Tensor:
        """[T, ...] -> [E, ...]: every sequence has all that it begins with."""
        return x if self.index is None else x[self.index]

    def placed(self, x: Tensor) -> Tensor:
        """[T, ...] -> [E, ...]: zeros where a token stands in another sequence."""
        return x if self.own is None else x.new_zeros(self.whole[-1], *x.shape[1:]).index_copy_(0, self.own, x)

    def gathered(self, x: Tensor) -> Tensor:
        """[E, ...] -> [T, ...]: what belongs to the tokens' own sequences."""
        return x if self.own is None else x[self.own]

    def summed(self, x: Tensor) -> Tensor:
        """[E, ...] -> [T, ...]: added up over all sequences in which a token stands."""
        return x if self.index is None else x.new_zeros(self.starts[-1], *x.shape[1:]).index_add_(0, self.index, x)


@dataclass(frozen=True)
class Asked:
    """Tokens that the last layer is computed for."""

    rows: Tensor
    """[A] their places in the stream, ascending."""
    starts: tuple[int, ...]
    """S + 1 offsets into `rows`: those of each sequence."""
    masks: tuple[Tensor, ...]
    """[A of the sequence, the length of the whole sequence] to add to the scores."""

    @classmethod
    def of(cls, rows: Tensor, sequences: Sequences, dtype: torch.dtype) -> "Asked":
        """rows: [A] ascending."""
        cuts = torch.searchsorted(rows, torch.tensor(sequences.starts)).tolist()
        places = rows if sequences.own is None else sequences.own[rows]
        masks = []
        for (begin, end), (a, b) in zip(itertools.pairwise(sequences.whole), itertools.pairwise(cuts), strict=True):
            hidden = torch.arange(end - begin) > places[a:b, None] - begin
            masks.append(torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, -torch.inf))
        return cls(rows, tuple(cuts), tuple(masks))


class LayerFunction(torch.autograd.Function):
    """One layer over a packed stream. x: [T, d].   Returns [T, d], or [A, d] of the tokens asked for."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, turn: Turn, sequences: Sequences, asked: Asked | None, shape: Shape, *parameters: Any
    ) -> Tensor:
        layer = _together(shape, parameters)
        n, rate = normed(x, shape.eps)
        qk, value, qk_rate, queried = _projected(shape, layer, n, asked)
        turned = _turned(shape, layer, qk, turn, asked)
        context, lse = _attention(shape, turned, value, sequences, asked)
        x = x if asked is None else x[asked.rows]
        middle = torch.addmm(x, context, layer.out.T)
        if layer.out_bias is not None:
            middle.add_(layer.out_bias)
        m, m_rate = normed(middle, shape.eps)
        gate_up = m @ layer.gate_up.T
        gate, up = gate_up.chunk(2, -1)
        ctx.layer, ctx.turn, ctx.asked, ctx.shape, ctx.queried = layer, turn, asked, shape, queried
        ctx.sequences = sequences
        ctx.kept = (n, rate, qk, qk_rate, turned, value, context, lse, m, m_rate, gate_up)
        ctx.save_for_backward(*parameters)
        return torch.addmm(middle, nn.functional.silu(gate).mul_(up), layer.down.T)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        shape, layer, asked = ctx.shape, ctx.layer, ctx.asked
        n, rate, qk, qk_rate, turned, value, context, lse, m, m_rate, gate_up = ctx.kept
        del ctx.kept
        grad_middle, grad_gate_up, grad_down = _mlp_backward(layer, grad, m, m_rate, gate_up)
        grad_context = grad_middle @ layer.out
        grad_out = grad_middle.T @ context
        grad_bias = grad_middle.sum(0) if layer.out_bias is not None else None
        grad_turned, grad_value = _attention_backward(
            shape, grad_context, turned, value, context, lse, ctx.sequences, asked
        )
        grad_qk, grad_heads = _turned_backward(shape, layer, grad_turned, qk, qk_rate, ctx.turn, asked)
        grad_n, grad_into, grad_into_bias = _projected_backward(shape, layer, grad_qk, grad_value, n, asked)
        grad_x = _normed_backward(grad_n, n, rate)
        if asked is None:
            grad_x.add_(grad_middle)
        else:
            grad_x.index_add_(0, asked.rows, grad_middle)
        grads = _apart(shape, ctx.saved_tensors, grad_into, grad_into_bias, grad_out, grad_bias, grad_heads)
        return grad_x, None, None, None, None, *grads, *_mlp_apart(ctx.saved_tensors, grad_gate_up), grad_down


def _split(shape: Shape) -> tuple[int, int]:
    """Rows of `into`: those of the queries, and of queries and keys."""
    return shape.heads * shape.width, shape.turned * shape.width


def _projected(
    shape: Shape, layer: Layer, n: Tensor, asked: Asked | None
) -> tuple[tuple[Tensor, ...], Tensor, tuple[Tensor, ...] | None, Tensor]:
    """Queries and keys before they are turned ([T, heads + kv heads, e], or apart), values, and the heads' 1 / rms."""
    queries, both = _split(shape)
    bias = layer.into_bias
    if asked is None:
        queried = n
        into = n @ layer.into.T if bias is None else torch.addmm(bias, n, layer.into.T)
        qk: tuple[Tensor, ...] = (into[:, :both].unflatten(1, (-1, shape.width)),)
        value = into[:, both:]
    else:
        queried = n[asked.rows]
        q = queried @ layer.into[:queries].T
        into = n @ layer.into[queries:].T
        if bias is not None:
            q, into = q.add_(bias[:queries]), into.add_(bias[queries:])
        qk = (
            q.unflatten(1, (-1, shape.width)),
            into[:, : both - queries].unflatten(1, (-1, shape.width)),
        )
        value = into[:, both - queries :]
    if shape.head_eps is None:
        return qk, value, None, queried
    pairs = [normed(part, shape.head_eps) for part in qk]
    return tuple(p[0] for p in pairs), value, tuple(p[1] for p in pairs), queried


def projected(shape: Shape, layer: Layer, n: Tensor, turn: Turn, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries of all tokens, or of the `rows` alone, keys and values, turned: each [.., its heads, e]. No gradient.

    n: [T, d], normed.   turn: of all T tokens.   rows: [A] places in the stream.
    """
    asked = None if rows is None else Asked(rows, (), ())
    qk, value, _, _ = _projected(shape, layer, n, asked)
    query, key = _turned(shape, layer, qk, turn, asked)
    return query, key, value.unflatten(1, (-1, shape.width))


def mlp(shape: Shape, layer: Layer, x: Tensor, context: Tensor) -> Tensor:
    """What comes after the attention. No gradient.   x: [T, d].   context: [T, heads e].   Returns [T, d]."""
    middle = torch.addmm(x, context, layer.out.T)
    if layer.out_bias is not None:
        middle.add_(layer.out_bias)
    gate, up = (normed(middle, shape.eps)[0] @ layer.gate_up.T).chunk(2, -1)
    return torch.addmm(middle, nn.functional.silu(gate).mul_(up), layer.down.T)


def _head_norms(shape: Shape, layer: Layer, asked: Asked | None) -> list[Tensor | None]:
    norms = layer.head_norms
    if asked is None:
        return [norms]
    return [None, None] if norms is None else [norms[: shape.heads], norms[shape.heads :]]


def _turned(shape: Shape, layer: Layer, qk: tuple[Tensor, ...], turn: Turn, asked: Asked | None) -> tuple[Tensor, ...]:
    """Queries [A or T, heads, e] and keys [T, kv heads, e], turned by their positions."""
    norms = _head_norms(shape, layer, asked)
    if asked is None:
        both = turn.apply(qk[0], norms[0])
        return both[:, : shape.heads], both[:, shape.heads :]
    return turn.only(asked.rows).apply(qk[0], norms[0]), turn.apply(qk[1], norms[1])


def _turned_backward(
    shape: Shape,
    layer: Layer,
    grads: tuple[Tensor, Tensor],
    qk: tuple[Tensor, ...],
    rates: tuple[Tensor, ...] | None,
    turn: Turn,
    asked: Asked | None,
) -> tuple[list[Tensor], Tensor | None]:
    """Gradients of queries and keys as they were projected, and of the heads' norms [heads + kv heads, e]."""
    if asked is None:
        back = [turn.back(torch.cat(grads, 1))]
    else:
        back = [turn.only(asked.rows).back(grads[0]), turn.back(grads[1])]
    if rates is None:
        return back, None
    norms = _head_norms(shape, layer, asked)
    by_norm = torch.cat([torch.linalg.vecdot(grad, n, dim=0) for grad, n in zip(back, qk, strict=True)])
    out = []
    for grad, n, rate, norm in zip(back, qk, rates, norms, strict=True):
        assert norm is not None
        out.append(_normed_backward(grad.mul_(norm), n, rate))
    return out, by_norm


def _attention(
    shape: Shape, turned: tuple[Tensor, ...], value: Tensor, sequences: Sequences, asked: Asked | None
) -> tuple[Tensor, list[Tensor]]:
    """Each sequence's tokens attend to those before them.   Returns [A or T, heads e], and what the backward needs."""
    query, key, value = _seen(shape, turned, value, sequences, asked)
    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    sums = []
    for q, k, v, rows, mask in _pieces(query, key, value, sequences, asked):
        found, lse = _attend(q, k, v, 0.0, mask is None, attn_mask=mask, scale=shape.scale)
        out[rows] = found[0].transpose(0, 1)
        sums.append(lse)
    return (out if asked is not None else sequences.gathered(out)).flatten(1), sums


def _seen(
    shape: Shape, turned: tuple[Tensor, ...], value: Tensor, sequences: Sequences, asked: Asked | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [A or E, heads, e], keys and values [E, kv heads, e] as attention sees them."""
    query, key = turned
    query = query if asked is not None else sequences.spread(query)
    return query, sequences.spread(key), sequences.spread(value.unflatten(1, (-1, shape.width)))


def _pieces(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, asked: Asked | None) -> Any:
    """Of each sequence queries, keys and values [1, heads, length, e], its rows of the queries, its mask."""
    for number, ((begin, end), (first, last)) in enumerate(_ranges(sequences, asked)):
        if first == last:
            continue
        q = query[first:last].transpose(0, 1)[None]
        k, v = (x[begin:end].transpose(0, 1)[None] for x in (key, value))
        yield q, k, v, slice(first, last), None if asked is None else asked.masks[number]


def _attention_backward(
    shape: Shape,
    grad: Tensor,
    turned: tuple[Tensor, ...],
    value: Tensor,
    context: Tensor,
    sums: list[Tensor],
    sequences: Sequences,
    asked: Asked | None,
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Gradients of queries, keys, and values [T, kv heads e]."""
    query, key, seen = _seen(shape, turned, value, sequences, asked)
    grads = [torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(key)]
    if asked is None:
        grad, context = sequences.placed(grad), sequences.placed(context)
    grad, context = (x.unflatten(1, (-1, shape.width)).transpose(0, 1)[None] for x in (grad, context))
    pieces = _pieces(query, key, seen, sequences, asked)
    stream = [pair for pair, cut in _ranges(sequences, asked) if cut[0] != cut[1]]
    for (q, k, v, rows, mask), lse, (begin, end) in zip(pieces, sums, stream, strict=True):
        repeat = shape.heads // shape.kv_heads
        k, v = (x.repeat_interleave(repeat, 1) if repeat > 1 and shape.kv_heads > 1 else x for x in (k, v))
        k, v = (x.expand(-1, shape.heads, -1, -1) for x in (k, v))
        by_q, by_k, by_v = _attend_backward(
            grad[:, :, rows], q, k, v, context[:, :, rows], lse, 0.0, mask is None, attn_mask=mask, scale=shape.scale
        )
        grads[0][rows] = by_q[0].transpose(0, 1)
        for into, found in ((grads[1], by_k), (grads[2], by_v)):
            summed = found[0].unflatten(0, (shape.kv_heads, -1)).sum(1)
            into[begin:end] = summed.transpose(0, 1)
    by_query = grads[0] if asked is not None else sequences.summed(grads[0])
    return (by_query, sequences.summed(grads[1])), sequences.summed(grads[2]).flatten(1)


def _ranges(sequences: Sequences, asked: Asked | None) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Of each sequence its range among keys and values, and its range among the queries."""
    cuts = sequences.whole if asked is None else asked.starts
    return list(zip(itertools.pairwise(sequences.whole), itertools.pairwise(cuts), strict=True))


def _projected_backward(
    shape: Shape, layer: Layer, grad_qk: list[Tensor], grad_value: Tensor, n: Tensor, asked: Asked | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of n [T, d], of `into`, and of its bias."""
    flat = [grad.flatten(1) for grad in grad_qk]
    if asked is None:
        grad = torch.cat([flat[0], grad_value], 1)
        return grad @ layer.into, grad.T @ n, None if layer.into_bias is None else grad.sum(0)
    queries, _ = _split(shape)
    grad = torch.cat([flat[1], grad_value], 1)
    grad_n = grad @ layer.into[queries:]
    grad_n.index_add_(0, asked.rows, flat[0] @ layer.into[:queries])
    grad_into = torch.cat([flat[0].T @ n[asked.rows], grad.T @ n])
    return grad_n, grad_into, None if layer.into_bias is None else torch.cat([flat[0].sum(0), grad.sum(0)])


def _mlp_backward(
    layer: Layer, grad: Tensor, m: Tensor, rate: Tensor, gate_up: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of what the MLP was added to, of `gate_up`, and of `down`."""
    gate, up = gate_up.chunk(2, -1)
    active = nn.functional.silu(gate)
    grad_product = grad @ layer.down
    grad_down = grad.T @ (active * up)
    grad_both = torch.empty_like(gate_up)
    grad_gate, grad_up = grad_both.chunk(2, -1)
    torch.mul(grad_product, active, out=grad_up)
    grad_gate.copy_(torch.ops.aten.silu_backward(grad_product.mul_(up), gate))
    grad_m = grad_both @ layer.gate_up
    return _normed_backward(grad_m, m, rate).add_(grad), grad_both.T @ m, grad_down


def _apart(
    shape: Shape,
    parameters: Sequence[Any],
    grad_into: Tensor,
    grad_into_bias: Tensor | None,
    grad_out: Tensor,
    grad_out_bias: Tensor | None,
    grad_heads: Tensor | None,
) -> list[Tensor | None]:
    """Gradients of the attention's parameters, in the order of `_parameters`."""
    norm, q, k, v = parameters[:4]
    sizes = [len(q), len(k), len(v)]
    grad_norm = sum(
        torch.linalg.vecdot(grad, weight, dim=0) for grad, weight in zip(grad_into.split(sizes), (q, k, v), strict=True)
    )
    biases: Sequence[Tensor | None] = (None,) * 3 if grad_into_bias is None else grad_into_bias.split(sizes)
    heads: Sequence[Tensor | None] = (None, None)
    if grad_heads is not None:
        heads = tuple(part.sum(0) for part in grad_heads.split([shape.heads, shape.kv_heads]))
    return [grad_norm, *grad_into.mul_(norm).split(sizes), grad_out, *biases, grad_out_bias, *heads]


def _mlp_apart(parameters: Sequence[Any], grad: Tensor) -> list[Tensor]:
    """Gradients of the second norm, of gate and of up, from that of the matrix that joins them."""
    norm, gate, up = parameters[11:14]
    by_gate, by_up = grad.chunk(2)
    grad_norm = torch.linalg.vecdot(by_gate, gate, dim=0) + torch.linalg.vecdot(by_up, up, dim=0)
    return [grad_norm, by_gate * norm, by_up * norm]


def run_layers(
    base: Any, shape: Shape, ids: Tensor, positions: Tensor, sequences: Sequences, rows: Tensor | None
) -> Tensor:
    """Last hidden states, normed, of some tokens of a packed stream, with gradient where the parameters have one.

    base: what holds the layers.   ids: [T].   positions: [T], or [3, T].
    rows: [A] places in the stream, ascending; None: all.   Returns [A, d].
    """
    x = base.embed_tokens(ids)
    turn = Turn.of(base, x, positions)
    # The last layer attends by a mask then, which costs about twice what causal attention does.
    few = rows is not None and 2 * len(rows) <= len(ids)
    asked = Asked.of(rows, sequences, x.dtype) if rows is not None and few else None
    last = len(base.layers) - 1
    for number, layer in enumerate(base.layers):
        x = LayerFunction.apply(x, turn, sequences, asked if number == last else None, shape, *_parameters(layer))
    hidden: Tensor = base.norm(x if rows is None or few else x[rows])
    return hidden
