"""GTPO: conflict runs by hand, its weights, its filter, and GRPO's signs where it does nothing."""

import math

import pytest
import torch
from hypothesis import given, settings

from agentrl.trainers.algorithms.gtpo import GTPO, GTPOConfig, InitialEntropy, runs, threshold_of
from agentrl.trainers.composition import compose
from tests.builders import view_of
from tests.strategies import views


def pair(good, bad, **fields):
    """One group of a right and a wrong reply, with these token ids."""
    given = {
        "score": [1.0, 0.0],
        "target": [*good, *bad],
        "sampled_entropy": [0.0] * (len(good) + len(bad)),
        "old": [-1.0] * (len(good) + len(bad)),
    }
    return view_of([[[len(good)], [len(bad)]]], **(given | fields))


def advantage(view, **settings):
    return compose(GTPO, settings={"gtpo": settings}).advantage(view).advantage.tolist()


def test_what_both_begin_and_end_with_counts_twice_for_the_good_and_not_for_the_bad():
    got = advantage(pair([5, 6, 7, 8], [5, 3, 8]))
    assert got == [1.0, 0.5, 0.5, 1.0, 0.0, -0.5, 0.0]


def test_replies_that_are_equal_conflict_everywhere_once_or_twice():
    assert advantage(pair([5, 6], [5, 6])) == [1.0, 1.0, 0.0, 0.0]
    assert advantage(pair([5, 6], [5, 6]), overlap="multiply") == [2.0, 2.0, 0.0, 0.0]


def test_a_run_ends_at_its_first_token_without_conflict():
    view = pair([5, 6, 7, 9], [5, 3, 7, 4])
    forward, backward = runs(view, torch.tensor([1, -1]), "trajectory")
    assert forward.tolist() == [True, False, False, False] * 2
    assert not backward.any()


def test_replies_of_several_turns_are_one_completion_or_are_compared_turn_by_turn():
    view = view_of(
        [[[1, 1], [2, 1]]], score=[1.0, 0.0], target=[5, 7, 5, 9, 7], sampled_entropy=[0.0] * 5, old=[-1.0] * 5
    )
    assert advantage(view) == [1.0, 1.0, 0.0, -0.5, 0.0]  # 5 is in front of both, 7 at the back
    assert advantage(view, unit="turn") == [1.0, 1.0, 0.0, -0.5, 0.0]
    other = view.with_fields(target=torch.tensor([5, 7, 5, 7, 9]))
    assert advantage(other) == [1.0, 1.0, 0.0, 0.0, -0.5]
    assert advantage(other, unit="turn") == [1.0, 0.5, 0.0, -0.5, -0.5]


def test_undecided_replies_lose_advantage_and_beyond_the_threshold_all_of_it():
    view = pair([5], [6], sampled_entropy=[0.5, 2.0])
    assert advantage(view, gamma=0.2, filter="always") == pytest.approx([0.4, 0.0])
    assert advantage(view, gamma=0.2, filter="never") == pytest.approx([0.4, -0.9])


def test_the_filter_is_open_where_the_run_began_undecided():
    config = GTPOConfig()
    assert threshold_of(config, 0.5) == math.log(2)
    assert threshold_of(config, 0.9) == math.inf
    state = InitialEntropy()
    state.observe(pair([5], [6], sampled_entropy=[1.0, 2.0]))
    state.observe(pair([5], [6], sampled_entropy=[0.0, 0.0]))  # only the first step counts
    restored = InitialEntropy()
    restored.load_state_dict(state.state_dict())
    assert restored.mean == 1.5


@settings(max_examples=40)
@given(view=views())
def test_signs_never_turn_without_the_entropy_term(view):
    composition = compose(GTPO, settings={"gtpo": {"gamma": 0.0, "filter": "never"}})
    plain = compose(GTPO, {"modifiers": "none"}).advantage(view).advantage
    got = composition.advantage(view).advantage
    assert bool((got * plain >= 0).all())
    assert bool((got[plain > 0] >= plain[plain > 0]).all())
