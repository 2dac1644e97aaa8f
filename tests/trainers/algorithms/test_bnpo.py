"""BNPO: its special cases, and our rules where the released code gives no number."""

import math

import pytest
import torch
from hypothesis import given, settings

from agentrl.errors import ConfigError
from agentrl.trainers.algorithms.bnpo import (
    BETA_NORM,
    BNPO,
    BetaNormConfig,
    beta_norm,
    beta_parameters,
    inverse_density,
)
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.advantages import group_norm
from tests.builders import view_of
from tests.strategies import views

SHARES = torch.tensor([0.1, 0.5, 0.8]).double()


def test_alpha_and_beta_one_weigh_nothing():
    assert inverse_density(SHARES, 1.0, 1.0, 1e6).tolist() == pytest.approx([1.0] * 3)


def test_alpha_and_beta_three_halves_are_grpos_population_deviation_times_pi_over_eight():
    expected = math.pi / 8 / (SHARES * (1 - SHARES)).sqrt()
    torch.testing.assert_close(inverse_density(SHARES, 1.5, 1.5, 1e6), expected)


def test_moments_by_hand():
    p = torch.tensor([0.25, 0.5]).double()
    mean, variance = 0.375, 0.03125
    c = mean * (1 - mean) / variance - 1
    assert beta_parameters(p) == pytest.approx((1 + c * mean / 3, 1 + c * (1 - mean) / 3))


@pytest.mark.parametrize("p", [[], [0.5], [0.5, 0.5], [1.0, 1.0], [0.0, 1.0]])
def test_without_a_fit_there_is_no_normalisation(p):
    assert beta_parameters(torch.tensor(p).double()) == (1.0, 1.0)


@settings(max_examples=40)
@given(view=views())
def test_one_group_of_binary_scores_is_reinforce_with_the_groups_mean(view):
    score = (view.score > 0).to(view.score)
    group, counted = torch.zeros_like(view.group_of_trajectory), view.in_statistics
    got = beta_norm(score, group, counted, 1)
    torch.testing.assert_close(got, group_norm(score, group, counted, 1, std=False))


def test_solved_and_failed_groups_get_exactly_nothing_whatever_the_weight():
    share = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0, 0.0]).double()
    group = torch.tensor([0, 0, 1, 1, 2, 2])
    got = beta_norm(share, group, torch.ones(6, dtype=torch.bool), 3)
    assert got[:4].tolist() == [0.0] * 4
    assert got[4] > 0 > got[5]


def test_a_group_of_one_is_in_no_moment_and_gets_nothing():
    share = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.0, 1.0]).double()
    group = torch.tensor([0, 0, 1, 1, 1, 2])
    counted = torch.ones(6, dtype=torch.bool)
    alone, without = beta_norm(share, group, counted, 3), beta_norm(share[:5], group[:5], counted[:5], 2)
    assert torch.equal(alone[:5], without)
    assert alone[5] == 0
    assert not torch.equal(beta_norm(share, group, counted, 3, singleton="raw")[:5], without)


def test_returns_outside_the_range_are_refused_with_the_setting():
    view = view_of([[[1], [1]]], score=[2.0, 0.0])
    with pytest.raises(ConfigError, match=r"settings\.beta-norm\.low and high"):
        compose(BNPO).advantage(view)
    view = view.with_fields(returns=view.score)
    assert BETA_NORM.bind(view, BetaNormConfig(high=2.0), None).tolist() == [0.5, -0.5]
