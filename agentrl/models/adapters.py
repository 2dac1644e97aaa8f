"""LoRA adapters through peft: put on, and taken into the weights for saving without touching the live model."""

from typing import Any

import torch
from torch import Tensor, nn

from agentrl.errors import missing_package


def add_lora(module: nn.Module, rank: int, alpha: float, seed: int = 0) -> nn.Module:
    """The model inside a LoRA wrapper: every linear layer but the head gets an adapter, the base is frozen.

    rank: of the adapter.   alpha: its scale is alpha / rank.   seed: of its random half.
    Raises MissingDependency without peft.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise missing_package("LoRA", "peft", "pip install 'agentrl[lora]'") from error
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wrapped: nn.Module = get_peft_model(module, config)
    return wrapped


@torch.no_grad()
def merged_weights(module: nn.Module) -> dict[str, Tensor]:
    """The weights of the base with the adapter added, under the base's own names; the live model stays as it is.

    Adding is done in float32 and rounded once, so that the result does not depend on how often it was saved.
    """
    from peft.tuners.lora import LoraLayer

    base: Any = module.get_base_model()  # type: ignore[operator]
    deltas = {}
    for name, layer in base.named_modules():
        if isinstance(layer, LoraLayer):
            deltas[f"{name}.weight"] = sum(layer.get_delta_weight(a) for a in layer.active_adapters)
    weights = {}
    for name, weight in base.state_dict().items():
        if ".lora_" in name:
            continue
        plain = name.replace(".base_layer.", ".")
        delta = deltas.get(plain)
        precise = torch.float64 if weight.dtype == torch.float64 else torch.float32
        weights[plain] = weight if delta is None else (weight.to(precise) + delta.to(precise)).to(weight.dtype)
    return weights
