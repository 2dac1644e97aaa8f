"""D3S: the choice of rollouts against every subset, the choice of tokens, and GRPO where everything is kept."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrl.trainers.algorithms.d3s import D3S, kept_tokens, scheduled, widest
from agentrl.trainers.algorithms.grpo import GRPO
from agentrl.trainers.composition import compose
from tests.builders import view_of
from tests.strategies import views


def best_of_all_subsets(value, num):
    """By trying them: the largest population variance, and of those that tie the first list of places."""

    def variance(subset):
        mean = sum(value[i] for i in subset) / num
        return sum((value[i] - mean) ** 2 for i in subset) / num

    found = {subset: variance(subset) for subset in itertools.combinations(range(len(value)), num)}
    top = max(found.values())
    return list(min(subset for subset, v in found.items() if v > top - 1e-12))


@settings(max_examples=80)
@given(value=st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=2, max_size=7), data=st.data())
def test_the_widest_subset_is_that_of_all_subsets(value, data):
    num = data.draw(st.integers(1, len(value) - 1))
    expected = [] if min(value) == max(value) else best_of_all_subsets(value, num)
    assert widest(value, num) == expected


def test_no_variance_keeps_none_unless_everything_is_kept():
    assert widest([1.0, 1.0, 1.0], 2) == []
    assert widest([1.0, 1.0, 1.0], 3) == [0, 1, 2]


def test_of_the_candidates_the_share_with_the_largest_score_is_kept():
    score = torch.tensor([5.0, 1.0, 3.0, 3.0, 9.0]).double()
    candidates = torch.tensor([True, True, True, True, False])
    got = kept_tokens(score, candidates, 50.0, torch.arange(5))
    assert got.tolist() == [True, False, True, False, False]
    assert kept_tokens(score, candidates, 51.0, torch.arange(5)).sum() == 3


def test_the_schedule_goes_from_the_first_value_to_the_last():
    assert [scheduled(2, 8, p) for p in (0, 0.5, 1)] == [2, 5, 8]


ALL = {"initial_rollouts": 100, "final_rollouts": 100, "initial_percent": 100}


@settings(max_examples=40)
@given(view=views())
def test_with_everything_kept_it_is_grpo_bit_for_bit(view):
    ours, grpo = compose(D3S, settings={"d3s": ALL}), compose(GRPO)
    one, other = ours.advantage(view), grpo.advantage(view)
    assert torch.equal(one.trained, other.trained)
    assert torch.equal(one.advantage, other.advantage)
    assert ours.loss(one)[0].item() == grpo.loss(other)[0].item()


def test_denominators_are_over_what_is_kept():
    view = view_of(
        [[[1], [1], [1], [1]]],
        score=[1.0, 0.0, 1.0, 0.0],
        old=[-1.0] * 4,
        current=[-1.0] * 4,
        sampled_entropy=[1.0] * 4,
    )
    composition = compose(D3S, settings={"d3s": {"initial_rollouts": 2, "initial_percent": 100}})
    kept = composition.advantage(view)
    assert kept.trained.tolist() == [True, True, False, False]
    assert composition.weights(kept, "token").tolist() == [0.5, 0.5, 0.0, 0.0]
    assert composition.metrics(kept)["d3s/kept_rollouts"] == pytest.approx(0.5)
