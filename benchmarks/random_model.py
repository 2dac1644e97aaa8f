"""The random model that both sides of a benchmark run, and how far a process has grown."""

from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

CLEAR = Path("/proc/self/clear_refs")
"""Forgets the highest resident set so far (Linux)."""


def random_model(vocabulary: int, layers: int, hidden: int, **settings: Any) -> torch.nn.Module:
    """A model of the Qwen3 architecture with random weights.   settings: further ones of its configuration."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 128,
        head_dim=64,
        intermediate_size=3 * hidden,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        **settings,
    )
    module: torch.nn.Module = Qwen3ForCausalLM(config)
    return module.train()


def resident() -> float:
    """MiB that the process holds now, from which `peak` counts on."""
    CLEAR.write_text("5")
    return _status("VmRSS")


def peak() -> float:
    """MiB that it held at most since `resident`."""
    return _status("VmHWM")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024
