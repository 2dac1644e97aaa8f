"""MDPO, RatioNorm and the chi-squared regulariser: their equations by hand."""

import math

import pytest
import torch

from agentrl.errors import ConfigError
from agentrl.trainers.algorithms.chi_squared import (
    CHI_SQUARED_TERM,
    ChiSquaredConfig,
    chi_squared,
    root_of_mean,
    tangent_expm1,
)
from agentrl.trainers.algorithms.mdpo import (
    MDPO_OFF_POLICY_SURROGATE,
    MDPO_SURROGATE,
    MDPOConfig,
    MDPOOffPolicyConfig,
    proximal_weight,
)
from agentrl.trainers.algorithms.ratio_norm import (
    RATIO_NORM_SURROGATE,
    RatioNormConfig,
    gaussian_ratio,
    normalised_log_ratio,
)
from tests.builders import view_of


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("estimator", "loss", "gradient"),
    [
        ("nonnegative", [-1, 1.7163953, -0.6931472], [-1, 2.7163953, -1.6931472]),
        ("plain", [-1, 2.7163953, -1.6931472], [1, 5.7163953, -0.6931472]),
    ],
)
def test_mdpo_by_hand(estimator, loss, gradient):
    logp = numbers(1.0, 1.5, 0.5).log().requires_grad_()
    view = view_of([[[3]]], current=logp, old=[0.0, 0.0, 0.0], advantage=[1.0, -1.0, 2.0])
    improvement, proximal = MDPO_SURROGATE.bind(view, MDPOConfig(coef=2.0, estimator=estimator), None)
    total = improvement.values + proximal.weight * proximal.values
    (by_logp,) = torch.autograd.grad(total.sum(), logp)
    assert total.tolist() == pytest.approx(loss, abs=1e-7)
    assert by_logp.tolist() == pytest.approx(gradient, abs=1e-7)


def test_the_proximal_weight_grows_hyperbolically_to_its_floor():
    linear = MDPOConfig(schedule="linear", floor=0.1)
    assert [proximal_weight(k, 4, linear) for k in (0, 2, 3, 4)] == pytest.approx([1, 2, 4, 10])
    assert proximal_weight(3, 4, MDPOConfig(coef=0.5)) == 0.5


def test_mdpo_shows_how_far_it_went():
    view = view_of([[[2]]], current=[math.log(0.5), 0.0], old=[0.0, 0.0], advantage=[0.0, 0.0])
    shown = MDPO_SURROGATE.metrics(view, MDPOConfig(), None)
    assert (shown["mdpo/ratio_min"], shown["mdpo/ratio_max"]) == (0.5, 1.0)
    assert shown["mdpo/kl_from_old"] == pytest.approx((0.5 * math.log(0.5) + 0.5) / 2)


def off_policy(logp, old, sampled, advantage, **settings):
    """[N] what the loss's terms come to together, a token; without a cap where none is given."""
    config = MDPOOffPolicyConfig(**{"cap": 1e9, "estimator": "plain", **settings})
    view = view_of([[[len(old)]]], current=logp, old=old, sampled=sampled, advantage=advantage)
    improvement, proximal = MDPO_OFF_POLICY_SURROGATE.bind(view, config, None)
    return improvement.values + proximal.weight * proximal.values


@pytest.mark.parametrize("estimator", ["nonnegative", "plain"])
def test_mdpo_off_policy_on_what_was_just_sampled_is_the_on_policy_form(estimator):
    logp, old, advantage = numbers(-1.0, -2.0, -0.3), numbers(-1.2, -1.5, -0.3), numbers(1.0, -1.0, 2.0)
    view = view_of([[[3]]], current=logp, old=old, advantage=advantage)
    terms = MDPO_SURROGATE.bind(view, MDPOConfig(coef=2.0, estimator=estimator), None)
    expected = sum(term.weight * term.values for term in terms)
    got = off_policy(logp, old, old, advantage, coef=2.0, estimator=estimator)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("coef", "entropy_coef"), [(1.0, 0.0), (2.0, 0.2), (0.2, 0.2)])
@pytest.mark.parametrize("estimator", ["nonnegative", "plain"])
def test_mdpo_off_policy_is_in_the_mean_over_what_sampled_the_loss_of_the_released_code(coef, entropy_coef, estimator):
    """Over four actions of one state: sum of p (c log p + (lambda - c) log p_old - Q), and its gradient."""
    logits = numbers(0.3, -0.5, 1.0, 0.1).requires_grad_()
    old, sampled = numbers(0.1, 0.2, 0.3, 0.4).log(), numbers(0.4, 0.1, 0.2, 0.3).log()
    q = numbers(1.0, -0.5, 0.2, 0.0)
    logp = logits.log_softmax(0)
    exact = (logp.exp() * (coef * logp + (entropy_coef - coef) * old - q)).sum()
    values = off_policy(logp, old, sampled, q, coef=coef, entropy_coef=entropy_coef, estimator=estimator)
    mean = (sampled.exp() * values).sum()
    assert mean.item() == pytest.approx(exact.item())
    (expected,) = torch.autograd.grad(exact, logits, retain_graph=True)
    (got,) = torch.autograd.grad(mean, logits)
    torch.testing.assert_close(got, expected)


def test_mdpo_off_policy_with_equal_weights_does_not_know_the_old_policy_as_sac_does_not():
    logp, sampled, q = numbers(-1.0, -0.7, -2.0), numbers(-1.1, -0.4, -1.9), numbers(1.0, 0.0, -1.0)
    losses = [
        off_policy(logp, old, sampled, q, coef=0.2, entropy_coef=0.2)
        for old in (numbers(-1.0, -0.5, -2.0), numbers(-3.0, -0.1, -0.2))
    ]
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(losses[0], (logp - sampled).exp() * (0.2 * logp - q))


def test_the_weight_of_old_tokens_is_cut_off_and_shown():
    old, sampled = [0.0, 0.0, -1.0], [-2.0, 0.0, 0.0]
    view = view_of([[[3]]], current=old, old=old, sampled=sampled, advantage=[1.0, 1.0, 1.0])
    improvement, _ = MDPO_OFF_POLICY_SURROGATE.bind(view, MDPOOffPolicyConfig(), None)
    assert improvement.values.tolist() == pytest.approx([-2.0, -1.0, -math.exp(-1)])
    shown = MDPO_OFF_POLICY_SURROGATE.metrics(view, MDPOOffPolicyConfig(), None)
    assert shown["mdpo/capped_share"] == pytest.approx(1 / 3)
    assert shown["mdpo/age_weight"] == pytest.approx((3 + math.exp(-1)) / 3)


def test_the_papers_own_ratio_norm_by_hand():
    assert gaussian_ratio(numbers(-0.03), numbers(4e-4), numbers(0.1)).item() == pytest.approx(0.9990005, abs=1e-7)


def test_log_ratios_are_centred_and_scaled_by_their_bin():
    log_ratio, bins = numbers(0.0, 0.2, -1.0, 1.0, 0.7), torch.tensor([0, 0, 1, 1, 2])
    got = normalised_log_ratio(log_ratio, bins, torch.ones(5, dtype=torch.bool), 3)
    spread = log_ratio.std()
    half = (spread / math.sqrt(2)).item()
    assert got.tolist() == pytest.approx([-half, half, -half, half, 0.7])  # the last is alone in its bin
    equal = normalised_log_ratio(numbers(0.3, 0.3, 0.9), torch.zeros(3, dtype=torch.int64), numbers(1, 1, 0) > 0, 1)
    assert equal.tolist() == pytest.approx([0.0, 0.0, 0.6])


@pytest.mark.parametrize(("bins", "moved"), [("batch", False), ("turn", True), ("tenth", True)])
def test_what_is_compared_can_be_chosen(bins, moved):
    """Two turns whose log-ratios differ by a constant: in bins of a turn, or of a place in it, they are as one."""
    log_ratio = [0.1, 0.3, 0.5, 0.1, 0.4, 0.9]
    view = view_of([[[3, 3]]], current=log_ratio, old=[0.0] * 6, advantage=[1.0] * 6)
    plain = normalised_log_ratio(view.current, torch.zeros(6, dtype=torch.int64), view.trained, 1)
    wide = RatioNormConfig(bins=bins, clip_low=1.0, clip_high=9.0)
    got = -RATIO_NORM_SURROGATE.bind(view, wide, None).values
    assert (not torch.allclose(got, plain.exp())) is moved
    assert RATIO_NORM_SURROGATE.metrics(view, RatioNormConfig(), None)["ratio_norm/log_ratio_mean"] > 0


def test_chi_squared_by_hand():
    log_ratio = numbers(0.2, -0.1, 0.0)
    assert chi_squared(log_ratio, 10.0).mean().item() == pytest.approx(0.01671395, abs=1e-8)
    assert chi_squared(log_ratio, 10.0).tolist() == pytest.approx((2 * log_ratio.cosh() - 2).tolist())
    rooted = root_of_mean(chi_squared(log_ratio, 10.0), numbers(1, 1, 1) > 0)
    assert rooted.mean().item() == pytest.approx(0.1292824, abs=1e-7)


def test_beyond_the_clip_the_exponential_goes_on_as_its_tangent():
    x = numbers(2.0, 3.0).requires_grad_()
    values = tangent_expm1(x, 2.0)
    assert values.tolist() == pytest.approx([math.exp(2) - 1, 2 * math.exp(2) - 1])
    (slope,) = torch.autograd.grad(values.sum(), x)
    assert slope.tolist() == pytest.approx([math.exp(2)] * 2)
    assert tangent_expm1(numbers(1000.0), 10.0).isfinite().all()


def chi_squared_term(view, **settings):
    current = view.current.clone().requires_grad_()
    term = CHI_SQUARED_TERM.bind(view.with_fields(current=current), ChiSquaredConfig(**settings), None)
    return term, current


def test_the_root_has_the_gradient_of_the_whole_batch():
    view = view_of([[[1, 1], [1]]], current=[0.1, 0.3, -0.2], reference=[0.0, 0.0, 0.0])
    term, current = chi_squared_term(view)
    (gradient,) = torch.autograd.grad((term.values / 2).sum(), current)
    root = math.sqrt((2 * math.cosh(0.4) - 2 + 2 * math.cosh(0.2) - 2) / 2)
    expected = [2 * math.sinh(x) / (2 * root) / 2 for x in (0.4, 0.4, -0.2)]
    assert (term.values.sum() / 2).item() == pytest.approx(root)
    assert gradient.tolist() == pytest.approx(expected)
    assert chi_squared_term(view, per_token=True)[0].values[0] != term.values[0]


def test_at_the_reference_the_term_is_a_constant():
    term, _ = chi_squared_term(view_of([[[2]]], current=[-1.0, -1.0], reference=[-1.0, -1.0]))
    assert term.values.tolist() == [0.01]
    assert not term.values.requires_grad


def test_chi_squared_shows_its_statistics():
    view = view_of([[[1], [1]]], current=[12.0, 0.0], reference=[0.0, 0.0])
    shown = CHI_SQUARED_TERM.metrics(view, ChiSquaredConfig(), None)
    assert shown["chi_squared/clipped_above"] == 0.5
    assert shown["chi_squared/clipped_below"] == 0.0
    assert shown["chi_squared/root"] == pytest.approx(math.sqrt(shown["chi_squared/chi2"]))


def test_settings_that_cannot_be_are_refused():
    for config, settings in (
        (MDPOConfig, {"floor": 0.0}),
        (MDPOOffPolicyConfig, {"floor": 0.0}),
        (MDPOOffPolicyConfig, {"cap": 0.0}),
        (MDPOOffPolicyConfig, {"entropy_coef": -1.0}),
        (RatioNormConfig, {"clip_low": 2.0}),
        (ChiSquaredConfig, {"clip": 0.0}),
    ):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            config(**settings)
