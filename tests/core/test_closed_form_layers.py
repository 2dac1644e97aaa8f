"""Layers written out by hand give what the model's own forward gives, gradients too; other models run as they are."""

import pytest
import torch
from torch import Tensor

from agentrl.models import forward
from agentrl.models.blocks import run_layers
from agentrl.models.forward import causal_model, closed_form, hidden_states, pack
from tests.models import random_module

SEQUENCES = [list(range(3, 20)), [5, 9, 1], list(range(40, 11, -1))]
FEW = torch.tensor([0, 6, 7, 20, 30, 48])
"""None of them stands in the second sequence."""


def states_and_gradients(module: torch.nn.Module, at: Tensor | None, closed: bool) -> list[Tensor]:
    packed = pack(SEQUENCES)
    if closed:
        shape = closed_form(module)
        assert shape is not None
        base = causal_model(module).base_model
        states = run_layers(base, shape, packed.ids, packed.positions, packed.sequences, at)
    else:
        states = hidden_states(module, packed, one_by_one=True, at=at)
    direction = torch.linspace(-1, 1, states.numel(), dtype=states.dtype).view(states.shape).cos()
    return [states.detach(), *torch.autograd.grad((states * direction).sum(), list(base_parameters(module)))]


def base_parameters(module: torch.nn.Module) -> list[Tensor]:
    return list(causal_model(module).base_model.parameters())


@pytest.mark.parametrize("at", [None, FEW, torch.arange(1, 49)], ids=["all", "few", "most"])
@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("qwen3", {}),
        ("qwen3", {"kv_heads": 1}),
        ("qwen2", {}),
        ("llama", {"attention_bias": True}),
        ("llama", {"kv_heads": 4}),
    ],
)
def test_states_and_gradients_are_those_of_the_model(architecture, settings, at):
    module = random_module(architecture, dtype=torch.float64, **settings)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:  # norms and biases that do nothing would hide an error
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    own, ours = (states_and_gradients(module, at, closed) for closed in (False, True))
    assert len(own[0]) == (49 if at is None else len(at))
    for a, b in zip(own, ours, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_a_neighbour_changes_nothing():
    module = random_module("qwen3")
    at = torch.tensor([2, 16, 19])
    with torch.no_grad():
        first = hidden_states(module, pack(SEQUENCES), at=at)
        other = hidden_states(module, pack([SEQUENCES[0], SEQUENCES[1], SEQUENCES[2][::-1]]), at=at)
    assert closed_form(module) is not None and torch.equal(first, other)


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("qwen3", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}),
        ("mistral", {"sliding_window": 64}),
        ("llama", {"hidden_act": "gelu"}),
        ("llama", {"mlp_bias": True}),
        ("gemma2", {}),
        ("gemma3_text", {}),
    ],
)
def test_models_of_another_kind_run_as_they_are(architecture, settings):
    assert closed_form(random_module(architecture, **settings)) is None


def test_a_model_that_was_changed_is_looked_at_again():
    module = random_module("qwen3")
    assert closed_form(module) is not None
    hook = module.model.layers[1].register_forward_hook(lambda *arguments: None)
    assert closed_form(module) is None
    hook.remove()
    assert closed_form(module) is not None
    module.gradient_checkpointing_enable()
    assert closed_form(module) is None
    assert closed_form(random_module("qwen3", dtype=torch.bfloat16)) is None


def test_a_frozen_part_gets_no_gradient_and_changes_no_other():
    module = random_module("qwen3", dtype=torch.float64)
    whole = states_and_gradients(module, FEW, True)
    names = [name for name, _ in causal_model(module).base_model.named_parameters()]
    module.model.layers[0].mlp.requires_grad_(False)
    packed, states = pack(SEQUENCES), None
    states = hidden_states(module, packed, at=FEW)
    direction = torch.linspace(-1, 1, states.numel(), dtype=states.dtype).view(states.shape).cos()
    (states * direction).sum().backward()
    for name, grad, parameter in zip(names, whole[1:], base_parameters(module), strict=True):
        assert (parameter.grad is None) == name.startswith("layers.0.mlp")
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, grad, rtol=1e-9, atol=1e-12)


def test_the_trainers_forward_takes_this_way(monkeypatch):
    module = random_module("qwen3")
    assert closed_form(module) is not None
    taken = []
    monkeypatch.setattr(forward, "run_layers", lambda *arguments: taken.append(1) or run_layers(*arguments))
    hidden_states(module, pack(SEQUENCES))
    assert taken


def test_a_model_may_be_looked_at_first_in_the_middle_of_an_update():
    module = random_module("qwen3")
    forward.register()
    with forward.attention(module, forward.PACKED):
        assert closed_form(module) is not None
