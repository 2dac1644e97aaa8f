"""Gradient checkpointing saves the memory that it promises, and changes no gradient."""

import pytest
import torch

from agentrl.trainers.batch import build_batch
from agentrl.trainers.update import flat_gradient
from tests.trainers.episodes import random_trajectories
from tests.trainers.test_update import VOCAB, composition_of, updater_of


@pytest.mark.parametrize("settings", [{}, {"two_passes": True}, {"one_by_one": True}])
def test_gradient_checkpointing_recomputes_every_layer_and_gives_the_same_gradient(settings: dict[str, bool]) -> None:
    gradients, calls = [], []
    for checkpointing in (False, True):
        updater = updater_of(micro_batch_tokens=60, **settings)
        if checkpointing:
            updater.module.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
        count = [0]
        layer = updater.module.get_submodule("model.layers.0.self_attn")
        layer.register_forward_pre_hook(
            lambda *_, count=count: count.__setitem__(0, count[0] + torch.is_grad_enabled())
        )
        batch, composition = build_batch(random_trajectories(0, vocab=VOCAB)), composition_of("grpo")
        updater.gradient(batch.with_view(composition.advantage(batch.view)), composition)
        gradients.append(flat_gradient(updater.module))
        calls.append(count[0])
        assert not updater.module.training
    assert calls[1] == 2 * calls[0] > 0
    assert torch.equal(*gradients)
