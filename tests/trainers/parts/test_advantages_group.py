"""Advantages against a mean by length, scaled by signal, of the best alone, and by components of the score."""

import pytest
import torch
from hypothesis import given, settings

from agentrl.errors import ConfigError
from agentrl.registry import load
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.advantages import group_norm
from agentrl.trainers.parts.advantages_components import DECOMPOSED, DecomposedConfig
from agentrl.trainers.parts.advantages_group import above_mean_by_length, best_alone, signal_scaled
from tests.builders import view_of
from tests.strategies import views

ONE_GROUP = torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.bool), 1


def test_above_the_mean_by_length_every_token_counts_the_same():
    value, length = torch.tensor([1.0, 0.0, 0.0]).double(), torch.tensor([1.0, 2.0, 1.0]).double()
    assert above_mean_by_length(value, length, *ONE_GROUP).tolist() == [0.75, -0.25, -0.25]


def test_above_the_mean_by_length_a_group_without_tokens_has_baseline_zero():
    value, nothing = torch.tensor([1.0, 0.0, 0.0]).double(), torch.zeros(3).double()
    assert above_mean_by_length(value, nothing, *ONE_GROUP).tolist() == [1.0, 0.0, 0.0]


def test_signal_scaled_grows_with_the_share_of_zeros():
    value = torch.tensor([1.0, 0.0, 0.0]).double()
    expected = [3 * 2 / 3, -1.0, -1.0]  # three members, one of them not 0
    assert signal_scaled(value, *ONE_GROUP).tolist() == pytest.approx(expected)
    assert signal_scaled(value, *ONE_GROUP, divisor=2.0).tolist() == pytest.approx([x / 2 for x in expected])


def test_only_the_best_is_paid_and_a_tie_for_the_best_is_not():
    value = torch.tensor([0.2, 1.0, 0.5]).double()
    assert best_alone(value, *ONE_GROUP, std=False).tolist() == [0.0, 0.5, 0.0]
    assert best_alone(torch.tensor([1.0, 1.0, 0.5]).double(), *ONE_GROUP).tolist() == [0.0, 0.0, 0.0]
    spread = float(value.std())
    assert best_alone(value, *ONE_GROUP)[1].item() == pytest.approx(0.5 / (spread + 1e-6))


@pytest.mark.parametrize("name", ["above-mean-by-length", "signal-scaled", "best-alone"])
@settings(max_examples=30)
@given(view=views())
def test_equal_scores_and_lone_members_give_exactly_nothing(name, view):
    view = view.with_fields(score=torch.full_like(view.score, 0.1), singleton="zero")
    got = compose(load("algorithm", "grpo"), {"advantage": name}).advantage(view).advantage
    assert not got.any()


def with_components(view, **components):
    return view.with_fields(components={name: torch.tensor(value).double() for name, value in components.items()})


def decomposed(view, **settings):
    return DECOMPOSED.bind(view, DecomposedConfig(**settings), None)


def test_each_component_is_compared_on_its_own_and_the_mean_is_taken():
    view = with_components(view_of([[[1], [1]]]), right=[1.0, 0.0], form=[0.0, 3.0])
    a = 0.5 / (0.5**0.5 + 1e-6)
    b = 1.5 / (4.5**0.5 + 1e-6)
    assert decomposed(view).tolist() == pytest.approx([(a - b) / 2, (b - a) / 2])
    weighed = decomposed(view, estimator_settings={"std": False}, weights={"right": 2.0, "form": 1.0})
    assert weighed.tolist() == pytest.approx([2 * 0.5 - 1.5, -2 * 0.5 + 1.5])


def test_one_component_that_is_the_score_is_the_estimator_itself():
    view = view_of([[[1], [2], [1]]], score=[1.0, 0.0, 1.0])
    view = with_components(view, all=[1.0, 0.0, 1.0])
    counted = torch.ones(3, dtype=torch.bool)
    plain = group_norm(view.score, view.group_of_trajectory, counted, 1)[view.trajectory_of_token]
    assert torch.equal(decomposed(view), plain)


def test_components_that_no_world_tells_are_refused_with_what_there_is():
    view = view_of([[[1], [1]]])
    with pytest.raises(ConfigError, match="this world tells: none"):
        decomposed(view)
    with pytest.raises(ConfigError, match="component 'taste'.*tells: right"):
        decomposed(with_components(view, right=[1.0, 0.0]), weights={"taste": 1.0})


@pytest.mark.parametrize("name", ["gae", "mixed-value-at-risk", "decomposed", "kl"])
def test_what_has_a_critic_or_a_state_cannot_be_decomposed(name):
    with pytest.raises(ConfigError, match="cannot be decomposed"):
        DecomposedConfig(estimator=name)
