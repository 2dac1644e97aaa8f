"""Surrogates and the correction for the engine's difference."""

import math

import pytest
import torch

from agentrl.errors import ConfigError
from agentrl.trainers.parts.modifiers import ENGINE_CORRECTION, EngineCorrectionConfig
from agentrl.trainers.parts.surrogates import (
    LIKELIHOOD,
    POLICY_GRADIENT,
    PPO_CLIP,
    PPOClipConfig,
    ppo_clip,
)
from tests.builders import view_of


def loss_and_gradient(ratio, advantage, clip_low=0.2, clip_high=0.2, dual_clip=0.0):
    logp = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
    zero, advantage = torch.zeros(1, dtype=torch.float64), torch.tensor([advantage], dtype=torch.float64)
    loss = ppo_clip(logp, zero, advantage, clip_low, clip_high, dual_clip).loss
    (gradient,) = torch.autograd.grad(loss.sum(), logp)
    return loss.item(), gradient.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),  # clip 0.2 both ways; d loss / d logp is -A r where it is not cut
    [
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.4, 0.0),  # already likelier: held at 1.2
        (0.5, 2.0, -1.0, -1.0),  # less likely, though better: free
        (0.5, -2.0, 1.6, 0.0),  # already less likely: held at 0.8
        (1.5, -2.0, 3.0, 3.0),
        (1.0, 0.0, 0.0, 0.0),
    ],
)
def test_the_clip_by_hand(ratio, advantage, loss, gradient):
    assert loss_and_gradient(ratio, advantage) == pytest.approx((loss, gradient))


def test_each_side_has_its_own_width():
    assert loss_and_gradient(1.5, 1.0, clip_high=0.28)[0] == pytest.approx(-1.28)
    assert loss_and_gradient(0.5, -1.0, clip_low=0.4)[0] == pytest.approx(0.6)


def test_dual_clip_bounds_the_loss_of_a_bad_token_that_became_likely():
    assert loss_and_gradient(5.0, -2.0) == pytest.approx((10.0, 10.0))
    assert loss_and_gradient(5.0, -2.0, dual_clip=3.0) == pytest.approx((6.0, 0.0))
    assert loss_and_gradient(2.0, -2.0, dual_clip=3.0) == pytest.approx((4.0, 4.0))


def test_a_tie_goes_to_the_unclipped_branch():
    assert loss_and_gradient(1.0, 1.0, clip_low=0.0, clip_high=0.0) == (-1.0, -1.0)


def test_a_log_ratio_beyond_twenty_is_clamped_and_has_no_gradient():
    assert loss_and_gradient(math.exp(30), -1.0) == pytest.approx((math.exp(20), 0.0))


@pytest.mark.parametrize("settings", [{"clip_low": -0.1}, {"clip_low": 1.5}, {"clip_high": -1.0}, {"dual_clip": 0.5}])
def test_clips_that_cannot_be_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        PPOClipConfig(**settings)


def test_metrics_count_the_tokens_that_carry_loss():
    view = view_of(
        [[[4]]],
        current=[math.log(1.5), math.log(5.0), 0.0, math.log(9.0)],
        old=[0.0] * 4,
        advantage=[1.0, -1.0, 1.0, 1.0],
        trained=[True, True, True, False],
    )
    shown = PPO_CLIP.metrics(view, PPOClipConfig(), None)
    assert shown["ppo/clip_fraction"] == pytest.approx(1 / 3)
    assert shown["ppo/dual_clip_fraction"] == pytest.approx(1 / 3)
    assert shown["ppo/kl_from_old"] == pytest.approx((0.5 - math.log(1.5) + 4 - math.log(5.0)) / 3)


def test_policy_gradient_and_likelihood_by_hand():
    current = torch.tensor([-1.0, -2.0], dtype=torch.float64, requires_grad=True)
    view = view_of([[[2]]], current=current, advantage=[3.0, -1.0])
    assert POLICY_GRADIENT.bind(view, None, None).values.tolist() == [3.0, -2.0]
    assert LIKELIHOOD.bind(view, None, None).values.tolist() == [1.0, 2.0]
    (gradient,) = torch.autograd.grad(POLICY_GRADIENT.bind(view, None, None).values.sum(), current)
    assert gradient.tolist() == [-3.0, 1.0]


def test_engine_correction_weighs_each_token_and_is_truncated():
    view = view_of([[[3]]], advantage=[1.0, 1.0, -2.0], old=[0.0, 0.0, 0.0], sampled=[math.log(2.0), -3.0, 0.0])
    got = ENGINE_CORRECTION.bind(view, EngineCorrectionConfig(cap=1.5), None)
    assert got.tolist() == pytest.approx([0.5, 1.5, -2.0])
    shown = ENGINE_CORRECTION.metrics(view, EngineCorrectionConfig(cap=1.5), None)
    assert shown["engine/logprob_gap"] == pytest.approx((math.log(2.0) + 3.0) / 3)
    assert shown["engine/truncated_share"] == pytest.approx(1 / 3)
    with pytest.raises(ConfigError, match="cap"):
        EngineCorrectionConfig(cap=0.0)


def test_metrics_of_a_batch_without_a_token_are_zero():
    view = view_of([[[0]]], current=[], old=[], sampled=[], advantage=[])
    assert set(PPO_CLIP.metrics(view, PPOClipConfig(), None).values()) == {0.0}
    assert set(ENGINE_CORRECTION.metrics(view, EngineCorrectionConfig(), None).values()) == {0.0}
