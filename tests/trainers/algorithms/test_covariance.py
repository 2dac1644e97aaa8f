"""Clip-Cov and KL-Cov: who is chosen, what happens to them, and where the papers' claims reduce."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrl.errors import ConfigError
from agentrl.registry import load
from agentrl.trainers.algorithms.clip_cov import CLIP_COV, CLIP_COV_SURROGATE, ClipCovConfig, candidates
from agentrl.trainers.algorithms.kl_cov import KL_COV, KLCovConfig
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.covariance import token_covariance
from tests.builders import view_of
from tests.strategies import views


def gradient_of(algorithm, view, **settings):
    current = view.current.clone().requires_grad_()
    composition = compose(algorithm, settings=settings)
    loss, _ = composition.loss(view.with_fields(current=current))
    (gradient,) = torch.autograd.grad(loss, current)
    return gradient


def four_tokens(**fields):
    """cov is 2, 2, 1 and 1: advantages are about 0, log-probs about -2."""
    return view_of(
        [[[4]]],
        current=[-4.0, 0.0, -1.0, -3.0],
        old=[-4.0, 0.0, -1.0, -3.0],
        advantage=[-1.0, 1.0, 1.0, -1.0],
        **fields,
    )


def test_covariance_by_hand():
    view = four_tokens()
    assert token_covariance(view.current, view.advantage, view.trained).tolist() == [2.0, 2.0, 1.0, 1.0]
    only = torch.tensor([True, True, False, False])
    assert token_covariance(view.current, view.advantage, only).tolist() == [2.0, 2.0, 0.0, 0.0]


def test_members_that_are_equal_have_none():
    third = torch.full((3,), 1 / 3, dtype=torch.float64)
    assert token_covariance(torch.randn(3).double(), third, torch.ones(3, dtype=torch.bool)).tolist() == [0.0] * 3


def test_candidates_are_inside_the_bounds_by_value_or_by_order():
    covariance, free = torch.tensor([0.5, 1.5, 3.0, 9.0]), torch.tensor([True, True, True, True])
    assert candidates(covariance, free, ClipCovConfig()).tolist() == [False, True, True, False]
    quantiles = ClipCovConfig(low=0.7, high=1.0, bounds="quantile")
    assert candidates(covariance, free, quantiles).tolist() == [False, False, True, True]
    assert candidates(covariance, free & (covariance < 2), ClipCovConfig()).tolist() == [False, True, False, False]


def test_clip_cov_takes_one_candidate_at_least_and_keeps_it_in_the_denominator():
    settings = {"low": 1.5, "high": 5.0}
    gradient = gradient_of(CLIP_COV, four_tokens(), **{"clip-cov": settings})
    assert sorted(gradient.abs().tolist()) == [0.0, 0.25, 0.25, 0.25]
    assert not gradient[2:].eq(0).any()
    both = gradient_of(CLIP_COV, four_tokens(), **{"clip-cov": settings | {"share": 0.5}})
    assert both.tolist() == pytest.approx([0.0, 0.0, -0.25, 0.25])
    none = gradient_of(CLIP_COV, four_tokens(), **{"clip-cov": {"low": 8.0, "high": 9.0}})
    assert none.tolist() == pytest.approx([0.25, -0.25, -0.25, 0.25])


def test_another_seed_takes_another_candidate():
    settings = {"clip-cov": {"low": 1.5, "high": 5.0}}
    taken = {
        gradient_of(CLIP_COV, four_tokens().with_fields(seed=seed), **settings).eq(0).nonzero().item()
        for seed in range(12)
    }
    assert taken == {0, 1}


def test_kl_cov_holds_the_tokens_with_the_largest_covariance():
    view = four_tokens().with_fields(old=torch.tensor([-4.5, -0.5, -1.0, -3.0], dtype=torch.float64))
    plain = gradient_of(KL_COV, view, **{"kl-cov": {"coef": 0.0}})
    held = gradient_of(KL_COV, view, **{"kl-cov": {"share": 0.5, "coef": 2.0}})
    assert (held - plain).tolist() == pytest.approx([0.5, 0.5, 0.0, 0.0])
    assert plain.tolist() == pytest.approx([math.exp(0.5) / 4, -math.exp(0.5) / 4, -0.25, 0.25])


@settings(max_examples=25)
@given(view=views(), share=st.sampled_from([0.0, 0.3, 1.0]))
def test_at_the_old_policy_kl_cov_is_the_policy_gradient(view, share):
    view = compose(KL_COV).advantage(view.with_fields(old=view.current))
    plain = load("algorithm", "grpo")
    current = view.current.clone().requires_grad_()
    loss, _ = compose(plain, {"surrogate": "policy-gradient"}).loss(view.with_fields(current=current))
    (expected,) = torch.autograd.grad(loss, current)
    torch.testing.assert_close(gradient_of(KL_COV, view, **{"kl-cov": {"share": share}}), expected)


def test_metrics_tell_of_the_selected():
    view = four_tokens(trained=[True, True, True, True])
    shown = CLIP_COV_SURROGATE.metrics(view, ClipCovConfig(low=1.5, share=0.5), None)
    assert shown["covariance/mean"] == 1.5
    assert shown["covariance/max"] == 2.0
    assert shown["covariance/selected_share"] == 0.5
    assert shown["covariance/selected_logprob"] == -2.0
    assert shown["covariance/selected_advantage"] == 0.0


@pytest.mark.parametrize(
    "settings", [{"share": 2.0}, {"low": 6.0}, {"clip_low": 2.0}, {"low": 1.0, "high": 5.0, "bounds": "quantile"}]
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        ClipCovConfig(**settings)
    with pytest.raises(ConfigError, match="share"):
        KLCovConfig(share=-1.0)
