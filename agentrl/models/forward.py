"""The trainer's forward pass: many sequences in one stream, no padding, attention kept apart sequence by sequence."""

import contextlib
import itertools
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from agentrl.models.blocks import Sequences, Shape, read_shape, run_layers

PACKED = "agentrl-packed"
"""Name under which the attention function is registered with transformers."""


@dataclass(frozen=True)
class Packed:
    """Sequences one after the other."""

    ids: Tensor
    """[T] int64."""
    starts: tuple[int, ...]
    """S + 1 offsets into the stream."""
    positions: Tensor
    """[T] int64; or [3, T] where images give tokens a place in time, height and width."""
    images: dict[str, Tensor] = field(default_factory=dict)
    """Further inputs of a vision-language model, by the names its forward takes."""
    before: tuple[tuple[int, int], ...] = ()
    """Of each sequence where in the stream stands what it begins with and shares with an earlier one, which is run
    once; (0, 0): nothing. Empty: no sequence shares anything."""

    @property
    def sequences(self) -> Sequences:
        """What attention sees."""
        return Sequences.of(self.starts, self.before)


@dataclass
class _Layout:
    """Where the sequences of the stream in flight begin; the attention function has no other way to know.

    It stays after the forward pass, because gradient checkpointing runs the attention again in the backward pass,
    there in another thread.
    """

    sequences: Sequences = field(default_factory=lambda: Sequences((), ()))
    cumulative: Tensor | None = None
    longest: int = 0


_layout = _Layout()


def _packed_attention(
    module: torch.nn.Module,
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
    """query: [1, heads, T, e].   key, value: [1, kv heads, T, e].   Returns [1, T, heads, e] and no weights."""
    if softcap is not None or s_aux is not None:
        raise NotImplementedError("soft-capped scores and attention sinks cannot be packed")
    sequences, cumulative, longest = _layout.sequences, _layout.cumulative, _layout.longest
    if not sequences.starts or sequences.starts[-1] != query.shape[2]:
        raise RuntimeError("packed attention was called outside of `hidden_states`")
    if sequences.index is not None:
        query, key, value = (x[:, :, sequences.index] for x in (query, key, value))
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        from torch.nn.attention.varlen import varlen_attn

        window = (-1 if not sliding_window else sliding_window - 1, 0)
        assert cumulative is not None  # made where the model is on a GPU
        packed = varlen_attn(
            query[0].transpose(0, 1),
            key[0].transpose(0, 1),
            value[0].transpose(0, 1),
            cumulative,
            cumulative,
            longest,
            longest,
            scale=scaling,
            window_size=window,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        assert isinstance(packed, Tensor)  # a pair only where it is asked for
        return (packed if sequences.own is None else packed[sequences.own])[None], None
    pieces = []
    for begin, end in itertools.pairwise(sequences.whole):
        mask = None
        if sliding_window and end - begin > sliding_window:
            place = torch.arange(end - begin, device=query.device)
            ahead = place[:, None] - place[None]
            mask = (ahead >= 0) & (ahead < sliding_window)
        pieces.append(
            torch.nn.functional.scaled_dot_product_attention(
                query[:, :, begin:end],
                key[:, :, begin:end],
                value[:, :, begin:end],
                attn_mask=mask,
                is_causal=mask is None,
                scale=scaling,
                enable_gqa=query.shape[1] != key.shape[1],
            )
        )
    whole = torch.cat(pieces, 2).transpose(1, 2)
    return (whole if sequences.own is None else whole[:, sequences.own]), None


def register() -> None:
    """Make the attention function known to transformers; calling it again changes nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(PACKED, _packed_attention)
    AttentionMaskInterface.register(PACKED, lambda *args, **kwargs: None)


def causal_model(module: torch.nn.Module) -> Any:
    """The transformers model itself, taken out of an adapter's wrapper."""
    return module.get_base_model() if hasattr(module, "get_base_model") else module  # type: ignore[operator]


@contextlib.contextmanager
def attention(module: torch.nn.Module, name: str) -> Iterator[None]:
    """Use a registered attention function in the language model; image encoders keep their own."""
    config = causal_model(module).config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


@contextlib.contextmanager
def recomputing(module: torch.nn.Module) -> Iterator[None]:
    """Let gradient checkpointing work, where the model was told to: transformers does it in training mode alone.

    Dropout is off in either mode.
    """
    training = module.training
    if getattr(causal_model(module), "is_gradient_checkpointing", False):
        module.train()
    try:
        yield
    finally:
        module.train(training)


def _decoder_output(module: torch.nn.Module, ids: Tensor, positions: Tensor, images: dict[str, Tensor]) -> Tensor:
    decoder = causal_model(module).base_model
    places = positions[None] if positions.ndim == 1 else positions[:, None]
    output = decoder(input_ids=ids[None], position_ids=places, use_cache=False, **images)
    hidden: Tensor = output.last_hidden_state[0]
    return hidden


def hidden_states(
    module: torch.nn.Module, packed: Packed, one_by_one: bool = False, at: Tensor | None = None
) -> Tensor:
    """Last hidden states of a packed stream.

    one_by_one: run a sequence a call with the model's own attention, for models that cannot be packed.
    at: [A] places in the stream, ascending, of which alone the states are wanted: the others' need not be computed.
    Returns [T, d] or [A, d], with gradient where the module's parameters have one.
    """
    if one_by_one:
        if packed.before:
            raise ValueError("sequences that share their beginning cannot be run a sequence a call")
        if packed.images:
            raise ValueError("a stream with images cannot be run a sequence a call: cut it before")
        pieces = [
            _decoder_output(module, packed.ids[a:b], packed.positions[..., a:b], {})
            for a, b in itertools.pairwise(packed.starts)
        ]
        whole = torch.cat(pieces)
        return whole if at is None else whole[at]
    shape = None if packed.images else closed_form(module)
    if shape is not None:
        base = causal_model(module).base_model
        return run_layers(base, shape, packed.ids, packed.positions, packed.sequences, at)
    whole = _packed_states(module, packed)
    return whole if at is None else whole[at]


def _packed_states(module: torch.nn.Module, packed: Packed) -> Tensor:
    """[T, d] by the model's own forward, with attention kept apart sequence by sequence."""
    register()
    sequences, device = packed.sequences, packed.ids.device
    if sequences.index is not None and sequences.own is not None:
        sequences = replace(sequences, index=sequences.index.to(device), own=sequences.own.to(device))
    _layout.sequences = sequences
    _layout.cumulative = torch.tensor(sequences.whole, dtype=torch.int32, device=device)
    _layout.longest = max(b - a for a, b in itertools.pairwise(sequences.whole))
    with attention(module, PACKED):
        return _decoder_output(module, packed.ids, packed.positions, packed.images)


_compared: "weakref.WeakKeyDictionary[torch.nn.Module, tuple[Shape, bool]]" = weakref.WeakKeyDictionary()
"""Models that were compared with their own forward pass, as what, and whether they agreed."""


def closed_form(module: torch.nn.Module) -> Shape | None:
    """The shape of a model whose layers are of the usual kind and on a CPU: `blocks.run_layers` runs it faster.

    None for every other model, and for one whose own forward pass gives something else: it is asked once.
    """
    model = causal_model(module)
    first = next(module.parameters())
    if first.device.type != "cpu" or first.dtype not in (torch.float32, torch.float64) or model is not module:
        return None
    if getattr(model, "is_gradient_checkpointing", False) or getattr(model.config, "sliding_window", None):
        return None
    if any(part._forward_hooks or part._forward_pre_hooks for part in model.modules()):
        return None  # someone listens to the model's own forward
    shape = read_shape(model.base_model)
    if shape is None:
        return None
    if _compared.get(module, (None, False))[0] != shape:
        _compared[module] = shape, False
        _compared[module] = shape, _agrees(module, shape)
    return shape if _compared[module][1] else None


def _agrees(module: torch.nn.Module, shape: Shape) -> bool:
    """Whether two sequences give the same hidden states, and the same gradient of the first and the last layer."""
    base = causal_model(module).base_model
    vocabulary = len(causal_model(module).get_input_embeddings().weight)
    generator = torch.Generator().manual_seed(0)
    pieces = [torch.randint(0, vocabulary, (n,), generator=generator).tolist() for n in (9, 14)]
    packed = pack(pieces)
    at = torch.tensor([3, 7, 8, 15, 22])
    weights = [p for layer in (base.layers[0], base.layers[-1]) for p in layer.parameters() if p.requires_grad]
    found = []
    with torch.enable_grad():
        for closed in (False, True):
            try:
                if closed:
                    states = run_layers(base, shape, packed.ids, packed.positions, packed.sequences, at)
                else:
                    states = _packed_states(module, packed)[at]  # whichever attention is in use now
                direction = torch.randn(states.shape, generator=generator.manual_seed(1)).to(states)
                grads = torch.autograd.grad((states * direction).sum(), weights) if weights else ()
            except (TypeError, ValueError, RuntimeError, NotImplementedError, AttributeError, IndexError):
                return False
            found.append([states, *grads])
    bound = 1e-4 if states.dtype == torch.float32 else 1e-9
    largest = max((float(grad.abs().max()) for grad in found[0][1:]), default=0.0)  # small ones are noise beside it
    noise = [0.1 * bound * largest if number else 0.0 for number in range(len(found[0]))]
    return all(bool((a - b).abs().max() <= bound * a.abs().max() + n) for a, b, n in zip(*found, noise, strict=True))


def pack(sequences: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> Packed:
    """Sequences of ids as one stream; positions restart at each."""
    starts = [0]
    for ids in sequences:
        starts.append(starts[-1] + len(ids))
    positions = torch.cat([torch.arange(len(ids)) for ids in sequences])
    flat = torch.tensor([i for ids in sequences for i in ids], dtype=torch.int64)
    return Packed(flat.to(device), tuple(starts), positions.to(device))


def packs_without_leaks(module: torch.nn.Module, vocabulary: int) -> bool:
    """Whether a packed stream gives each sequence what it gets alone by the model's own attention.

    Run once at load: models whose layers mix neighbours in another way (state spaces, soft-capped scores, biases that
    depend on the distance) do not, and are run a sequence a call.
    """
    device = next(module.parameters()).device
    generator = torch.Generator().manual_seed(0)
    pieces = [torch.randint(0, vocabulary, (n,), generator=generator).tolist() for n in (7, 12, 5)]
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            alone = hidden_states(module, pack(pieces, device), one_by_one=True).double()
            together = hidden_states(module, pack(pieces, device)).double()
            other = hidden_states(module, pack([pieces[0][::-1], *pieces[1:]], device)).double()
    except (TypeError, ValueError, RuntimeError, NotImplementedError, AttributeError):
        return False
    finally:
        module.train(training)
    low_precision = next(module.parameters()).dtype in (torch.bfloat16, torch.float16)
    bound = (5e-2 if low_precision else 1e-4) * float(alone.abs().max())
    same = bool((alone - together).abs().max() <= bound)
    no_leak = torch.equal(together[len(pieces[0]) :], other[len(pieces[0]) :]) or bool(
        (together[len(pieces[0]) :] - other[len(pieces[0]) :]).abs().max() <= bound * 1e-2
    )
    return same and no_leak
