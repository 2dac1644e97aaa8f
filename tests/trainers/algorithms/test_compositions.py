"""The algorithms as wholes: their equations by hand, and what must hold of each for any batch (R7)."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentrl.registry import TABLES, load
from agentrl.trainers.composition import compose
from tests.builders import TOKEN_FIELDS, reordered, view_of
from tests.strategies import PROBES, examples, views

EVERYTHING = {"parts": {"modifiers": "+engine-correction"}, "settings": {"kl": {"coef": 0.04}}}
SMOOTHED = {"label_smoothing": 0.1}
VARIANTS = {
    "sft": ("sft", {}),
    "reinforce": ("reinforce", {}),
    "rloo": ("rloo", {"settings": {"kl": {"coef": 0.1, "estimator": "k2"}}}),
    "grpo": ("grpo", {}),
    "grpo, everything": ("grpo", EVERYTHING),
    "grpo, trajectory-mean": ("grpo", {"parts": {"aggregate": "trajectory-mean", "regularisers": "+entropy-bonus"}}),
    "epo": ("epo", {"settings": {"epo": {"entropy_coef": 0.1, "low": 0.8, "high": 1.2}}}),
    "epo, tokens": ("epo", {"settings": {"epo": {"entropy_coef": 0.1, "unit": "token", "low": 0.8, "high": 1.2}}}),
    "gigpo": ("gigpo", {}),
    "ppo": ("ppo", {"parts": {"regularisers": "+entropy-bonus"}}),
    "bilevel-ppo": ("bilevel-ppo", {}),
    "archer": ("archer", {}),
    "gigpo, over turns": ("gigpo", {"settings": {"gigpo": {"unit": "turn", "std": False}}}),
    "gspo": ("gspo", {"settings": {"gspo": {"clip_low": 0.1, "clip_high": 0.1}}}),
    "gspo, trajectories": (
        "gspo",
        {"parts": {"aggregate": "trajectory-mean"}, "settings": {"gspo": {"unit": "trajectory", "clip_low": 0.1}}},
    ),
    "cispo": ("cispo", {"settings": {"cispo": {"clip_low": 0.2}}}),
    "grpo, gmpo": ("grpo", {"parts": {"surrogate": "gmpo", "aggregate": "turn-mean"}}),
    "grpo, sapo": ("grpo", {"parts": {"surrogate": "sapo"}}),
    "grpo, dro": ("grpo", {"parts": {"surrogate": "dro"}}),
    "grpo, dppo-tv": ("grpo", {"parts": {"surrogate": "dppo-tv"}}),
    "grpo, dppo-kl": ("grpo", {"parts": {"surrogate": "dppo-kl"}}),
    "clip-cov": ("clip-cov", {"settings": {"clip-cov": {"share": 0.3, "low": 0.2, "high": 0.9, "bounds": "quantile"}}}),
    "chi-squared": ("chi-squared", {"settings": {"chi-squared": {"coef": 0.1, "clip": 1.0}}}),
    "chi-squared, kl": ("chi-squared", {"settings": {"chi-squared": {"coef": 0.1, "statistic": "kl"}}}),
    "chi-squared, a token": ("chi-squared", {"settings": {"chi-squared": {"coef": 0.1, "per_token": True}}}),
    "grpo, adaptive-kl": ("grpo", {"parts": {"regularisers": "adaptive-kl"}}),
    "grpo, kl-reward": ("grpo", {"parts": {"returns": "reward-sum", "rewards": "kl-reward"}}),
    "mdpo": ("mdpo", {}),
    "mdpo, plain": ("mdpo", {"settings": {"mdpo": {"estimator": "plain", "schedule": "linear"}}}),
    "mdpo-off-policy": ("mdpo-off-policy", {}),
    "mdpo-off-policy, soft": (
        "mdpo-off-policy",
        {"settings": {"mdpo-off-policy": {"estimator": "plain", "entropy_coef": 0.2, "cap": 1.02}}},
    ),
    "reinforce, above-greedy": ("reinforce", {"parts": {"advantage": "above-greedy"}}),
    "grpo, above-greedy to go": (
        "grpo",
        {
            "parts": {"advantage": "above-greedy", "returns": "turn-reward"},
            "settings": {"above-greedy": {"to_go": True}},
        },
    ),
    "ratio-norm": ("ratio-norm", {}),
    "ratio-norm, tenths": ("ratio-norm", {"settings": {"ratio-norm": {"bins": "tenth"}}}),
    "ratio-norm, batch": ("ratio-norm", {"settings": {"ratio-norm": {"bins": "batch"}}}),
    "pf-ppo": ("pf-ppo", {}),
    "pf-ppo, random": ("pf-ppo", {"settings": {"pf-ppo": {"strategy": "best-random"}}}),
    "pf-ppo, drawn": ("pf-ppo", {"settings": {"pf-ppo": {"strategy": "power", "scope": "batch"}}}),
    "empg": ("empg", {}),
    "empg, everything": ("empg", EVERYTHING),
    "eapo": ("eapo", {"settings": {"discounted": {"gamma": 0.5}}}),
    "eapo, down-sampled": ("eapo", {"settings": {"whole-multiple": {"multiple": 2}}}),
    "craft-gui": ("craft-gui", {}),
    "dr-grpo": ("dr-grpo", {}),
    "dapo": ("dapo", {"settings": {"overlong": {"max_length": 8, "buffer": 6}}}),
    "dapo, by turns": ("dapo", {"settings": {"overlong": {"max_length": 4, "unit": "turn"}}}),
    "reinforce-plus-plus": ("reinforce-plus-plus", {"settings": {"return-to-go": {"gamma": 0.9}}}),
    "reinforce-plus-plus-baseline": ("reinforce-plus-plus-baseline", {}),
    "grpo, above-mean-by-length": ("grpo", {"parts": {"advantage": "above-mean-by-length"}}),
    "grpo, signal-scaled": ("grpo", {"parts": {"advantage": "signal-scaled"}}),
    "grpo, best-alone": ("grpo", {"parts": {"advantage": "best-alone"}}),
    "bnpo": ("bnpo", {}),
    "copo": ("copo", {}),
    "copo, with zero": ("copo", {"settings": {"copo": {"blend": "soft_with_zero", "consistency_reward": True}}}),
    "copo, gspo under empg": ("copo", {"parts": {"surrogate": "gspo", "modifiers": "empg"}}),
    "d3s": ("d3s", {"settings": {"d3s": {"initial_rollouts": 2, "final_rollouts": 3, "initial_percent": 50}}}),
    "d3s, over the batch": ("d3s", {"settings": {"d3s": {"initial_rollouts": 3, "batch_rollouts": 4}}}),
    "gtpo": ("gtpo", {"settings": {"gtpo": {"filter": "always", "threshold": 1.5}}}),
    "gtpo, turns": ("gtpo", {"settings": {"gtpo": {"unit": "turn", "overlap": "multiply"}}}),
    "riskpo": ("riskpo", {"settings": {"riskpo": {"bundle": 2}}}),
    "riskpo, by share": ("riskpo", {"settings": {"riskpo": {"bundle": 2, "credit": "sum_mean", "quantiles": "mix"}}}),
    "riskpo, own": ("riskpo", {"settings": {"riskpo": {"bundle": 2, "quantiles": "bundle", "partial": "drop"}}}),
    "lp-reg": ("lp-reg", {"settings": {"lp-reg": {"share": 0.4}}}),
    "lp-reg, sampled": (
        "lp-reg",
        {"settings": {"lp-reg": {"share": 0.5, "positive_share": 0.5, "scope": "negatives", "estimator": "k3"}}},
    ),
    "capo": ("capo", {"settings": {"capo": {"tau_objective": 0.2, "tau_policy": 0.05}}}),
    "hpt": ("hpt", {}),
    "hpt, by questions": ("hpt", {"settings": {"hpt": {"combine": "question_mean", "coef": 0.3, "clip": False}}}),
    "scaf-grpo": ("scaf-grpo", {}),
    "grpo, optimal-token-baseline": ("grpo", {"parts": {"advantage": "optimal-token-baseline"}}),
    "kl-cov": ("kl-cov", {"settings": {"kl-cov": {"share": 0.3}}}),
    "epo, as recalled": (
        "epo",
        {"settings": {"epo": {"entropy_coef": 0.1, "entropy_aggregate": "trajectory-mean-of-turn-means"}}},
    ),
    **{name: (name, {}) for name in ("dpo", "dpo-norm", "cdpo", "f-dpo", "ld-dpo", "wpo", "ipo", "slic", "robust-dpo")},
    **{name: (name, {}) for name in ("exo", "discopop", "aot", "aot-unpaired", "nca", "bco-pair", "sppo", "apo-zero")},
    **{name: (name, {}) for name in ("apo-down", "mpo", "kto", "apo-zero-unpaired", "bco", "simpo", "alphapo", "orpo")},
    "cpo": ("cpo", {"settings": {"reference-free": {"loss": "ipo", "sft_coef": 0.0}}}),
    "dpo, all pairs": ("dpo", {"parts": {"pairing": "all-pairs"}, "settings": {"preference": {"ld_alpha": 0.3}}}),
    "aot, random pairs": ("aot", {"parts": {"pairing": "random-pairs"}}),
    "f-dpo, alpha": ("f-dpo", {"settings": {"preference": {"f_divergence": "alpha", "loss": "exo_pair", **SMOOTHED}}}),
    "kto, of a group": ("kto", {"settings": {"kto": {"good": "group-mean", "bad_weight": 2.0}}}),
    "rpo": ("rpo", {"settings": {"rpo": {"eta": 0.5, "beta": 0.3}}}),
    "rpo, averaged": ("rpo", {"settings": {"rpo": {"form": "averaged", "baseline": "demonstrations", "eta": 0.2}}}),
    **{name: (name, {}) for name in ("copg", "p3o", "p3o-joint", "tgdpo", "cpl", "cpl-kl", "f-dpg")},
    "copg, leave-one-out": ("copg", {"settings": {"copg": {"form": "leave-one-out"}}}),
    "p3o-joint, scaled": ("p3o-joint", {"settings": {"p3o": {"scale_q": True, "avg_tokenwise": False}}}),
    "p3o-joint, tokens": ("p3o-joint", {"settings": {"p3o": {"clip_tokenwise": True}}}),
    "tgdpo, clamped": ("tgdpo", {"settings": {"tgdpo": {"alpha": 20.0, "clamp": True}}}),
    "cpl, scores": ("cpl", {"parts": {"pairing": "all-pairs"}, "settings": {"cpl": {"normalise": "turns"}}}),
    "cpl, cloning": ("cpl", {"settings": {"cpl": {"gamma": 0.9, "bc_coef": 0.5, "bc_of": "chosen"}}}),
    "f-dpg, sampled": ("f-dpg", {"settings": {"f-dpg": {"proposal": "sampled", "divergence": "forward-kl"}}}),
}


def composition_of(variant, history_from=None):
    name, changes = VARIANTS[variant]
    composition = compose(load("algorithm", name), changes.get("parts"), changes.get("settings"))
    if history_from is not None:
        composition.update(history_from)
    return composition


PIECEWISE = [variant for variant in VARIANTS if composition_of(variant).couples in ("token", "turn")]
"""Those whose loss is a sum over turns."""
GROUPWISE = [variant for variant in VARIANTS if composition_of(variant).couples == "group"]
"""Those whose loss is a sum over groups; what is left is always taken in two passes, over the whole batch."""
OF_PIECES = (
    *("hpt", "mpo", "orpo", "kto", "kto, of a group"),
    *("rpo", "rpo, averaged", "copg, leave-one-out", "cpl, cloning"),
)
"""Those with means of their own: of demonstrations, of what is chosen, of replies to other prompts."""
ONE_AGGREGATE = [variant for variant in (*PIECEWISE, *GROUPWISE) if variant not in OF_PIECES]
"""Those whose terms are weighed over all that carries loss."""


def loss_and_gradients(composition, view, weigh=None):
    """The loss, and its derivatives at [current, entropy]."""
    live = {name: getattr(view, name).clone().requires_grad_() for name in ("current", "entropy")}
    loss, terms = composition.loss(view.with_fields(**live), weigh)
    gradients = torch.autograd.grad(loss, list(live.values()), allow_unused=True)
    return loss.item(), [torch.zeros(view.num_tokens).double() if g is None else g for g in gradients], terms


OF_SCORES = {"reward-model", "polar"}
"""They learn scores of trajectories, not log-probs of tokens: test_reward_model.py and test_polar.py hold them."""


def test_every_registered_algorithm_is_tested():
    assert {name for name, _ in VARIANTS.values()} == set(TABLES["algorithm"]) - OF_SCORES


@pytest.mark.parametrize("variant", VARIANTS)
@examples(12)
@given(view=views(), order=st.integers(0, 999))
def test_the_order_of_turns_and_trajectories_changes_nothing(variant, view, order):
    composition = composition_of(variant, view)
    other, old_token, _, _ = reordered(view, order)
    view, other = composition.advantage(view), composition.advantage(other)
    loss, gradients, _ = loss_and_gradients(composition, view)
    again, moved, _ = loss_and_gradients(composition, other)
    assert again == pytest.approx(loss, rel=1e-9, abs=1e-12)
    for gradient, of_other in zip(gradients, moved, strict=True):
        torch.testing.assert_close(gradient[old_token], of_other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("variant", ONE_AGGREGATE)
@examples(12)
@given(view=views(), num_cuts=st.integers(1, 4), data=st.data())
def test_the_gradient_does_not_depend_on_the_cut(variant, view, num_cuts, data):
    """Pieces of whole trajectories, or groups, weighed by the whole batch, give the loss and gradient of the whole."""
    composition = composition_of(variant, view)
    view = composition.advantage(view)
    loss, gradients, _ = loss_and_gradients(composition, view)
    piece_of = torch.tensor([data.draw(st.integers(0, num_cuts - 1)) for _ in range(view.num_trajectories)]).long()
    if composition.couples == "group":
        piece_of = piece_of[view.group_of_trajectory] if len(piece_of) else piece_of
    total, assembled = 0.0, [torch.zeros_like(g) for g in gradients]
    for number in range(num_cuts):
        kept = (piece_of == number).nonzero()[:, 0]
        rows = {
            "token": torch.isin(view.trajectory_of_token, kept),
            "turn": torch.isin(view.trajectory_of_turn, kept),
            "trajectory": piece_of == number,
        }
        if view.pairs is not None:
            rows["pair"] = (piece_of == number)[view.pairs[:, 0]]

        def weigh(term, rows=rows):
            return composition.weights(view, term.level, term.aggregate)[rows[term.level]]

        piece_loss, piece_gradients, _ = loss_and_gradients(composition, view.keep(kept), weigh)
        total += piece_loss
        for whole, piece in zip(assembled, piece_gradients, strict=True):
            whole[rows["token"]] += piece
    assert total == pytest.approx(loss, rel=1e-9, abs=1e-12)
    for whole, pieces in zip(gradients, assembled, strict=True):
        torch.testing.assert_close(whole, pieces, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("variant", PIECEWISE)
@examples(12)
@given(view=views())
def test_one_pass_may_know_the_current_numbers_of_one_turn_alone(variant, view):
    """What `couples` promises: with every other turn's numbers wrong, a turn's gradient is the same."""
    composition = composition_of(variant, view)
    assert composition.couples in ("token", "turn")
    view = composition.advantage(view)
    _, gradients, _ = loss_and_gradients(composition, view)
    for turn in range(min(view.num_turns, 3)):
        own = view.turn_of_token == turn
        wrong = {name: torch.where(own, getattr(view, name), torch.zeros(())) for name in ("current", "entropy")}
        _, alone, _ = loss_and_gradients(composition, view.with_fields(**wrong))
        for gradient, of_turn in zip(gradients, alone, strict=True):
            torch.testing.assert_close(gradient[own], of_turn[own], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("variant", GROUPWISE)
@examples(12)
@given(view=views())
def test_one_pass_may_know_the_current_numbers_of_one_group_alone(variant, view):
    """The same of groups, for what compares their members."""
    composition = composition_of(variant, view)
    view = composition.advantage(view)
    _, gradients, _ = loss_and_gradients(composition, view)
    for group in range(min(view.num_groups, 3)):
        own = view.group_of_trajectory[view.trajectory_of_token] == group
        wrong = {name: torch.where(own, getattr(view, name), torch.zeros(())) for name in ("current", "entropy")}
        _, alone, _ = loss_and_gradients(composition, view.with_fields(**wrong))
        for gradient, of_group in zip(gradients, alone, strict=True):
            torch.testing.assert_close(gradient[own], of_group[own], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("variant", VARIANTS)
@examples(12)
@given(view=views())
def test_what_carries_no_loss_has_no_gradient_and_nothing_is_ever_nan(variant, view):
    composition = composition_of(variant, view)
    view = composition.advantage(view)
    loss, gradients, terms = loss_and_gradients(composition, view)
    assert math.isfinite(loss)
    assert loss == pytest.approx(sum(terms.values()), abs=1e-12)
    for gradient in gradients:
        assert gradient.isfinite().all()
        assert not gradient[~view.trained].any()
    assert all(math.isfinite(value) for value in composition.metrics(view).values())
    assert composition.gate(view).shape == (view.num_groups,)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("groups", [[], [[[0]]]], ids=["no group", "no token"])
def test_an_empty_batch_has_loss_zero(variant, groups):
    num_turns, num_trajectories = (1, 1) if groups else (0, 0)
    values = {"value_at_start": [0.0] * num_turns, "value_after": [0.0] * num_trajectories}
    values["mismatched"] = [0.0] * num_trajectories
    read = {name: torch.zeros(0).double() for name in PROBES}
    empty = view_of(groups, **{name: [] for name in TOKEN_FIELDS}, **values)
    empty = empty.with_fields(probes=read, sampled_probes=read)
    composition = composition_of(variant, empty)
    loss, _, terms = loss_and_gradients(composition, composition.advantage(empty))
    assert loss == 0
    assert set(terms.values()) == {0.0}


NO_POLICY_GRADIENT = {"clip-cov": "some tokens have no gradient"}
"""Algorithms with an advantage whose loss is another one on what was just sampled, and why."""
POLICY_GRADIENTS = [
    name
    for name in TABLES["algorithm"]
    if name not in NO_POLICY_GRADIENT and load("algorithm", name).advantage is not None
]


@pytest.mark.parametrize("algo", POLICY_GRADIENTS)
@examples(12)
@given(view=views())
def test_on_what_was_just_sampled_the_surrogate_is_the_policy_gradient(algo, view):
    """d L / d log p(n) = -w(n) A(n), w the aggregate's: the first update of a rollout that the policy itself played."""
    composition = compose(load("algorithm", algo))
    view = view.with_fields(
        sampled=view.old,
        current=view.old,
        entropy=view.sampled_entropy,
        probes=view.sampled_probes,
        demonstrated=torch.zeros_like(view.demonstrated),
        trained=view.trained & ~view.demonstrated[view.trajectory_of_token],
    )
    view = composition.advantage(view)
    current = view.old.clone().requires_grad_()
    of_surrogate = composition.slots | {"regularisers": ()}
    loss, _ = replace(composition, slots=of_surrogate).loss(view.with_fields(current=current))
    (gradient,) = torch.autograd.grad(loss, current)
    advantage = view.advantage if view.second_advantage is None else view.advantage + view.second_advantage
    torch.testing.assert_close(gradient, -composition.weights(view, "token") * advantage, rtol=1e-9, atol=1e-12)


def two_trajectories(**fields):
    """One group: two turns of 2 and 1 tokens with score 1, and one turn of 1 token with score 0."""
    return view_of([[[2, 1], [1]]], score=[1.0, 0.0], current=[-1.0, -2.0, -3.0, -4.0], entropy=[0.0] * 4, **fields)


def filled_loss(name, view, **changes):
    composition = compose(load("algorithm", name), **changes)
    view = composition.advantage(view)
    return loss_and_gradients(composition, view)


def test_sft_is_the_mean_negative_log_likelihood():
    loss, (gradient, _), _ = filled_loss("sft", two_trajectories())
    assert loss == pytest.approx(10 / 4)
    assert gradient.tolist() == [-0.25] * 4


def test_reinforce_is_the_return_above_the_batch_times_the_log_probability_of_the_trajectory():
    loss, (gradient, _), _ = filled_loss("reinforce", two_trajectories())
    assert loss == pytest.approx(-(0.5 * (-1 - 2 - 3) + -0.5 * -4) / 2)
    assert gradient.tolist() == [-0.25, -0.25, -0.25, 0.25]


def test_rloo_compares_with_the_others_of_the_group():
    loss, (gradient, _), _ = filled_loss("rloo", two_trajectories())
    assert loss == pytest.approx(-(1.0 * (-1 - 2 - 3) + -1.0 * -4) / 2)
    assert gradient.tolist() == [-0.5, -0.5, -0.5, 0.5]


def grpo_view():
    """Ratios 1.5, 1, 1 and 1.5; the advantage is +-1 / sqrt(2)."""
    up = math.log(1.5)
    return two_trajectories(old=[-1.0 - up, -2.0, -3.0, -4.0 - up], reference=[-1.0, -2.0, -3.0, -3.0])


def test_grpo_by_hand():
    a = 0.5 / (0.5**0.5 + 1e-6)
    loss, (gradient, _), _ = filled_loss("grpo", grpo_view())
    assert loss == pytest.approx((-1.2 * a - a - a + 1.5 * a) / 4)
    assert gradient.tolist() == pytest.approx([0.0, -a / 4, -a / 4, 1.5 * a / 4])


def test_grpo_with_a_reference_adds_its_divergence():
    plain, _, _ = filled_loss("grpo", grpo_view())
    loss, _, terms = filled_loss("grpo", grpo_view(), settings={"kl": {"coef": 0.04}})
    assert terms["kl"] == pytest.approx(0.04 * (math.e - 1 - 1) / 4)
    assert loss == pytest.approx(plain + terms["kl"])


def test_dr_grpo_divides_neither_by_deviation_nor_by_length():
    changes = {
        "parts": {"aggregate": "token-sum"},
        "settings": {"group-norm": {"std": False}, "token-sum": {"mean_over": "trajectory", "constant": 10}},
    }
    loss, _, _ = filled_loss("grpo", grpo_view(), **changes)
    assert loss == pytest.approx((-1.2 * 0.5 - 0.5 - 0.5 + 1.5 * 0.5) / 2 / 10)


def test_epo_is_grpo_with_a_bonus_and_a_band():
    view = grpo_view().with_fields(
        entropy=torch.tensor([4.0, 2.0, 1.0, 0.0]).double(),
        sampled_entropy=torch.ones(4).double(),
        step=0,
        num_steps=10,
    )
    composition = compose(load("algorithm", "epo"))
    composition.update(view)  # both positions: reference 1, so the band ends at 2
    view = composition.advantage(view)
    loss, (_, by_entropy), terms = loss_and_gradients(composition, view)
    surrogate, _, _ = filled_loss("grpo", grpo_view())
    assert terms["ppo-clip"] == pytest.approx(surrogate)
    assert terms["epo-entropy"] == pytest.approx(-1e-3 * 7 / 4)
    assert terms["epo-smoothing"] == pytest.approx(1e-3 * 0.1 * (3 - 2) / 3)  # the first of three turns, mean 3
    assert loss == pytest.approx(sum(terms.values()))
    pull = 1e-3 * 0.1 / 3 / 2
    assert by_entropy.tolist() == pytest.approx([-2.5e-4 + pull, -2.5e-4 + pull, -2.5e-4, -2.5e-4])
