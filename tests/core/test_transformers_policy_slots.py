"""Passes over slots give what the model gives by itself, however slots grow, shrink, move and are mixed."""

import random

import pytest
import torch

from agentrl.policies.slots import (
    Piece,
    PlainDecoder,
    Pool,
    Slot,
    SlotDecoder,
    SlotPools,
    capacity_for,
    choose_decoder,
    slots_that_fit,
)
from tests.models import random_module

VOCABULARY = 64


def steps(decoder: SlotDecoder, module: torch.nn.Module, lengths, *, num_steps=10, num_slots=8, seed=0) -> float:
    """Largest relative difference from plain passes, over random steps of random slots."""
    numbers, plain, worst = random.Random(seed), PlainDecoder(module), 0.0
    slots = [Slot() for _ in range(num_slots)]
    for _ in range(num_steps):
        pieces = []
        for slot in numbers.sample(slots, numbers.randrange(1, num_slots + 1)):
            chance = numbers.random()
            if chance < 0.1:
                decoder.free(slot)
                slot.ids.clear()
            elif chance < 0.3:
                slot.keep_prefix_of(slot.ids, len(slot.ids) // 2)
            pieces.append(Piece(slot, [numbers.randrange(VOCABULARY) for _ in range(numbers.choice(lengths))]))
        whole = [[*piece.slot.ids, *piece.ids] for piece in pieces]
        got = decoder.run(pieces).double()
        alone = plain.run([Piece(Slot(), ids) for ids in whole]).double()
        assert [piece.slot.ids for piece in pieces] == whole
        worst = max(worst, float((got - alone).abs().max() / alone.abs().max()))
    return worst


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_any_mixture_of_prefill_and_decoding_is_right(kv_heads, dtype, bound):
    module = random_module("qwen3", kv_heads=kv_heads, dtype=dtype)
    assert steps(SlotDecoder(module), module, (1, 1, 1, 7, 20, 90)) < bound


def test_long_prompts_are_right():
    module = random_module("qwen3")
    assert steps(SlotDecoder(module), module, (1, 130, 300), num_steps=5, num_slots=4) < 1e-5


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("mistral", {"sliding_window": 6}),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
        ("llama", {}),
        ("qwen2", {}),
        ("olmo2", {}),
        ("gemma3_text", {"sliding_window": 6}),
    ],
)
def test_architectures_that_slots_can_run(architecture, settings):
    module = random_module(architecture, **settings)
    decoder = choose_decoder(module)
    assert isinstance(decoder, SlotDecoder)
    assert steps(decoder, module, (1, 5, 20), num_steps=5) < 1e-5


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("bloom", {"n_head": 4, "n_layer": 2}),
        ("gemma2", {}),
        ("mamba", {}),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}),
    ],
)
def test_architectures_that_slots_cannot_run_are_recognised(architecture, settings):
    assert isinstance(choose_decoder(random_module(architecture, **settings)), PlainDecoder)


def test_the_model_keeps_its_own_attention_outside_of_a_pass():
    module = random_module("qwen3")
    before = module.config._attn_implementation
    choose_decoder(module)
    assert module.config._attn_implementation == before
    assert not torch.is_inference(module(torch.tensor([[1, 2, 3]])).logits)


def test_a_prefix_is_kept_up_to_the_first_difference_and_the_limit():
    for ids, limit, kept in (
        ([1, 2, 3, 4], 9, 3),
        ([1, 2, 3, 4], 2, 2),
        ([1, 9, 3], 9, 1),
        ([9], 9, 0),
        ([1, 2], 1, 1),
    ):
        slot = Slot([1, 2, 3])
        assert slot.keep_prefix_of(ids, limit) == kept == len(slot.ids)


def test_a_slot_that_grows_moves_and_leaves_no_memory_behind():
    module, numbers = random_module("qwen3"), random.Random(0)
    decoder, plain, slot = SlotDecoder(module), PlainDecoder(module), Slot()
    ids: list[int] = []
    for count in (400, 111, 1, 1, 600, 1):
        new = [numbers.randrange(VOCABULARY) for _ in range(count)]
        ids += new
        torch.testing.assert_close(
            decoder.run([Piece(slot, new)]), plain.run([Piece(Slot(), ids)]), atol=1e-4, rtol=1e-4
        )
        assert list(decoder.pools.pools) == [capacity_for(len(ids))]
    decoder.free(slot)
    assert not decoder.pools.pools


def test_capacities_are_few_and_seldom_much_too_large():
    capacities = {capacity_for(length) for length in range(1, 8193)}
    assert len(capacities) <= 24
    assert all(length <= capacity_for(length) <= max(length + 511, length * 3 / 2) for length in range(1, 8193))


def test_no_more_slots_are_kept_than_fit_into_half_of_the_memory():
    assert slots_that_fit(128, 1000, 4096, 100 * 4096 * 1000) == 50
    assert slots_that_fit(16, 1000, 4096, 100 * 4096 * 1000) == 16
    assert slots_that_fit(16, 1000, 4096, 1) == 1


def test_rows_are_taken_lowest_first_and_given_back():
    pools, slots = SlotPools(), [Slot() for _ in range(12)]
    for slot in slots:
        pools.make_room(slot, 10)
    assert [slot.row for slot in slots] == list(range(12))
    for number in (7, 2, 5):
        pools.free(slots[number])
    pools.make_room(slots[5], 10)
    assert slots[5].row == 2 and slots[5].pool is pools.pools[512]


def test_unwritten_places_are_zero_so_that_no_garbage_passes_the_mask():
    pool = Pool(128)
    pool.take_row()
    keys, values = pool.layer(0, torch.zeros(1, 2, 3, 16))
    assert keys.shape == values.shape == (8, 2, 128, 16)
    assert not keys.any() and not values.any()


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-3), (torch.bfloat16, 5e-2)])
def test_a_gpu_runs_the_same_passes(dtype, bound):
    module = random_module("qwen3", dtype=dtype).cuda()
    decoder = choose_decoder(module)
    assert isinstance(decoder, SlotDecoder)
    assert steps(decoder, module, (1, 1, 7, 90, 300)) < bound
