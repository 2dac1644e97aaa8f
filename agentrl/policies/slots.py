"""Keys and values that stay over an episode's turns, and the forward pass that reads and extends many of them at once.

A slot holds what one episode's ids left behind. One pass runs the new tokens of many slots as one stream without
padding: one token of a slot that decodes, many of one whose prompt grew. Only the attention looks at slots one by one;
there, those of like length are batched. Slots stand in pools by capacity, so that short contexts neither take the room
nor cost the time of long ones; a slot that outgrows its pool moves to the next.
"""

import dataclasses
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from agentrl.models.blocks import Layer, Turn, layer_weights, mlp, normed, projected
from agentrl.models.forward import attention, causal_model, closed_form

SLOTS = "agentrl-slots"
"""Name under which the attention function is registered with transformers."""
_STEP = 16
"""Contexts are read in multiples of this many tokens."""
_LONG = 256
"""Pieces of more new tokens than this are attended one by one."""
_active = threading.local()
"""The plan of the pass in flight in this thread; the attention function has no other way to know."""


def capacity_for(length: int) -> int:
    """Tokens a slot has room for when it must hold `length`: the next of few sizes, at most half more, or 511."""
    grain = 512
    while grain * 4 < length:
        grain *= 2
    return -(-length // grain) * grain


def slots_that_fit(wanted: int, bytes_per_token: int, length: int, free_bytes: int) -> int:
    """How many slots of `length` tokens fit into half of the free memory: at least 1, at most `wanted`."""
    return max(1, min(wanted, free_bytes // 2 // (bytes_per_token * capacity_for(length))))


class Pool:
    """Keys and values of all slots of one capacity: a layer's are [rows, kv heads, capacity, e]."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.num_rows = 0
        self.free: list[int] = []

    def take_row(self) -> int:
        """The lowest free row: rows in use stay close together."""
        if not self.free:
            more = max(8, self.num_rows // 2)
            self.free = list(range(self.num_rows, self.num_rows + more))
            self.num_rows += more
        row = min(self.free)
        self.free.remove(row)
        return row

    def layer(self, index: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of a layer, with room for every row; made and enlarged when they are first needed.

        like: [1, kv heads, T, e], whose number of heads, head size, dtype and device they take.
        Unwritten places are 0: they are masked, but 0 times nan would still be nan.
        """
        while len(self.keys) <= index:
            self.keys.append(like.new_zeros(0))
            self.values.append(like.new_zeros(0))
        if len(self.keys[index]) < self.num_rows:
            shape = (self.num_rows, like.shape[1], self.capacity, like.shape[3])
            for buffers in (self.keys, self.values):
                larger = like.new_zeros(shape)
                if len(buffers[index]):
                    larger[: len(buffers[index])] = buffers[index]
                buffers[index] = larger
        return self.keys[index], self.values[index]


@dataclass(eq=False)
class Slot:
    """Where one episode's keys and values are."""

    ids: list[int] = field(default_factory=list)
    """The ids whose keys and values are held, in order."""
    pool: Pool | None = None
    row: int = -1

    def keep_prefix_of(self, ids: Sequence[int], limit: int) -> int:
        """Forget what differs from `ids` or is beyond `limit`.   Returns how many ids stay."""
        length = min(len(self.ids), limit)
        if self.ids[:length] != list(ids[:length]):
            differs = np.asarray(self.ids[:length]) != np.asarray(ids[:length])
            length = int(differs.argmax())
        del self.ids[length:]
        return length


class SlotPools:
    """All keys and values, by capacity."""

    def __init__(self) -> None:
        self.pools: dict[int, Pool] = {}

    def make_room(self, slot: Slot, length: int) -> None:
        """Let the slot hold `length` tokens; what it holds moves along."""
        if slot.pool is not None and slot.pool.capacity >= length:
            return
        capacity = capacity_for(length)
        pool = self.pools.setdefault(capacity, Pool(capacity))
        row = pool.take_row()
        old, kept = slot.pool, len(slot.ids)
        if old is not None and kept:
            for index, (keys, values) in enumerate(zip(old.keys, old.values, strict=True)):
                new_keys, new_values = pool.layer(index, keys[:1])
                new_keys[row, :, :kept] = keys[slot.row, :, :kept]
                new_values[row, :, :kept] = values[slot.row, :, :kept]
        self.free(slot)
        slot.pool, slot.row = pool, row

    def free(self, slot: Slot) -> None:
        """Give the slot's row back, and the pool's memory with its last row. The slot's ids are not touched."""
        pool = slot.pool
        if pool is None:
            return
        pool.free.append(slot.row)
        if len(pool.free) == pool.num_rows:
            self.pools.pop(pool.capacity, None)
        slot.pool, slot.row = None, -1


@dataclass(frozen=True)
class Piece:
    """The new tokens of one slot in one pass; they follow what the slot holds."""

    slot: Slot
    ids: Sequence[int]


@dataclass(eq=False)
class _Group:
    """Pieces of one pool with about as many new tokens, attended together.

    B rows of the batch (rows of the pool between the first and the last one used, or only those used), Q queries a
    row, S keys a row. The group's tokens are [begin, end) of the stream.
    """

    pool: Pool
    begin: int
    end: int
    first_row: int
    """Of the pool, where the batch is a range of it."""
    rows: Tensor | None
    """[B] rows of the pool, where the batch is not a range of it."""
    size: tuple[int, int, int]
    """B, Q, S."""
    place: Tensor | None
    """[tokens] place of each token among the B Q queries; None: one after the other."""
    write_to: Tensor | None
    """[kv heads * tokens] place of each new key in the pool's flat [rows * kv heads * capacity]; None: it is there."""
    positions: Tensor
    """[B, Q] position of each query; padding and rows that stand idle have position 0 or more."""
    fresh: bool
    """No piece has anything before it."""
    masks: dict[int | None, Tensor] = field(default_factory=dict)

    def mask(self, window: int | None, group_size: int, dtype: torch.dtype) -> Tensor:
        """[B, 1, group size * Q, S] to add to the scores; of one query [B, 1, 1, S].   window: of sliding attention."""
        if window not in self.masks:
            batch, queries, keys = self.size
            key = torch.arange(keys, device=self.positions.device)
            ahead = self.positions[:, :, None] - key
            hidden = ahead < 0
            if window is not None:
                hidden |= ahead >= window
            bias = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, -torch.inf)
            if queries > 1:
                bias = bias[:, None].expand(batch, group_size, queries, keys).reshape(batch, -1, keys)
            self.masks[window] = bias[:, None]
        return self.masks[window]

    def write(self, layer: int, key: Tensor, value: Tensor) -> None:
        """Put the group's new keys and values where they are kept.   key, value: [1, kv heads, T, e]."""
        if self.write_to is None:
            return
        stream, width = slice(self.begin, self.end), key.shape[3]
        for buffer, new in zip(self.pool.layer(layer, key), (key, value), strict=True):
            buffer.view(-1, width).index_copy_(0, self.write_to, new[0, :, stream].reshape(-1, width))

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """Write the new keys and values, and attend to all.

        query: [1, heads, T, e].   key, value: [1, kv heads, T, e].   Returns [tokens of the group, heads, e].
        """
        self.write(layer, key, value)
        heads, kv_heads, width = query.shape[1], key.shape[1], query.shape[3]
        keys, values = self.pool.layer(layer, key)
        stream = slice(self.begin, self.end)
        batch, num_queries, num_keys = self.size
        queries = query[0, :, stream].transpose(0, 1)
        if self.place is not None:
            queries = query.new_zeros(batch * num_queries, heads, width).index_copy_(0, self.place, queries)
        if self.fresh and window is None:
            out = self._attend_fresh(queries, keys, values, scale)
        else:
            folded = queries.reshape(batch, num_queries, kv_heads, -1, width).permute(0, 2, 3, 1, 4)
            out = scaled_dot_product_attention(
                folded.reshape(batch, kv_heads, -1, width),
                self._context(keys, num_keys),
                self._context(values, num_keys),
                attn_mask=self.mask(window, heads // kv_heads, query.dtype),
                scale=scale,
            )
            out = out.view(batch, kv_heads, -1, num_queries, width).permute(0, 3, 1, 2, 4)
            out = out.reshape(-1, heads, width)
        return out if self.place is None else out[self.place]

    def _attend_fresh(self, queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        """Nothing is before the new tokens, so that plain causal attention is right: padding comes after all else."""
        batch, num_queries, _ = self.size
        out = scaled_dot_product_attention(
            queries.reshape(batch, num_queries, -1, queries.shape[-1]).transpose(1, 2),
            self._context(keys, num_queries),
            self._context(values, num_queries),
            is_causal=True,
            scale=scale,
            enable_gqa=queries.shape[1] != keys.shape[1],
        )
        return out.transpose(1, 2).reshape(batch * num_queries, -1, queries.shape[-1])

    def _context(self, buffer: Tensor, length: int) -> Tensor:
        if self.rows is None:
            return buffer[self.first_row : self.first_row + self.size[0], :, :length]
        return buffer[:, :, :length].index_select(0, self.rows)


def _slot_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The function that transformers calls in every layer.   Returns [1, T, heads, e] and no weights."""
    if softcap is not None or s_aux is not None:
        raise NotImplementedError("soft-capped scores and attention sinks are not computed over slots")
    groups: list[_Group] = _active.groups
    if sliding_window is not None:
        _active.windowed.add(module.layer_idx)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = [group.attend(module.layer_idx, query, key, value, scale, sliding_window) for group in groups]  # type: ignore[arg-type]
    return (out[0] if len(out) == 1 else torch.cat(out))[None], None


def _group_key(piece: Piece, number: int) -> tuple[int, int, bool, int]:
    """Pieces with the same key are attended together: of one pool, fresh or not, like numbers of new tokens."""
    count = len(piece.ids)
    like = 0 if count == 1 else max(3, (count - 1).bit_length())
    assert piece.slot.pool is not None
    return piece.slot.pool.capacity, like, not piece.slot.ids and count > 1, number if count > _LONG else 0


class SlotDecoder:
    """Runs pieces through the model; keys and values of their slots are read and extended."""

    def __init__(self, module: nn.Module) -> None:
        _register()
        self.module = module
        self.device = next(module.parameters()).device
        text = causal_model(module).config.get_text_config()
        self.kv_heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        self.pools = SlotPools()
        self.windowed: set[int] = set()
        """Layers that were seen to attend to a window."""
        self.shape = closed_form(module)
        """Of layers that are run as they are written out in `blocks`; None: by the model's own forward."""
        self._layers: list[Layer] = []

    def limit(self, wanted: int, length: int) -> int:
        """How many slots of `length` tokens to keep: as many as wanted, on a GPU as many as its memory allows."""
        if self.device.type != "cuda":
            return wanted
        text = causal_model(self.module).config.get_text_config()
        width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        size = next(self.module.parameters()).element_size()
        bytes_per_token = 2 * text.num_hidden_layers * self.kv_heads * width * size
        return slots_that_fit(wanted, bytes_per_token, length, torch.cuda.mem_get_info(self.device)[0])

    def drop(self) -> None:
        """Forget all keys and values, memory included. The slots in use must be emptied by their owner."""
        self.pools = SlotPools()
        self._layers = []

    def free(self, slot: Slot) -> None:
        self.pools.free(slot)

    @torch.inference_mode()
    def run(self, pieces: Sequence[Piece]) -> Tensor:
        """One pass over new tokens.   Returns [P, d]: the last hidden state of each piece, in the order given.

        Afterwards every slot holds its piece too.
        """
        for piece in pieces:
            self.pools.make_room(piece.slot, len(piece.slot.ids) + len(piece.ids))
        keys = [_group_key(piece, number) for number, piece in enumerate(pieces)]
        order = sorted(range(len(pieces)), key=lambda i: (keys[i], pieces[i].slot.row))
        counts = np.array([len(pieces[i].ids) for i in order])
        starts = np.array([len(pieces[i].slot.ids) for i in order])
        ends = counts.cumsum()
        offset = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
        positions = np.repeat(starts, counts) + offset
        groups, first = [], 0
        for last in range(1, len(order) + 1):
            if last == len(order) or keys[order[last]] != keys[order[first]]:
                members, one = [pieces[i].slot for i in order[first:last]], slice(first, last)
                begin, end = int(ends[first] - counts[first]), int(ends[last - 1])
                fresh = keys[order[first]][2]
                groups.append(self._group(members, begin, starts[one], counts[one], offset[begin:end], fresh))
                first = last
        ids = torch.tensor([i for k in order for i in pieces[k].ids], device=self.device)
        placed = torch.from_numpy(positions).to(self.device)
        last_token = np.empty(len(order), dtype=np.int64)
        last_token[order] = ends - 1
        if self.shape is None or _watched(causal_model(self.module).base_model):
            hidden = self._forward(groups, ids, placed)[torch.from_numpy(last_token).to(self.device)]
        else:
            by_row = sorted(range(len(pieces)), key=lambda i: (keys[i][0], pieces[i].slot.row))
            finals = self._finals([pieces[i] for i in by_row])
            found = self._closed(groups, finals, ids, placed, torch.from_numpy(last_token[by_row]))
            hidden = torch.empty_like(found).index_copy_(0, torch.tensor(by_row), found)
        for piece in pieces:
            piece.slot.ids.extend(piece.ids)
        return hidden

    def _finals(self, pieces: list[Piece]) -> list[_Group]:
        """The last token of every piece, a group a pool: all that the last layer is asked for.   pieces: by row."""
        groups, first = [], 0
        for last in range(1, len(pieces) + 1):
            if last == len(pieces) or pieces[last].slot.pool is not pieces[first].slot.pool:
                members = pieces[first:last]
                starts = np.array([len(p.slot.ids) + len(p.ids) - 1 for p in members])
                ones = np.ones_like(starts)
                group = self._group([p.slot for p in members], first, starts, ones, np.zeros_like(starts), False)
                groups.append(dataclasses.replace(group, write_to=None))
                first = last
        return groups

    def _closed(
        self, groups: list[_Group], finals: list[_Group], ids: Tensor, positions: Tensor, ends: Tensor
    ) -> Tensor:
        """The pass in closed form.   ends: [P] places in the stream.   Returns [P, d] of these."""
        shape, base = self.shape, causal_model(self.module).base_model
        assert shape is not None
        if not self._layers:
            self._layers = [layer_weights(shape, layer) for layer in base.layers]
        x: Tensor = base.embed_tokens(ids)
        turn = Turn.of(base, x, positions)
        for number, layer in enumerate(self._layers):
            rows = ends if number == len(self._layers) - 1 else None
            parts = projected(shape, layer, normed(x, shape.eps)[0], turn, rows)
            query, key, value = (part.transpose(0, 1)[None] for part in parts)
            if rows is not None:
                for group in groups:
                    group.write(number, key, value)
                x = x[rows]
            asked = groups if rows is None else finals
            context = [group.attend(number, query, key, value, shape.scale, None) for group in asked]
            x = mlp(shape, layer, x, (context[0] if len(context) == 1 else torch.cat(context)).flatten(1))
        hidden: Tensor = base.norm(x)
        return hidden

    def _forward(self, groups: list[_Group], ids: Tensor, positions: Tensor) -> Tensor:
        _active.groups, _active.windowed = groups, self.windowed
        try:
            with attention(self.module, SLOTS):
                model = causal_model(self.module).base_model
                output = model(input_ids=ids[None], position_ids=positions[None], use_cache=False)
        finally:
            _active.groups = []
        hidden: Tensor = output.last_hidden_state[0]
        return hidden

    def _group(self, slots: list[Slot], begin: int, starts: Any, counts: Any, offset: Any, fresh: bool) -> _Group:
        """starts, counts: numpy [members].   offset: numpy [tokens], of each token in its piece."""
        pool = slots[0].pool
        assert pool is not None
        rows = np.array([slot.row for slot in slots])
        queries = int(counts.max())
        keys = min(pool.capacity, -(-int((starts + counts).max()) // _STEP) * _STEP)
        first, span = int(rows[0]), int(rows[-1] - rows[0]) + 1
        # Idle rows in between are computed for nothing, a selection is copied: both cost about a row's keys and values.
        as_range = span <= (2 * len(rows) if queries == 1 else 1.25 * len(rows))
        batch = span if as_range else len(rows)
        row_in_batch = rows - first if as_range else np.arange(len(rows))
        start_of_row = np.zeros(batch, dtype=np.int64)
        start_of_row[row_in_batch] = starts
        place = np.repeat(row_in_batch * queries, counts) + offset
        dense = len(place) == batch * queries
        row_of_token, position = np.repeat(rows, counts), np.repeat(starts, counts) + offset
        head = np.arange(self.kv_heads)[:, None]
        write_to = ((row_of_token * self.kv_heads + head) * pool.capacity + position).ravel()
        return _Group(
            pool=pool,
            begin=begin,
            end=begin + len(offset),
            first_row=first,
            rows=None if as_range else self._tensor(rows),
            size=(batch, queries, keys),
            place=None if dense else self._tensor(place),
            write_to=self._tensor(write_to),
            positions=self._tensor(start_of_row[:, None] + np.arange(queries)),
            fresh=fresh,
        )

    def _tensor(self, array: Any) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def _watched(model: Any) -> bool:
    """Does anyone listen to the model's own forward."""
    return bool(model._forward_hooks or model._forward_pre_hooks)


class PlainDecoder:
    """The slow way that is right for any model: every pass runs each whole sequence alone, nothing is kept."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.device = next(module.parameters()).device

    def limit(self, wanted: int, length: int) -> int:
        """Nothing is kept: as many as wanted."""
        return wanted

    def drop(self) -> None:
        """Nothing is kept."""

    def free(self, slot: Slot) -> None:
        """Nothing is kept."""

    @torch.no_grad()
    def run(self, pieces: Sequence[Piece]) -> Tensor:
        """As `SlotDecoder.run`."""
        model = causal_model(self.module).base_model
        hidden = []
        for piece in pieces:
            piece.slot.ids.extend(piece.ids)
            ids = torch.tensor([piece.slot.ids], device=self.device)
            hidden.append(model(input_ids=ids, use_cache=False).last_hidden_state[0, -1])
        return torch.stack(hidden)


def choose_decoder(module: nn.Module) -> SlotDecoder | PlainDecoder:
    """Slots where they give what the model gives by itself, and the plain way for every other model."""
    config = causal_model(module).config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    # These turn by angles that depend on the longest sequence in the batch: neighbours would change each other.
    if str(rope.get("rope_type", "default")) in ("dynamic", "longrope"):
        return PlainDecoder(module)
    decoder = SlotDecoder(module)
    try:
        same = _same_as_alone(decoder, module)
    except Exception:  # whatever a foreign architecture raises when it is run in a way it was not made for
        same = False
    kinds = getattr(config, "layer_types", None) or []
    windowed = {i for i, kind in enumerate(kinds) if kind != "full_attention"}
    decoder.drop()
    return decoder if same and windowed == decoder.windowed & windowed else PlainDecoder(module)


def _same_as_alone(decoder: SlotDecoder, module: nn.Module) -> bool:
    """Two sequences through prefill, growth and decoding, beside each other: the same as each by itself?"""
    vocabulary = len(causal_model(module).get_input_embeddings().weight)
    generator = torch.Generator().manual_seed(0)
    long = torch.randint(0, vocabulary, (24,), generator=generator).tolist()
    short = torch.randint(0, vocabulary, (11,), generator=generator).tolist()
    slots = Slot(), Slot()
    plain = PlainDecoder(module)
    bound = 5e-2 if next(module.parameters()).dtype in (torch.bfloat16, torch.float16) else 1e-4
    for ends in ((9, 5), (10, 6), (20, 7), (24, 11)):
        pieces = [
            Piece(slot, ids[len(slot.ids) : end]) for slot, ids, end in zip(slots, (long, short), ends, strict=True)
        ]
        got = decoder.run(pieces).double()
        alone = plain.run([Piece(Slot(), ids[:end]) for ids, end in zip((long, short), ends, strict=True)]).double()
        if not bool((got - alone).abs().max() <= bound * alone.abs().max()):
            return False
    return True


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(SLOTS, _slot_attention)
    AttentionMaskInterface.register(SLOTS, lambda *args, **kwargs: None)
