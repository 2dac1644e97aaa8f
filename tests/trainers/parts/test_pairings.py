"""Pairings: which trajectories of a group are compared, and what each pair counts."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentrl.errors import ConfigError
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.pairings import PairingConfig, all_pairs, best_worst, pairs_within, random_pairs
from agentrl.trainers.step_view import Term
from tests.builders import view_of

COMPARE = Part(
    name="compare", kind="surrogate", bind=lambda view, config, state: Term(view.score[:0]), needs=("pairs",)
)
OF_PAIRS = Algorithm(name="of-pairs", citation="", advantage=None, surrogate=COMPARE)
SCORES = st.lists(st.sampled_from([0.0, 0.2, 0.5, 1.0]), max_size=6)
MARGINS = st.sampled_from([0.0, 0.25, 0.5])


@given(SCORES, MARGINS)
def test_the_better_one_comes_first_and_the_gap_is_above_the_margin(scores, margin):
    for pairs in (best_worst(scores, margin), all_pairs(scores, margin), random_pairs(scores, scores, margin)):
        assert all(scores[a] - scores[b] > margin for a, b in pairs)


@given(SCORES)
def test_all_pairs_has_every_two_that_differ_once(scores):
    found = {frozenset(pair) for pair in all_pairs(scores)}
    assert len(found) == len(all_pairs(scores))
    assert found == {frozenset((i, j)) for i in range(len(scores)) for j in range(i) if scores[i] != scores[j]}


@given(SCORES)
def test_with_ties_every_two_are_compared_and_a_group_of_one_gives_no_pair(scores):
    num = len(scores)
    assert len(all_pairs(scores, ties=True)) == num * (num - 1) // 2
    assert len(best_worst(scores, ties=True)) == (num > 1)
    assert len(random_pairs(scores, range(num), ties=True)) == (num if num > 1 else 0)


def test_a_group_counts_the_same_however_many_pairs_it_gives():
    value, group = torch.tensor([1.0, 0.0, 0.5, 1.0, 0.0]), torch.tensor([0, 0, 0, 1, 1])
    made = pairs_within(value, group, torch.ones(5, dtype=torch.bool), 2, lambda scores, keys: all_pairs(scores))
    assert len(made.pairs) == 4 and made.weight.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])


def test_who_is_first_among_equals_does_not_depend_on_the_order_of_the_batch():
    value, group, key = (
        torch.tensor([1.0, 1.0, 0.0, 0.0]),
        torch.zeros(4, dtype=torch.int64),
        torch.tensor([7, 3, 9, 1]),
    )
    counted = torch.ones(4, dtype=torch.bool)
    made = pairs_within(value, group, counted, 1, lambda scores, keys: best_worst(scores), key)
    turned = torch.tensor([2, 0, 3, 1])
    again = pairs_within(value[turned], group, counted, 1, lambda s, k: best_worst(s), key[turned])
    assert key[made.pairs].tolist() == key[turned][again.pairs].tolist() == [[3, 1]]


def test_who_is_in_no_statistics_or_carries_no_loss_is_in_no_pair():
    composition = compose(replace(OF_PAIRS, pairing="all-pairs"))
    view = view_of([[[1], [1], [1]]], score=[1.0, 0.5, 0.0])
    assert composition.advantage(view).pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    left_out = view.with_fields(in_statistics=torch.tensor([True, False, True]))
    assert composition.advantage(left_out).pairs.tolist() == [[0, 2]]
    silent = view.with_fields(trained=torch.tensor([True, True, False]))
    assert composition.advantage(silent).pairs.tolist() == [[0, 1]]


def test_a_term_of_pairs_without_a_pairing_and_a_pairing_without_such_a_term_are_refused():
    with pytest.raises(ConfigError, match="name a pairing, as parts.pairing=best-worst"):
        compose(OF_PAIRS)
    with pytest.raises(ConfigError, match="no part learns from its pairs"):
        compose(replace(OF_PAIRS, pairing="best-worst", surrogate="likelihood"))


def test_a_negative_margin_is_refused():
    with pytest.raises(ConfigError, match="margin is -1"):
        PairingConfig(margin=-1)
