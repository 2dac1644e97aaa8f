"""Aggregates: what each token, turn and trajectory counts."""

import pytest
import torch
from hypothesis import given, settings

from agentrl.registry import load
from agentrl.trainers.parts.aggregates import TokenSumConfig
from tests.builders import view_of
from tests.strategies import views

MEANS = ["token-mean", "turn-mean", "trajectory-mean", "trajectory-mean-of-turn-means"]
LEVELS = ["token", "turn", "trajectory"]


def weights(name, view, level="token", config=None):
    return load("part", name).bind(view, level, config)


@pytest.mark.parametrize(
    ("name", "expected"),  # one trajectory of two turns (2 tokens, 1), one of one turn (1): by hand
    [
        ("token-mean", [1 / 4, 1 / 4, 1 / 4, 1 / 4]),
        ("turn-mean", [1 / 6, 1 / 6, 1 / 3, 1 / 3]),
        ("trajectory-mean", [1 / 6, 1 / 6, 1 / 6, 1 / 2]),
        ("trajectory-mean-of-turn-means", [1 / 8, 1 / 8, 1 / 4, 1 / 2]),
    ],
)
def test_a_mean_by_hand(name, expected):
    torch.testing.assert_close(weights(name, view_of([[[2, 1], [1]]])), torch.tensor(expected).double())


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (TokenSumConfig(), 1.0),
        (TokenSumConfig(mean_over="turn"), 1 / 3),
        (TokenSumConfig(mean_over="trajectory"), 1 / 2),
        (TokenSumConfig(mean_over="trajectory", constant=10), 1 / 20),
    ],
)
def test_a_sum_by_hand(config, expected):
    assert weights("token-sum", view_of([[[2, 1], [1]]]), config=config).tolist() == [expected] * 4


@settings(max_examples=60)
@given(views())
def test_the_weights_of_a_mean_add_up_to_one_on_every_level(view):
    for name in MEANS:
        for level in LEVELS:
            weight = weights(name, view, level)
            assert len(weight) == view.size(level)
            assert weight.sum().item() == pytest.approx(1.0 if view.trained.any() else 0.0)
            assert (weight >= 0).all()


@settings(max_examples=60)
@given(views())
def test_what_carries_no_loss_counts_nothing(view):
    for name in [*MEANS, "token-sum"]:
        weight = weights(name, view, config=TokenSumConfig())
        assert torch.equal(weight > 0, view.trained)


@settings(max_examples=60)
@given(views(min_groups=1))
def test_each_unit_that_carries_loss_counts_the_same(view):
    for name, level in (("turn-mean", "turn"), ("trajectory-mean", "trajectory")):
        weight = weights(name, view, level)
        filled = weight[weight > 0]
        torch.testing.assert_close(filled, torch.full_like(filled, 1 / max(len(filled), 1)))


@settings(max_examples=40)
@given(views())
def test_a_term_on_turns_is_the_term_that_repeats_its_values_for_each_token(view):
    values = torch.arange(view.num_turns, dtype=torch.float64) + 1
    for name in MEANS:
        on_turns = (weights(name, view, "turn") * values).sum()
        on_tokens = (weights(name, view, "token") * values[view.turn_of_token]).sum()
        torch.testing.assert_close(on_turns, on_tokens)


def test_a_turn_without_tokens_is_in_no_count():
    assert weights("turn-mean", view_of([[[2, 0], [1]]]), "turn").tolist() == [0.5, 0.0, 0.5]
    assert weights("trajectory-mean", view_of([[[0], [1]]]), "trajectory").tolist() == [0.0, 1.0]


def test_pairs_count_the_same():
    view = view_of([[[1], [1], [1]]], pairs=[[0, 1], [2, 1]])
    assert weights("token-mean", view, "pair").tolist() == [0.5, 0.5]
    assert weights("token-sum", view, "pair", TokenSumConfig()).tolist() == [1.0, 1.0]
