"""RPO, CoPG, P3O, TGDPO and CPL: what each reduces to, what changes nothing, and what each switch changes."""

import asyncio
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentrl.errors import ConfigError
from agentrl.registry import load
from agentrl.segments import sum_by
from agentrl.trainers.algorithms.cpl import CPLConfig, biased_contrast, segment_advantage
from agentrl.trainers.algorithms.rpo import RPOConfig, with_solutions
from agentrl.trainers.composition import compose
from tests.builders import view_of
from tests.strategies import examples, views


def gradient(algo, view, parts=None, **settings):
    """[N] d loss / d current, with what the composition makes of the view first."""
    composition = compose(load("algorithm", algo), parts or {}, settings)
    current = view.current.detach().requires_grad_()
    loss, _ = composition.loss(composition.advantage(view).with_fields(current=current))
    (by_token,) = torch.autograd.grad(loss, current, allow_unused=True)
    return torch.zeros_like(current) if by_token is None else by_token


def close(a, b):
    return torch.allclose(a, b, rtol=1e-9, atol=1e-12)


@st.composite
def groups_of(draw, size, max_turns=3):
    """Groups of `size` trajectories each, all of which count and carry loss; scores differ within a group."""
    turns = st.lists(st.integers(1, 3), min_size=1, max_size=max_turns)
    groups = draw(st.lists(st.lists(turns, min_size=size, max_size=size), min_size=1, max_size=3))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31 - 1)))
    num = sum(sum(map(sum, group)) for group in groups)

    def numbers(size, low, high):
        return low + (high - low) * torch.rand(size, generator=random, dtype=torch.float64)

    old = numbers(num, -3, -1)
    return view_of(
        groups,
        score=torch.randn(size * len(groups), generator=random, dtype=torch.float64),
        old=old,
        current=old + numbers(num, -0.3, 0.3),
        reference=old + numbers(num, -0.5, 0.5),
        guidance=old + numbers(num, -0.5, 0.5),
    )


P3O_VARIANTS = [
    ("p3o", {}),
    ("p3o-joint", {}),
    ("p3o-joint", {"avg_tokenwise": False}),
    ("p3o-joint", {"scale_q": True}),
    ("p3o-joint", {"clip_tokenwise": True}),
]


@pytest.mark.parametrize(("algo", "settings"), P3O_VARIANTS)
@examples(15)
@given(view=views(min_groups=1), shift=st.lists(st.integers(-9, 9), min_size=3, max_size=3))
def test_p3o_does_not_mind_a_shift_of_all_rewards_of_a_prompt(algo, settings, view, shift):
    by_group = torch.tensor(shift, dtype=torch.float64)[view.group_of_trajectory]
    shifted = view.with_fields(score=view.score + by_group)
    assert close(gradient(algo, view, p3o=settings), gradient(algo, shifted, p3o=settings))


@examples(15)
@given(view=groups_of(2))
def test_both_forms_of_p3o_are_copg_times_the_ratios_where_nothing_is_clipped(view):
    wide = {"clip": 50.0, "ratio_cap": 1e9, "beta": 0.3}
    copg = gradient("copg", view, copg={"beta": 0.3})
    moved = sum_by(view.current - view.old, view.group_of_trajectory[view.trajectory_of_token], view.num_groups)
    expected = 0.5 * moved.exp()[view.group_of_trajectory[view.trajectory_of_token]] * copg
    assert close(gradient("p3o", view, p3o=wide), expected)
    assert close(gradient("p3o-joint", view, p3o=wide | {"avg_tokenwise": False}), expected)


def test_each_switch_of_p3o_changes_the_gradient():
    view = view_of(
        [[[2], [1]], [[1], [2]]],
        score=[1.0, 0.0, 0.0, 0.4],
        old=[-1.0] * 6,
        current=[-0.5, -1.2, -1.1, -0.9, -1.3, -0.7],
        reference=[-1.0] * 6,
    )
    for switch in ({"scale_q": True}, {"avg_tokenwise": False}, {"clip_tokenwise": True}, {"clip": 0.9}, {"beta": 1.0}):
        assert not close(gradient("p3o-joint", view), gradient("p3o-joint", view, p3o=switch)), switch
    for switch in ({"clip": 0.9}, {"ratio_cap": 1.0}, {"beta": 1.0}):
        assert not close(gradient("p3o", view), gradient("p3o", view, p3o=switch)), switch


def test_p3o_clips_tokens_one_by_one_in_the_direction_that_pays():
    """q w = 1: of the first side log-probs are followed up to old + e, of the second down to old - e."""
    view = view_of(
        [[[2], [2]]],
        score=[1.0, 0.0],
        old=[-1.0, -1.0, -1.0, -1.0],
        current=[-0.5, -1.1, -1.5, -0.9],
        reference=[-1.0, -1.0, -1.0, -1.0],
    )
    got = gradient("p3o-joint", view, p3o={"clip_tokenwise": True, "beta": 0.0})
    assert got.tolist() == pytest.approx([0.0, -0.25, 0.0, 0.25], abs=1e-12)


@examples(15)
@given(view=views(min_groups=1), beta=st.sampled_from([0.06, 0.5, 2.0]))
def test_copg_of_quarters_is_ipo(view, beta):
    quarters = view.with_fields(score=torch.where(view.score > 0.5, 0.25, -0.25).to(view.score))
    ipo = {"loss": "ipo", "per_token": False, "beta": beta}
    for pairing in ("all-pairs", "best-worst"):
        own = gradient("copg", quarters, {"pairing": pairing}, copg={"beta": beta}, pairing={"ties": False})
        assert close(own, beta / 2 * gradient("dpo", quarters, {"pairing": pairing}, preference=ipo))


@examples(15)
@given(view=views(min_groups=1), beta=st.sampled_from([0.06, 0.5]))
def test_copg_over_all_pairs_is_its_leave_one_out_form(view, beta):
    assert close(
        gradient("copg", view, copg={"beta": beta}),
        gradient("copg", view, copg={"beta": beta, "form": "leave-one-out"}),
    )


@examples(10)
@given(view=groups_of(3), beta=st.sampled_from([0.06, 0.5]))
def test_copg_at_the_reference_is_twice_the_policy_gradient_of_rloo(view, beta):
    there = view.with_fields(reference=view.current)
    rloo = gradient("rloo", there, {"surrogate": "policy-gradient"})
    assert close(gradient("copg", there, copg={"beta": beta}), 2 * rloo)


def test_the_residual_of_copg_is_what_its_loss_squares():
    view = view_of([[[1], [1]]], score=[1.0, 0.0], current=[-1.0, -2.0], reference=[-1.5, -1.0])
    composition = compose(load("algorithm", "copg"), settings={"copg": {"beta": 0.5}})
    view = composition.advantage(view)
    residual = (0.5 + 1.0) - 1 / 0.5
    loss, _ = composition.loss(view)
    assert float(loss) == pytest.approx(0.5 / 2 * residual**2)
    shown = composition.metrics(view)
    assert shown["copg/residual"] == pytest.approx(residual)
    assert shown["copg/weight"] == pytest.approx(abs(1 - 0.5 * 1.5))


@examples(15)
@given(view=views(min_groups=1), beta=st.sampled_from([0.01, 0.1, 1.0]))
def test_rpo_without_its_sft_term_is_dpo(view, beta):
    assert close(
        gradient("rpo", view, rpo={"beta": beta, "eta": 0.0}), gradient("dpo", view, preference={"beta": beta})
    )


@examples(15)
@given(view=groups_of(3))
def test_rpo_counts_each_chosen_trajectory_once_whatever_pairs_it_stands_in(view):
    settings = {"beta": 0.2, "eta": 0.5}
    parts = {"pairing": "all-pairs"}
    sft = gradient("rpo", view, parts, rpo=settings) - gradient("rpo", view, parts, rpo=settings | {"eta": 0.0})
    pairs = compose(load("algorithm", "rpo"), parts).advantage(view).pairs
    chosen = pairs[:, 0].unique()
    expected = torch.isin(view.trajectory_of_token, chosen).to(sft) * (-0.5 * 0.2 / len(chosen))
    assert close(sft, expected)


def test_rpo_averaged_is_the_mean_over_the_tokens_of_the_chosen_without_beta():
    view = view_of([[[2], [1]]], score=[1.0, 0.0], current=[-1.0, -2.0, -1.0], reference=[-1.0, -2.0, -1.0])
    own = gradient("rpo", view, rpo={"form": "averaged", "eta": 0.2, "beta": 0.5})
    dpo = gradient("rpo", view, rpo={"eta": 0.0, "beta": 0.5})
    assert (own - dpo).tolist() == pytest.approx([-0.1, -0.1, 0.0])


def test_rpo_holds_up_demonstrations_where_they_are_its_baseline():
    view = view_of(
        [[[1], [1], [2]]],
        score=[1.0, 0.0, 1.0],
        in_statistics=[True, True, False],
        demonstrated=[False, False, True],
        current=[-1.0] * 4,
        reference=[-1.0] * 4,
    )
    own = gradient("rpo", view, rpo={"baseline": "demonstrations", "eta": 0.5, "beta": 0.2})
    dpo = gradient("rpo", view, rpo={"eta": 0.0, "beta": 0.2})
    assert (own - dpo).tolist() == pytest.approx([0.0, 0.0, -0.1, -0.1])


def test_rpo_asks_for_the_worlds_solutions_where_they_are_its_baseline():
    parts = compose(load("algorithm", "rpo"), settings={"rpo": {"baseline": "solutions"}})
    assert "solutions" in parts.needs and "solutions" not in compose(load("algorithm", "rpo")).needs
    shown = SimpleNamespace(source="demonstration")

    async def demonstrations(asked):
        return [shown if name == "a" else None for _, name in asked]

    rehearsal = SimpleNamespace(demonstrations=demonstrations, counts={})
    groups = [[SimpleNamespace(task=None, group=name)] * 2 for name in ("a", "b")]
    first, second = asyncio.run(with_solutions(groups, rehearsal, RPOConfig(baseline="solutions"), None))
    assert first == [*groups[0], shown] and second == groups[1]
    assert rehearsal.counts == {"rpo/missing_solutions": 1.0}


@examples(15)
@given(view=views(min_groups=1), alpha=st.sampled_from([0.5, 2.0]))
def test_tgdpo_without_guidance_is_dpo(view, alpha):
    dpo = gradient("dpo", view, preference={"beta": 0.3})
    unguided = view.with_fields(guidance=view.reference)
    assert close(gradient("tgdpo", unguided, tgdpo={"beta": 0.3, "alpha": alpha}), dpo)
    assert close(gradient("tgdpo", view.with_fields(guidance=view.old), tgdpo={"beta": 0.3, "alpha": 0.0}), dpo)


def test_tgdpo_pushes_a_chosen_token_down_that_its_guide_dislikes_unless_clamped():
    view = view_of(
        [[[2], [1]]],
        score=[1.0, 0.0],
        current=[-1.0, -1.0, -1.0],
        reference=[-1.0, -1.0, -1.0],
        guidance=[-4.0, 0.0, -1.0],
    )
    free = gradient("tgdpo", view, tgdpo={"alpha": 1.0, "beta": 0.5})
    held = gradient("tgdpo", view, tgdpo={"alpha": 1.0, "beta": 0.5, "clamp": True})
    scale = 0.5 * 0.5  # sigmoid(0) * beta
    assert free.tolist() == pytest.approx([0.5 * scale, -1.5 * scale, scale])
    assert held.tolist() == pytest.approx([0.0, -1.5 * scale, scale])
    composition = compose(load("algorithm", "tgdpo"), settings={"tgdpo": {"alpha": 1.0, "beta": 0.5}})
    shown = composition.metrics(composition.advantage(view))
    assert shown["tgdpo/negative_weight_share"] == pytest.approx(1 / 3)
    assert shown["tgdpo/weight_chosen"] == pytest.approx((-0.5 + 1.5) / 2)


@examples(15)
@given(view=groups_of(2, max_turns=1), bias=st.sampled_from([0.25, 0.5, 1.0]))
def test_cpl_at_one_step_weighs_the_likelihood_of_the_better_against_the_worse(view, bias):
    """d L / d log p = -s of the better one's tokens, + bias * s of the worse one's; s = alpha * sigmoid(-margin)."""
    own = gradient("cpl", view, cpl={"alpha": 0.2, "bias": bias})
    logp = 0.2 * sum_by(view.current, view.trajectory_of_token, view.num_trajectories)
    for g in range(view.num_groups):
        first, second = (view.group_of_trajectory == g).nonzero()[:, 0].tolist()
        better, worse = (first, second) if view.score[first] > view.score[second] else (second, first)
        size = 0.2 * torch.sigmoid(bias * logp[worse] - logp[better]) / view.num_groups
        assert torch.allclose(own[view.trajectory_of_token == better], -size)
        assert torch.allclose(own[view.trajectory_of_token == worse], bias * size)


@examples(15)
@given(view=views(min_groups=1), beta=st.sampled_from([0.1, 1.0]))
def test_cpl_with_a_reference_and_without_bias_is_dpo(view, beta):
    own = gradient("cpl-kl", view, cpl={"alpha": beta, "bias": 1.0})
    assert close(own, gradient("dpo", view, preference={"beta": beta}))


def test_cpl_of_a_tie_counts_both_directions_half():
    a, b = torch.tensor([-1.0]), torch.tensor([-2.0])
    tie = biased_contrast(a, b, 0.5, torch.tensor([0.5]))
    sure = [biased_contrast(x, y, 0.5, torch.ones(1)) for x, y in ((a, b), (b, a))]
    assert float(tie) == pytest.approx(float(sure[0] + sure[1]) / 2)
    view = view_of([[[1], [1]]], score=[1.0, 1.0], current=[-1.0, -2.0])
    assert gradient("cpl", view).tolist() == [0.0, 0.0]
    by_token = gradient("cpl", view, pairing={"ties": True}, cpl={"bias": 1.0})
    assert float(by_token.sum()) == pytest.approx(0.0) and float(by_token.abs().sum()) > 0


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [-3.0, -4.0]),
        ({"gamma": 0.5}, [-2.0, -4.0]),
        ({"normalise": "turns"}, [-1.5, -4.0]),
        ({"normalise": "tokens"}, [-1.0, -2.0]),
    ],
)
def test_what_a_segment_is_worth_in_cpl(settings, expected):
    logp = torch.tensor([-1.0, -2.0, 0.0, -4.0])
    of_turn, position = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 2, 0])
    tokens = torch.tensor([2, 1, 0, 2])
    config = CPLConfig(alpha=1.0, **settings)
    assert segment_advantage(logp, of_turn, position, tokens, 2, config).tolist() == pytest.approx(expected)


def test_cpl_clones_every_turn_or_those_of_the_better_ones():
    view = view_of([[[1, 2], [1]]], score=[1.0, 0.0], current=[-1.0] * 4)
    plain = gradient("cpl", view)
    every = gradient("cpl", view, cpl={"bc_coef": 0.6}) - plain
    better = gradient("cpl", view, cpl={"bc_coef": 0.6, "bc_of": "chosen"}) - plain
    assert every.tolist() == pytest.approx([-0.2] * 4)
    assert better.tolist() == pytest.approx([-0.3, -0.3, -0.3, 0.0])


def test_the_accuracy_of_cpl_is_of_pairs_that_differ():
    view = view_of([[[1], [1], [1]]], score=[1.0, 0.0, 0.0], current=[-2.0, -1.0, -3.0])
    composition = compose(load("algorithm", "cpl"), {"pairing": "all-pairs"}, {"pairing": {"ties": True}})
    shown = composition.metrics(composition.advantage(view))
    assert shown["cpl/accuracy"] == 0.5


@pytest.mark.parametrize(
    ("algo", "section", "setting"),
    [
        ("rpo", "rpo", {"beta": 0.0}),
        ("rpo", "rpo", {"eta": -1.0}),
        ("copg", "copg", {"beta": 0.0}),
        ("p3o", "p3o", {"ratio_cap": 0.5}),
        ("p3o-joint", "p3o", {"clip": 0.0}),
        ("tgdpo", "tgdpo", {"alpha": -0.1}),
        ("cpl", "cpl", {"bias": 0.0}),
        ("cpl-kl", "cpl", {"gamma": 1.1}),
        ("f-dpg", "f-dpg", {"window": 0}),
    ],
)
def test_a_setting_out_of_range_is_refused(algo, section, setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        compose(load("algorithm", algo), settings={section: setting})
