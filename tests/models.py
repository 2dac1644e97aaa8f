"""Tiny random models of several architectures, with a tokenizer of whole words: nothing is downloaded."""

from collections.abc import Sequence
from typing import Any

import torch

from agentrl.models.load import Model
from agentrl.models.precision import keep_double

TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first %}{{ bos_token }}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ message['content'] }}<end>"
    "{% else %}{{ message['content'] }}<act>{% endif %}"
    "{% endfor %}"
)
"""A user's message ends with <act>, which is where the assistant begins; its reply ends with <end>."""

SPECIAL = ("<bos>", "<act>", "<end>", "<pad>", "<unk>")
WORDS = (
    "a",
    "b",
    "go",
    "look",
    "take",
    "put",
    "open",
    "apple",
    "table",
    "lamp",
    "door",
    "left",
    "right",
    "win",
    "lose",
)


def word_tokenizer(words: Sequence[str] = WORDS) -> Any:
    """A transformers tokenizer: one id a word, words parted by spaces; special tokens come first."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    entries = [*SPECIAL, *dict.fromkeys(words)]
    plain = Tokenizer(models.WordLevel({word: i for i, word in enumerate(entries)}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<bos>", eos_token="<end>", pad_token="<pad>", unk_token="<unk>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": ["<act>"]})
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def random_module(
    architecture: str = "qwen3",
    *,
    vocab: int = 64,
    layers: int = 2,
    hidden: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    **settings: Any,
) -> torch.nn.Module:
    """A random causal language model of a transformers architecture: qwen2, qwen3, llama, mistral, gemma2, ...

    Weights are larger than at a usual start, so that distributions are far from even.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        architecture,
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=hidden // heads,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.15,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=3,
        **settings,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = AutoModelForCausalLM.from_config(config, dtype=dtype)
    random: torch.nn.Module = keep_double(module.eval())
    return random


def tiny_model(
    vocab: int | Sequence[str] = 64,
    layers: int = 2,
    hidden: int = 64,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    architecture: str = "qwen3",
    **settings: Any,
) -> Model:
    """A random model with tokenizer and renderer.

    vocab: its size (words w0, w1, ... fill it up), or the words to know beside the special tokens.
    """
    from agentrl.models.renderer import Renderer

    fillers = [f"w{i}" for i in range(vocab)] if isinstance(vocab, int) else []
    words = [*WORDS, *fillers][: vocab - len(SPECIAL)] if isinstance(vocab, int) else vocab
    tokenizer = word_tokenizer(words)
    module = random_module(
        architecture, vocab=len(tokenizer), layers=layers, hidden=hidden, dtype=dtype, seed=seed, **settings
    )
    return Model(module, tokenizer, Renderer(tokenizer), "", torch.device("cpu"), dtype)
