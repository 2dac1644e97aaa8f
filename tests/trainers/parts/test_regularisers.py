"""The divergence from a reference, and the entropy bonus."""

import math

import pytest
import torch

from agentrl.errors import ConfigError
from agentrl.trainers.parts.regularisers import (
    ENTROPY_BONUS,
    KL,
    EntropyBonusConfig,
    KLConfig,
    gradient_size,
    kl_estimate,
)
from agentrl.trainers.step_view import Term
from tests.builders import view_of


@pytest.mark.parametrize(
    ("estimator", "value", "gradient"),  # d = logp - reference = -0.5
    [
        ("k1", -0.5, 1.0),
        ("k2", 0.125, -0.5),
        ("k3", math.exp(0.5) - 1 - 0.5, 1 - math.exp(0.5)),
        ("abs", 0.5, -1.0),
    ],
)
def test_an_estimate_by_hand(estimator, value, gradient):
    logp = torch.tensor([-1.5], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([-1.0], dtype=torch.float64)
    for straight_through, expected in ((False, gradient), (True, -0.5)):
        got = kl_estimate(logp, reference, estimator, straight_through)
        assert got.item() == pytest.approx(value)
        assert torch.autograd.grad(got.sum(), logp)[0].item() == pytest.approx(expected)


def test_k3_is_never_negative_and_bounded():
    logp = torch.linspace(-50, 0, 101, dtype=torch.float64)
    got = kl_estimate(logp, torch.full_like(logp, -25.0), "k3")
    assert got.min().item() == 0.0
    assert got.max().item() == 10.0


def test_terms_carry_their_coefficient_as_weight():
    view = view_of([[[2]]], current=[-1.0, -2.0], reference=[-1.0, -1.0], entropy=[0.5, 0.25])
    kl = KL.bind(view, KLConfig(coef=0.04, estimator="k1"), None)
    assert kl.values.tolist() == [0.0, -1.0]
    assert kl.weight == 0.04
    bonus = ENTROPY_BONUS.bind(view, EntropyBonusConfig(coef=0.1), None)
    assert bonus.values.tolist() == [-0.5, -0.25]
    assert bonus.weight == 0.1
    assert KL.metrics(view, KLConfig(), None) == {"kl/from_reference": pytest.approx((math.e - 2) / 2)}


@pytest.mark.parametrize("config", [KLConfig, EntropyBonusConfig])
def test_a_negative_coefficient_is_refused(config):
    with pytest.raises(ConfigError, match="coef"):
        config(coef=-0.1)


def test_the_size_of_a_gradient_by_hand():
    numbers = torch.tensor([1.0, 2.0], requires_grad=True)
    term = Term(numbers.square(), weight=0.5)
    assert gradient_size(term, torch.tensor([1.0, 1.0]), numbers) == pytest.approx(5**0.5)
    assert gradient_size(Term(torch.ones(2)), torch.ones(2), numbers) == 0.0
