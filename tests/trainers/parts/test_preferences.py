"""The losses of the DPO family by hand, and the identities between them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentrl.errors import ConfigError
from agentrl.registry import load
from agentrl.settings import from_mapping
from agentrl.trainers.composition import compose
from agentrl.trainers.parts import preferences as losses
from agentrl.trainers.parts.preference_metrics import reward_metrics
from agentrl.trainers.parts.surrogates_preference import LOSSES, PreferenceConfig, likelihood_weight
from tests.builders import view_of
from tests.strategies import examples

MARGINS = st.lists(st.floats(-50, 50), min_size=1, max_size=6)
SMOOTHING = st.floats(0, 0.49)
LOG2 = math.log(2)


def doubles(values, **kwargs):
    return torch.tensor(values, dtype=torch.float64, **kwargs)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def one_pair(chosen=(-1.0, -2.0), rejected=(-3.0,), reference=(-1.5, -1.5, -2.0), **fields):
    """A chosen trajectory of two turns of a token each and a rejected one: a = 0, r = -1 unless said otherwise."""
    groups = [[[1] * len(chosen), [1] * len(rejected)]]
    current = doubles([*chosen, *rejected], requires_grad=True)
    return view_of(groups, score=[1.0, 0.0], current=current, reference=list(reference), **fields)


def loss_of(view, algo="dpo", parts=None, **settings):
    composition = compose(load("algorithm", algo), parts, {"preference": settings} if settings else None)
    made = composition.advantage(view)
    loss, _ = composition.loss(made)
    return loss, composition.metrics(made)


def test_dpo_by_hand():
    view = one_pair()
    loss, shown = loss_of(view, beta=0.5)
    (gradient,) = torch.autograd.grad(loss, view.current)
    push = 0.5 / (1 + math.exp(0.5))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.5)))
    assert gradient.tolist() == pytest.approx([-push, -push, push])
    assert shown["preference/margin"] == pytest.approx(0.5)
    assert shown["preference/accuracy"] == 1 and shown["preference/negative_margin"] == 0
    assert shown["preference/gradient_scale"] == pytest.approx(1 / (1 + math.exp(0.5)))
    assert (shown["preference/logp_chosen"], shown["preference/logp_rejected"]) == (-3, -3)


AT_THE_REFERENCE = {
    "sigmoid": LOG2,
    "sigmoid_norm": LOG2,
    "hinge": 1,
    "ipo": 1 / (4 * 0.2**2),
    "robust": LOG2,
    "exo_pair": -LOG2 - (math.log(0.9) + math.log(0.1)) / 2,
    "nca_pair": 2 * LOG2,
    "bco_pair": 2 * LOG2,
    "sppo_hard": 1 / (2 * 0.2**2),
    "aot": LOG2,
    "aot_unpaired": LOG2,
    "apo_zero": 1,
    "apo_down": 1,
    "discopop": LOG2 / 2 + 1 / 2,
}


@pytest.mark.parametrize("name", LOSSES)
def test_where_the_policy_is_the_reference_a_loss_has_its_known_value_and_no_pair_is_right(name):
    view = one_pair(reference=(-1.0, -2.0, -3.0))
    smoothing = 0.1 if name in ("robust", "exo_pair") else 0.0
    loss, shown = loss_of(view, loss=name, beta=0.2, label_smoothing=smoothing)
    assert loss.item() == pytest.approx(AT_THE_REFERENCE[name])
    assert shown["preference/accuracy"] == shown["preference/chosen_rising"] == 0, "a tie counts as wrong"


@pytest.mark.parametrize("name", LOSSES)
@examples(30)
@given(logps=st.lists(st.floats(-3000, 0), min_size=4, max_size=4), divergence=st.sampled_from(["js", "alpha"]))
def test_no_log_prob_is_so_extreme_that_a_loss_or_its_gradient_is_not_finite(name, logps, divergence):
    diverging = name not in ("nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down")
    settings = {"f_divergence": divergence} if diverging else {}
    view = one_pair(logps[:1], logps[1:2], logps[2:])
    smoothing = 0.1 if name in ("robust", "exo_pair") else 0.0
    loss, shown = loss_of(view, loss=name, label_smoothing=smoothing, **settings)
    (gradient,) = torch.autograd.grad(loss, view.current)
    assert loss.isfinite() and gradient.isfinite().all()
    assert all(map(math.isfinite, shown.values()))


@examples(50)
@given(margin=MARGINS)
def test_robust_and_conservative_dpo_without_wrong_labels_are_dpo(margin):
    close(losses.robust_logistic(doubles(margin), 0.0), losses.logistic(doubles(margin)))
    close(losses.logistic(doubles(margin), 0.0), -torch.nn.functional.logsigmoid(doubles(margin)))


@examples(50)
@given(margin=MARGINS, eps=SMOOTHING)
def test_a_label_that_is_wrong_with_eps_is_the_other_label_wrong_with_the_rest(margin, eps):
    m = doubles(margin)
    close(losses.logistic(m, eps), losses.logistic(-m, 1 - eps))


@examples(50)
@given(margin=MARGINS, eps=st.floats(0, 0.4))
def test_robust_dpo_is_dpo_on_average_over_flipped_labels(margin, eps):
    m = doubles(margin)
    over_flips = (1 - eps) * losses.robust_logistic(m, eps) + eps * losses.robust_logistic(-m, eps)
    torch.testing.assert_close(over_flips, losses.logistic(m), rtol=1e-8, atol=1e-9)


@examples(50)
@given(margin=MARGINS, eps=st.floats(1e-4, 0.49))
def test_exo_is_a_divergence_from_the_label_and_zero_where_the_policy_says_it(margin, eps):
    assert (losses.exact(doubles(margin), eps) >= -1e-12).all()
    at_label = math.log((1 - eps) / eps)
    assert losses.exact(doubles([at_label]), eps).item() == pytest.approx(0, abs=1e-12)


def test_hinge_has_no_gradient_at_its_kink():
    margin = doubles([1.0, 0.5, 2.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.hinge(margin).sum(), margin)
    assert gradient.tolist() == [0, -1, 0]


def test_discopop_far_below_zero_is_the_logistic_loss():
    far = losses.log_ratio_modulated(doubles([-800.0, -1e6]), 0.05)
    assert far.tolist() == [800, 1e6]


@pytest.mark.parametrize("divergence", ["reverse_kl", "forward_kl", "js", "alpha"])
def test_near_the_reference_every_divergence_pulls_as_its_second_derivative_says(divergence):
    """d f'(u) / d log u at u = 1 is f''(1): 1, but 1/2 of JS."""
    ratio = doubles([0.0], requires_grad=True)
    score = losses.divergence_score(ratio, divergence, 0.5)
    (slope,) = torch.autograd.grad(score, ratio)
    assert score.item() == pytest.approx(0, abs=1e-15)
    assert slope.item() == (0.5 if divergence == "js" else 1)


@examples(50)
@given(ratio=st.lists(st.floats(-20, 20), min_size=1, max_size=4))
def test_alpha_divergence_goes_from_forward_to_reverse_kl(ratio):
    x = doubles(ratio)
    close(losses.divergence_score(x, "alpha", 0.0), losses.divergence_score(x, "forward_kl", 0.0))
    close(losses.divergence_score(x, "alpha", 1.0), x)


def test_tokens_beyond_the_shorter_side_count_ld_alpha_whatever_the_order_of_turns():
    view = one_pair(reference=(0.0, 0.0, 0.0))
    turned = view.with_fields(turn_position=torch.tensor([1, 0, 0]))
    for ld_alpha, first, last in ((1.0, -3.0, -3.0), (0.5, -2.0, -2.5), (0.0, -1.0, -2.0)):
        _, shown = loss_of(view, beta=1.0, ld_alpha=ld_alpha)
        assert shown["preference/reward_chosen"] == first
        _, shown = loss_of(turned, beta=1.0, ld_alpha=ld_alpha)
        assert shown["preference/reward_chosen"] == last
        assert shown["preference/reward_rejected"] == -3


def test_tokens_without_loss_are_in_no_sum():
    view = one_pair(trained=[True, False, True])
    _, shown = loss_of(view, beta=1.0)
    assert shown["preference/reward_chosen"] == 0.5 and shown["preference/reward_rejected"] == -1


def test_ipo_takes_means_over_tokens_or_sums():
    view = one_pair(reference=(0.0, 0.0, 0.0))
    assert loss_of(view, loss="ipo", beta=0.5)[0].item() == pytest.approx((-1.5 + 3 - 1) ** 2)
    assert loss_of(view, loss="ipo", beta=0.5, per_token=False)[0].item() == pytest.approx((-3 + 3 - 1) ** 2)


@examples(30)
@given(data=st.data(), num=st.integers(1, 5))
def test_a_pair_that_weighs_twice_is_a_pair_that_stands_twice_for_the_sorted_loss(data, num):
    numbers = st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0]), min_size=num, max_size=num)
    above, below = doubles(data.draw(numbers)), doubles(data.draw(numbers))
    weight = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=num, max_size=num)))
    if not weight.any():
        weight[0] = 1
    got = losses.sorted_logistic(above, below, weight.double(), 0.7, 0.1)
    x, y = (value.repeat_interleave(weight).sort().values for value in (above, below))
    close((weight * got).sum(), losses.logistic(0.7 * (x - y), 0.1).sum())


def test_the_sorted_loss_compares_the_worst_with_the_worst():
    got = losses.sorted_logistic(doubles([5.0, 1.0]), doubles([2.0, 3.0]), doubles([0.5, 0.5]), 1.0, 0.0)
    close(got, losses.logistic(doubles([2.0, -1.0])))


def test_a_pair_that_the_policy_would_have_said_counts_more():
    tokens = torch.tensor([0, 0, 1])
    sure = likelihood_weight(doubles([0.0, 0.0, 0.0]), doubles([1.0, 1.0, 1.0]), tokens, torch.tensor([[0, 1]]))
    assert sure.item() == 1
    got = likelihood_weight(doubles([-1.0, -3.0, -1.0]), doubles([0.5, 0.5, 0.25]), tokens, torch.tensor([[0, 1]]))
    assert got.item() == pytest.approx(math.exp(-2 + LOG2) * math.exp(-1 + 2 * LOG2))
    view = one_pair(trained=[True, True, True]).with_fields(probes={"sum-of-squares": doubles([0.5, 0.5, 0.25])})
    expected = math.exp(-1.5 + LOG2) * math.exp(-3 + 2 * LOG2)
    weighed = loss_of(view, likelihood_weight=True)[0] / loss_of(view)[0]
    assert weighed.item() == pytest.approx(expected)


def test_several_losses_are_added_up_and_the_chosen_are_counted_once():
    view = view_of([[[2], [1], [1]]], score=[1.0, 0.0, 0.5], current=[-1.0, -2.0, -3.0, -5.0], reference=[0.0] * 4)
    every_pair = {"pairing": "all-pairs"}
    alone = loss_of(view, parts=every_pair, loss="sft")[0].item()
    assert alone == pytest.approx((1 + 2 + 5) / 3), "the third stands in two pairs, is chosen in one, and counts once"
    both = loss_of(view, parts=every_pair, loss=["sigmoid", "sft"], weights=[2.0, 0.5])[0].item()
    assert both == pytest.approx(2 * loss_of(view, parts=every_pair)[0].item() + 0.5 * alone)


def test_the_mean_over_pairs_is_by_their_weights_and_nothing_is_zero():
    weight, zero = doubles([0.5, 0.5, 1.0]), doubles([])
    chosen, rejected = doubles([1.0, 1.0, 0.0]), doubles([0.0, 2.0, 0.0])
    shown = reward_metrics((chosen, rejected), (chosen, rejected), weight)
    assert shown["preference/accuracy"] == 0.25 and shown["preference/negative_margin"] == 0.25
    assert shown["preference/reward_chosen"] == 0.5 and shown["preference/margin"] == 0
    assert set(reward_metrics((zero, zero), (zero, zero), zero).values()) == {0.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "sigmod"}, "sigmoid"),
        ({"loss": []}, "empty"),
        ({"loss": ["sigmoid", "sft"], "weights": [1.0]}, "1 numbers for 2 losses"),
        ({"beta": 0}, "above 0"),
        ({"label_smoothing": 0.5}, "below 0.5"),
        ({"loss": "hinge", "label_smoothing": 0.1}, "has none; it is for sigmoid"),
        ({"loss": "exo_pair"}, "1e-3"),
        ({"loss": "apo_zero", "f_divergence": "js"}, "apo_zero is derived for reverse_kl alone"),
        ({"ld_alpha": 1.5}, "from 0 to 1"),
        ({"discopop_temperature": 0}, "above 0"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(settings, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(PreferenceConfig, settings, "settings.preference")
