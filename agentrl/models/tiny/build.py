"""Builds a tiny model with random weights, and the tokenizer of a world's sentences that goes with it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentrl.settings import require

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

PAD, UNKNOWN, BEGIN, ACT, END = SPECIAL = ("<pad>", "<unk>", "<bos>", "<act>", "<end>")
"""Tokens 0 to 4. <act> ends what the agent is shown, <end> ends what it says."""

CHAT_TEMPLATE = (
    "{{- '<bos>' -}}"
    "{%- for message in messages -%}"
    "{%- if message['content'] is string -%}{%- set text = message['content'] -%}"
    "{%- else -%}{%- set text = message['content'] | map(attribute='text') | join(' ') -%}{%- endif -%}"
    "{%- if message['role'] == 'assistant' -%}{{- text ~ '<end>' -}}"
    "{%- elif message['role'] != 'system' -%}{{- text ~ '<act>' -}}{%- endif -%}"
    "{%- endfor -%}"
)
"""Append-only: a system message is left out, and every other message ends with a token of its own."""

LARGEST_LOOSE_NUMBER = 99


@dataclass(frozen=True)
class Vocabulary:
    """What a world can say and be told, as the tables of its domain have it."""

    phrases: tuple[str, ...]
    """Runs of words that are one token each; the longest that fits is taken."""
    words: tuple[str, ...]
    """Single words, numbers and signs."""
    entities: Mapping[str, int] = field(default_factory=dict)
    """Numbered things, as {cabinet: 30}: `cabinet 1` to `cabinet 30` are one token each."""
    dropped: str = ""
    """A regular expression of what tells nothing and is read as a space: full stops, commas, articles in lists."""
    marks: tuple[str, ...] = ()
    """Tags and headings of a prompt format: one token each, also where no space follows."""


@dataclass(frozen=True, kw_only=True)
class TinyShape:
    """Sizes of a tiny model."""

    width: int = 128
    """Of the residual stream."""
    layers: int = 4
    """Blocks."""
    heads: int = 4
    """Query heads a block."""
    key_value_heads: int = 1
    """Key and value heads a block."""
    head_width: int = 32
    """Of each head."""
    feed_forward: int = 384
    """Inner width of the gated feed-forward layer."""
    max_positions: int = 4096
    """Longest sequence, in tokens."""
    rope_theta: float = 1e6
    """Base of the rotary positions; large, so that what a word means outweighs where it stands."""
    init_std: float = 0.06
    """Of the random weights; the usual 0.02 is small for so narrow a model."""
    alike: float = 0.3
    """Queries of the first key-value group start as its key plus this share of noise: a word looks for the same
    word from the first step on. 0 leaves them independent."""

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "key_value_heads", "head_width", "feed_forward", "max_positions"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; it must be at least 1")
        require(
            self.heads % self.key_value_heads == 0,
            f"heads is {self.heads}; it must be a multiple of key_value_heads ({self.key_value_heads})",
        )
        require(self.head_width % 2 == 0, f"head_width is {self.head_width}; it must be even")
        require(self.init_std > 0, f"init_std is {self.init_std}; it must be above 0")
        require(self.alike >= 0, f"alike is {self.alike}; it must not be negative")


def random_tiny(
    phrases: Sequence[str],
    words: Sequence[str],
    seed: int,
    *,
    entities: Mapping[str, int] | None = None,
    dropped: str = "",
    marks: Sequence[str] = (),
    shape: TinyShape | None = None,
) -> "tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]":
    """A Qwen3 decoder (float32, tied embeddings) with random weights, and its tokenizer.

    phrases, words, entities, dropped, marks: as in Vocabulary.   seed: all weights follow from it; the global random
    state of torch is left as it was.   shape: sizes; absent: TinyShape().
    """
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    shape = shape or TinyShape()
    tokenizer = build_tokenizer(Vocabulary(tuple(phrases), tuple(words), dict(entities or {}), dropped, tuple(marks)))
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.head_width,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=shape.max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        initializer_range=shape.init_std,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = Qwen3ForCausalLM(config)
        _start_entities_from_type_and_number(
            module.model.embed_tokens.weight, tokenizer, entities or {}, shape.init_std
        )
    if shape.alike:
        _start_queries_like_keys(module, shape)
    module.generation_config.pad_token_id = tokenizer.pad_token_id
    return module.eval(), tokenizer


def build_tokenizer(vocabulary: Vocabulary) -> "PreTrainedTokenizerFast":
    """A word tokenizer of a world's sentences: special tokens, phrases, numbered things, words, numbers.

    Decoding joins tokens by single spaces, so a command comes back as its very text. A numbered thing beyond its
    table is read as word and number. Spaces and what the vocabulary drops leave no token.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = token_list(vocabulary)
    core = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=UNKNOWN))
    steps = [normalizers.Replace(Regex(vocabulary.dropped), " ")] if vocabulary.dropped else []
    core.normalizer = normalizers.Sequence([*steps, normalizers.Replace(Regex(r"\s+"), " ")])
    core.pre_tokenizer = pre_tokenizers.Split(Regex(_pattern(vocabulary)), behavior="removed", invert=True)
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        additional_special_tokens=[ACT],
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def token_list(vocabulary: Vocabulary) -> list[str]:
    """Every token in the order of its id: special ones first, then the rest sorted."""
    numbers = [str(n) for n in range(1, LARGEST_LOOSE_NUMBER + 1)]
    things = [f"{kind} {n}" for kind, most in vocabulary.entities.items() for n in range(1, most + 1)]
    rest = {*vocabulary.phrases, *vocabulary.words, *vocabulary.entities, *things, *numbers, *vocabulary.marks}
    return [*SPECIAL, *sorted(rest - set(SPECIAL))]


def _pattern(vocabulary: Vocabulary) -> str:
    """A regular expression that matches one token after the other: marks, phrases, numbered things, words, numbers,
    signs."""
    by_most: dict[int, list[str]] = {}
    for kind, most in vocabulary.entities.items():
        by_most.setdefault(most, []).append(kind)
    things = [f"(?:{_any_of(kinds)}) (?:{_up_to(most)})" for most, kinds in sorted(by_most.items())]
    parts = [part for part in [_any_of(vocabulary.phrases), *things] if part]
    whole = [rf"(?:{'|'.join(parts)})(?!\w)"] if parts else []
    marks = [_any_of(vocabulary.marks)] if vocabulary.marks else []
    return "|".join([*marks, *whole, r"[A-Za-z']+", r"\d+", r"[^\w\s]"])


def _any_of(texts: Iterable[str]) -> str:
    """Alternatives, the longest first: the engine takes the first that fits."""
    return "|".join(re.escape(text).replace(r"\ ", " ") for text in sorted(texts, key=lambda text: (-len(text), text)))


def _up_to(most: int) -> str:
    """Numbers from most down to 1, so that 12 is tried before 1."""
    return "|".join(str(n) for n in range(most, 0, -1))


def _start_entities_from_type_and_number(
    weight: "torch.Tensor", tokenizer: "PreTrainedTokenizerFast", entities: Mapping[str, int], std: float
) -> None:
    """weight: [V, width], changed in place. `cabinet 3` starts near `cabinet` plus `3`, with some noise of its own."""
    import torch

    ids = tokenizer.get_vocab()
    with torch.no_grad():
        weight.normal_(std=std)
        for kind, most in sorted(entities.items()):
            own = [ids[f"{kind} {n}"] for n in range(1, most + 1)]
            number = weight[[ids[str(n)] for n in range(1, most + 1)]]
            weight[own] = 0.7 * (weight[ids[kind]] + number) + 0.3 * weight[own]


def _start_queries_like_keys(module: "Qwen3ForCausalLM", shape: TinyShape) -> None:
    """Every query head of the first key-value group starts as that group's key plus a share of its own weights."""
    import torch

    with torch.no_grad():
        for layer in module.model.layers:
            query, key = layer.self_attn.q_proj.weight, layer.self_attn.k_proj.weight
            rows = shape.heads // shape.key_value_heads * shape.head_width
            heads = query[:rows].view(-1, shape.head_width, shape.width)
            heads.copy_(key[: shape.head_width] + shape.alike * heads)
