"""Surrogates of a token's or a sequence's ratio: by hand, and where they are the same."""

import math

import pytest
import torch
from hypothesis import given, settings

from agentrl.errors import ConfigError
from agentrl.registry import load
from agentrl.trainers.parts.surrogates_ratio import (
    CISPOConfig,
    DPPOKLConfig,
    DPPOTVConfig,
    DROConfig,
    SAPOConfig,
    binary_kl,
)
from agentrl.trainers.parts.surrogates_sequence import GMPO, GSPO_CLIP, GMPOConfig, GSPOConfig
from tests.builders import view_of
from tests.strategies import views


def losses(name, view, **settings):
    """Values of the surrogate's term, and the gradient of their sum."""
    part = load("part", name)
    current = view.current.clone().requires_grad_()
    config = part.config(**settings) if part.config else None
    term = part.bind(view.with_fields(current=current), config, None)
    (gradient,) = torch.autograd.grad(term.values.sum(), current)
    return term.values.tolist(), gradient.tolist()


def two_turns(advantage=(1.0, 1.0, 1.0)):
    """One trajectory of two turns, of two tokens and of one; ratios 2, 2 and 1/2."""
    up = math.log(2.0)
    return view_of([[[2, 1]]], current=[-1.0, -2.0, -1.0], old=[-1 - up, -2 - up, -1 + up], advantage=list(advantage))


def test_the_ratio_of_a_sequence_is_that_of_a_reply_or_of_all_replies():
    wide = {"clip_low": 1.0, "clip_high": 9.0}
    assert losses("gspo", two_turns(), **wide)[0] == pytest.approx([-2.0, -2.0, -0.5])
    third = 2 ** (1 / 3)
    values, gradient = losses("gspo", two_turns(), **wide, unit="trajectory")
    assert values == pytest.approx([-third] * 3)
    assert gradient == pytest.approx([-third] * 3)


def test_a_sequence_is_clipped_as_a_whole():
    values, gradient = losses("gspo", two_turns(), clip_low=0.1, clip_high=0.1)
    assert values == pytest.approx([-1.1, -1.1, -0.5])
    assert gradient == pytest.approx([0.0, 0.0, -0.5])
    shown = GSPO_CLIP.metrics(two_turns(), GSPOConfig(clip_high=0.1), None)
    assert shown["gspo/clip_fraction"] == pytest.approx(2 / 3)
    assert shown["gspo/log_ratio"] == pytest.approx(math.log(2.0))


@settings(max_examples=25)
@given(view=views())
def test_gspo_is_grpo_where_every_turn_is_one_token(view):
    single = view_of([[[1] * view.num_tokens]], current=view.current, old=view.old)
    single = single.with_fields(advantage=single.current.sin())
    clip = {"clip_low": 0.2, "clip_high": 0.2}
    of_sequences, of_tokens = losses("gspo", single, **clip), losses("ppo-clip", single, **clip, dual_clip=0.0)
    for got, expected in zip(of_sequences, of_tokens, strict=True):
        assert got == pytest.approx(expected)


def test_gmpo_clips_tokens_and_multiplies_them():
    (first, second), gradient = losses("gmpo", two_turns((1.0, 1.0, -1.0)), clip_low=0.4, clip_high=0.4)
    assert first == pytest.approx(-math.exp(0.4))  # both tokens are held at log-ratio 0.4
    assert second == pytest.approx(math.exp(-0.4))  # a worse token that fell: held too
    assert gradient == [0.0, 0.0, 0.0]
    wide = losses("gmpo", two_turns(), clip_low=2.0, clip_high=2.0)
    assert wide[0] == pytest.approx([-2.0, -0.5])
    assert wide[1] == pytest.approx([-1.0, -1.0, -0.5])
    assert GMPO.metrics(two_turns(), GMPOConfig(), None)["gmpo/clip_fraction"] == pytest.approx(2 / 3)


def test_cispo_bounds_a_weight_and_leaves_every_token_its_gradient():
    values, gradient = losses("cispo", two_turns(), clip_low=0.2, clip_high=0.2)
    assert gradient == pytest.approx([-1.2, -1.2, -0.8])
    assert values == pytest.approx([1.2, 2.4, 0.8])
    shown = load("part", "cispo").metrics(two_turns(), CISPOConfig(clip_low=0.2), None)
    assert shown["cispo/clip_fraction"] == 1.0


def test_an_unclipped_ratio_is_the_policy_gradient_with_a_weight():
    assert losses("ratio", two_turns())[1] == pytest.approx([-2.0, -2.0, -0.5])
    assert load("part", "ratio").metrics(two_turns(), None, None)["ratio/kl_from_old"] > 0


def test_sapo_is_the_policy_gradient_at_the_old_policy_and_closes_away_from_it():
    here = view_of([[[2]]], current=[-1.0, -1.0], old=[-1.0, -1.0], advantage=[1.0, -1.0])
    assert losses("sapo", here)[1] == pytest.approx([-1.0, 1.0])
    far = here.with_fields(current=here.current + 2.0)
    assert abs(losses("sapo", far)[1][0]) < 0.1
    assert losses("sapo", far, tau_positive=0.1)[1][0] < losses("sapo", far)[1][0]


def test_dro_pays_for_the_squared_distance():
    values, gradient = losses("dro", two_turns(), beta=0.5)
    up = math.log(2.0)
    assert values[0] == pytest.approx(1.0 + 0.25 * up**2)
    assert gradient == pytest.approx([-1 + 0.5 * up, -1 + 0.5 * up, -1 - 0.5 * up])


@pytest.mark.parametrize(("name", "config"), [("dppo-tv", DPPOTVConfig), ("dppo-kl", DPPOKLConfig)])
def test_dppo_masks_what_moved_too_far_where_it_is_paid_for(name, config):
    view = view_of([[[3]]], current=[-0.1, -0.1, -1.0], old=[-1.5, -1.5, -1.0], advantage=[1.0, -1.0, 1.0])
    assert losses(name, view)[1] == pytest.approx([0.0, math.exp(1.4), -1.0])
    assert losses(name, view, divergence=9.0)[1][0] == pytest.approx(-math.exp(1.4))
    assert losses(name, view, ratio_cap=2.0)[1][1] == pytest.approx(2.0)
    assert load("part", name).metrics(view, config(), None)["dppo/masked_share"] == pytest.approx(1 / 3)


def test_the_binary_divergence_by_hand():
    q, p = 0.5, 0.25
    expected = q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
    assert binary_kl(torch.tensor([p]).log(), torch.tensor([q]).log()).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (GSPOConfig, {"clip_low": 2.0}),
        (GMPOConfig, {"clip_high": -1.0}),
        (CISPOConfig, {"clip_low": 1.5}),
        (SAPOConfig, {"tau_negative": 0.0}),
        (DROConfig, {"beta": -1.0}),
        (DPPOTVConfig, {"ratio_cap": 1.0}),
        (DPPOKLConfig, {"divergence": -1.0}),
    ],
)
def test_settings_that_cannot_be_are_refused(config, settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        config(**settings)
