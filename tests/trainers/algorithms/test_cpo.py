"""CPO, SimPO, AlphaPO and ORPO, which read no reference, by hand."""

import math

import pytest
import torch

from agentrl.errors import ConfigError
from agentrl.registry import load
from agentrl.settings import from_mapping
from agentrl.trainers.algorithms.cpo import ReferenceFreeConfig, shaped
from agentrl.trainers.algorithms.orpo import ORPOConfig, log_odds
from agentrl.trainers.composition import compose
from tests.builders import view_of

CHOSEN, REJECTED = [-1.0, -2.0], [-2.5]


def logistic(x):
    return math.log(1 + math.exp(-x))


def taken(algo, section="reference-free", **settings):
    """The loss of one pair: sums -3 and -2.5, means -1.5 and -2.5."""
    composition = compose(load("algorithm", algo), settings={section: settings})
    made = composition.advantage(view_of([[[1, 1], [1]]], score=[1.0, 0.0], current=[*CHOSEN, *REJECTED]))
    loss, _ = composition.loss(made)
    return loss.item(), composition.metrics(made)


def test_cpo_is_a_loss_of_sums_and_the_likelihood_of_the_chosen():
    loss, shown = taken("cpo", beta=0.5)
    assert loss == pytest.approx(logistic(0.5 * -0.5) + 1.5)
    assert taken("cpo", beta=0.5, sft_coef=0.0)[0] == pytest.approx(logistic(0.5 * -0.5))
    assert shown["preference/accuracy"] == 0 and shown["preference/reward_chosen"] == -1.5
    assert "preference/chosen_rising" not in shown


def test_simpo_is_a_loss_of_means_that_wants_a_margin():
    loss, shown = taken("simpo", beta=2.0, gamma=1.5)
    assert loss == pytest.approx(logistic(2 * 1.0 - 1.5))
    assert shown["preference/margin"] == 2 and shown["preference/accuracy"] == 1


def test_the_other_losses_and_wrong_labels():
    assert taken("simpo", loss="hinge", gamma=0.0, beta=0.4)[0] == pytest.approx(1 - 0.4)
    assert taken("simpo", loss="ipo", gamma=0.0, beta=0.25)[0] == pytest.approx((1 - 2) ** 2)
    smoothed = taken("simpo", gamma=0.0, label_smoothing=0.2)[0]
    assert smoothed == pytest.approx(0.8 * logistic(2) + 0.2 * logistic(-2))


def test_alphapo_goes_to_simpo_as_alpha_goes_to_zero_and_is_steeper_for_what_is_unlikely():
    logp = torch.tensor([-0.1, -1.0, -4.0]).double()
    torch.testing.assert_close(shaped(logp, 1e-9), logp, rtol=1e-6, atol=1e-8)
    assert shaped(logp, 0.5)[1].item() == pytest.approx((1 - math.exp(0.5)) / 0.5)
    assert (shaped(logp, 0.5) < logp).all() and (shaped(logp, -0.5) > logp).all()
    assert shaped(torch.tensor([-1e6]), 0.5).isfinite().all()
    assert taken("alphapo")[0] != taken("simpo")[0]


def test_orpo_is_fine_tuning_and_an_odds_ratio():
    loss, shown = taken("orpo", "orpo", beta=0.5)
    p, q = math.exp(-1.5), math.exp(-2.5)
    ratio = math.log(p / (1 - p)) - math.log(q / (1 - q))
    assert shown["orpo/log_odds_ratio"] == pytest.approx(ratio)
    assert loss == pytest.approx(1.5 + 0.5 * logistic(ratio))
    assert taken("orpo", "orpo", beta=0.5, sft_coef=0.0)[0] == pytest.approx(0.5 * logistic(ratio))


def test_odds_are_exact_for_what_is_sure_and_for_what_is_not_and_never_infinite():
    logp = torch.tensor([-1e-4, -0.5, -0.7, -2.0, -50.0]).double().requires_grad_()
    odds = log_odds(logp)
    expected = [m - math.log(-math.expm1(m)) for m in logp.tolist()]
    assert odds.tolist() == pytest.approx(expected, rel=1e-12)
    (slope,) = torch.autograd.grad(odds.sum(), logp)
    assert slope.tolist() == pytest.approx([1 / -math.expm1(m) for m in logp.tolist()], rel=1e-9)
    for sure in (torch.float32, torch.float64):
        assert log_odds(torch.zeros(1, dtype=sure)).isfinite().all()


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (ReferenceFreeConfig, {"beta": 0}, "above 0"),
        (ReferenceFreeConfig, {"loss": "hinge", "gamma": 0.5}, "loss hinge has none"),
        (ReferenceFreeConfig, {"loss": "ipo", "label_smoothing": 0.1}, "loss ipo has none"),
        (ReferenceFreeConfig, {"gamma": -1}, "negative"),
        (ReferenceFreeConfig, {"label_smoothing": 0.5}, "below 0.5"),
        (ReferenceFreeConfig, {"sft_coef": -1}, "negative"),
        (ORPOConfig, {"beta": -1}, "above 0"),
        (ORPOConfig, {"sft_coef": -1}, "negative"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(config, settings, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(config, settings, "settings")
