"""Lp-Reg by hand: which tokens the proxy holds up, and what it adds to the loss."""

import math
from typing import Any

import pytest
import torch

from agentrl.errors import ConfigError
from agentrl.trainers.algorithms.lp_reg import LP_REG, LpRegConfig, regularised, smallest
from agentrl.trainers.composition import Composition, compose
from agentrl.trainers.step_view import StepView
from tests.builders import view_of


def composition_of(**settings: Any) -> Composition:
    return compose(LP_REG, settings={"lp-reg": settings})


def view_of_five(**changes: Any) -> StepView:
    """Five tokens, the first two of the good trajectory; the least probable ones are the first and the third."""
    logp = torch.tensor([-5.0, -1.0, -4.0, -3.0, -0.5], dtype=torch.float64)
    keeps = torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    divergence = torch.tensor([0.1, 0.1, 0.2, 0.3, 0.0], dtype=torch.float64)
    view = view_of([[[2], [3]]], current=logp, old=logp, advantage=[1.0, 1.0, -1.0, -1.0, -1.0])
    read = {"proxy-keeps": keeps, "proxy-kl": divergence}
    return view.with_fields(probes=read, sampled_probes=read, **changes)


def test_the_improbable_tokens_of_negative_advantage_that_are_no_noise_are_held_up() -> None:
    assert regularised(view_of_five(), LpRegConfig(share=0.4)).tolist() == [False, False, True, False, False]
    assert regularised(view_of_five(), LpRegConfig(share=0.6)).tolist() == [False, False, True, False, False]
    assert regularised(view_of_five(), LpRegConfig(share=1.0)).tolist() == [False, False, True, False, True]
    assert not regularised(view_of_five(), LpRegConfig(share=0.1)).any()


def test_the_term_is_the_divergence_of_the_proxy_over_all_tokens_of_the_batch() -> None:
    _, terms = composition_of(share=0.4, coef=2.0).loss(view_of_five())
    assert terms["lp-reg-proxy"] == pytest.approx(2.0 * 0.2 / 5)
    _, terms = composition_of(share=0.4, estimator="k3").loss(view_of_five())
    assert terms["lp-reg-proxy"] == pytest.approx((math.exp(0.2) - 1 - 0.2) / 5)


def test_off_policy_the_sampled_estimators_hold_up_what_fell_below_the_proxy_alone() -> None:
    view = view_of_five()
    assert view.old is not None
    risen = view.with_fields(current=view.old + 0.5)
    config = LpRegConfig(share=1.0, estimator="k3")
    assert regularised(view, config).tolist() == [False, False, True, False, False]
    assert not regularised(risen, config).any()


def test_among_the_negatives_a_single_one_is_none() -> None:
    settings: dict[str, Any] = {"scope": "negatives", "estimator": "k3"}
    assert not regularised(view_of_five(), LpRegConfig(share=0.34, **settings)).any()
    assert regularised(view_of_five(), LpRegConfig(share=0.67, **settings)).tolist() == [
        False,
        False,
        True,
        False,
        False,
    ]
    both = LpRegConfig(share=0.67, positive_share=1.0, **settings)
    assert regularised(view_of_five(), both).tolist() == [True, True, True, False, False]


def test_no_more_tokens_than_asked_are_the_smallest_and_ties_go_by_chance() -> None:
    logp = torch.tensor([-1.0, -1.0, -1.0, -2.0])
    chance = torch.tensor([0.3, 0.1, 0.2, 0.9])
    every = torch.ones(4, dtype=torch.bool)
    assert smallest(logp, every, 0.5, chance, single=True).tolist() == [False, True, False, True]
    assert smallest(logp, every, 0.25, chance, single=False).tolist() == [False] * 4


def test_what_is_read_of_the_logits_follows_the_estimator() -> None:
    full, sampled = composition_of(), composition_of(estimator="k3")
    assert full.probes and not full.sampled_probes
    assert sampled.sampled_probes and not sampled.probes
    assert compose(LP_REG, {"surrogate": "ppo-clip"}, {"lp-reg": {"coef": 0.0}}).every_probe == ()


def test_a_share_of_positive_tokens_goes_with_the_scope_that_tells_them_apart() -> None:
    with pytest.raises(ConfigError, match="scope negatives"):
        composition_of(positive_share=0.1)
