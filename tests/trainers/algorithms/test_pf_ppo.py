"""PF-PPO's filter: who is kept."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrl.errors import ConfigError
from agentrl.trainers.algorithms.pf_ppo import (
    PF_PPO,
    PFPPOConfig,
    bin_means,
    filter_weights,
    kept_of_group,
    r_squared,
)
from agentrl.trainers.composition import compose
from tests.builders import view_of

SCORE = torch.tensor([0.5, -1.0, 2.0, 0.1, 0.7], dtype=torch.float64)
CHANCE = torch.tensor([0.2, 0.4, 0.6, 0.8, 0.1], dtype=torch.float64)


def kept(**settings):
    return kept_of_group(SCORE, CHANCE, PFPPOConfig(**settings)).nonzero()[:, 0].tolist()


def test_each_strategy_by_hand():
    assert kept() == [1, 2]
    assert kept(keep=3) == [1, 2, 4]
    assert kept(strategy="best", keep=1) == [2]
    assert kept(strategy="best-random") == [2, 4]  # the other with the smallest chance


def test_a_draw_prefers_what_weighs_more():
    assert kept(strategy="best-worst", draw="weights") == [1, 2]  # the others weigh 1e-8
    assert filter_weights(SCORE, "power", 2.0).tolist() == pytest.approx([0.25, 1.0, 4.0, 0.01, 0.49], abs=1e-7)
    assert filter_weights(SCORE, "best").round().tolist() == [0, 0, 1, 0, 0]
    random = torch.Generator().manual_seed(0)
    config = PFPPOConfig(strategy="power", keep=1, power=1.0)
    drawn = [kept_of_group(SCORE, torch.rand(5, generator=random).double(), config).int() for _ in range(3000)]
    share = torch.stack(drawn).double().mean(0)
    torch.testing.assert_close(share, SCORE.abs() / SCORE.abs().sum(), atol=0.03, rtol=0.0)


@settings(max_examples=25)
@given(size=st.integers(1, 7), keep=st.integers(2, 5), strategy=st.sampled_from(["best-worst", "best-random", "best"]))
def test_so_many_are_kept_as_were_asked_for(size, keep, strategy):
    config = PFPPOConfig(strategy=strategy, keep=keep)
    chance = torch.arange(size).double() / 10
    assert int(kept_of_group(torch.zeros(size), chance, config).sum()) == min(size, keep)


def view(scores=((0.0, 1.0, 0.5), (1.0, 0.0))):
    groups = [[[2]] * len(group) for group in scores]
    return view_of(groups, score=[s for group in scores for s in group])


def test_the_filter_stands_after_the_statistics_of_the_whole_group():
    composition = compose(PF_PPO, settings={"group-norm": {"std": False}})
    filled = composition.advantage(view())
    assert filled.advantage.tolist() == [-0.5, -0.5, 0.5, 0.5, 0.0, 0.0, 0.5, 0.5, -0.5, -0.5]
    assert filled.trained.tolist() == [True] * 4 + [False] * 2 + [True] * 4
    shown = composition.metrics(filled.with_fields(current=filled.advantage, old=filled.advantage))
    assert shown["pf_ppo/kept_share"] == 0.8
    assert shown["pf_ppo/return_kept"] == 0.5
    assert shown["pf_ppo/return_dropped"] == 0.5


def test_the_best_and_worst_can_be_those_of_the_batch():
    filled = compose(PF_PPO, settings={"pf-ppo": {"scope": "batch"}}).advantage(view(((0.1, 0.9), (0.0, 1.0))))
    assert filled.trained.tolist() == [False] * 4 + [True] * 4


def test_what_carries_no_loss_takes_no_place():
    masked = view().with_fields(trained=torch.tensor([False, False] + [True] * 8))
    filled = compose(PF_PPO).advantage(masked)
    assert filled.trained.tolist() == [False] * 2 + [True] * 8


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_criterion_is_what_is_left_of_the_variance_around_the_best_line():
    assert r_squared(numbers(0, 1, 2), numbers(5, 7, 9)) == pytest.approx(1)
    assert r_squared(numbers(0, 0, 1, 1), numbers(0, 2, 1, 1)) == pytest.approx(0)
    assert r_squared(numbers(0, 1, 2, 3), numbers(0, 0, 1, 1)) == pytest.approx(0.8)  # the line .4 R - .1
    assert r_squared(numbers(1, 1), numbers(0, 1)) is None and r_squared(numbers(0, 1), numbers(1, 1)) is None
    assert r_squared(numbers(), numbers()) is None


def test_bins_are_of_equal_number_and_by_reward():
    rewards, scores = bin_means(numbers(3, 1, 2, 5, 4), numbers(0, 1, 0, 1, 1), 2)
    assert rewards.tolist() == [2.0, 4.5] and scores.tolist() == [pytest.approx(1 / 3), 1.0]
    assert [len(means) for means in bin_means(numbers(1, 2), numbers(0, 1))] == [2, 2]
    assert [len(means) for means in bin_means(numbers(), numbers())] == [0, 0]


def test_with_a_true_score_the_criterion_of_what_is_kept_and_of_all_is_shown():
    truth = {"truth": numbers(0, 1, 1, 1, 0)}
    told = view().with_fields(components=truth, success=numbers(0, 1, 0, 1, 0))
    composition = compose(PF_PPO, settings={"pf-ppo": {"truth": "truth"}})
    filled = composition.advantage(told)
    filled = filled.with_fields(current=filled.advantage, old=filled.advantage)
    shown = composition.metrics(filled)
    assert shown["pf_ppo/r2_kept"] == pytest.approx(1)  # of 0, 1, 1, 0 the reward says it all
    assert shown["pf_ppo/r2_all"] == pytest.approx(1 - 0.2 / 1.2)  # the fifth, 0.5, is 0.4 off the line R
    assert shown["pf_ppo/r2_all_binned"] == pytest.approx(shown["pf_ppo/r2_all"])  # fewer than ten
    equal = told.with_fields(components={"truth": torch.ones(5).double()})
    composition.advantage(equal)
    assert not [name for name in composition.metrics(filled) if "r2" in name]  # undefined, and nothing of before
    by_success = compose(PF_PPO, settings={"pf-ppo": {"truth": "success"}})
    by_success.advantage(told)
    assert by_success.metrics(filled)["pf_ppo/r2_kept"] == pytest.approx(1)
    with pytest.raises(ConfigError, match=r"pf-ppo\.truth is 'taste', and this world tells: success, truth"):
        compose(PF_PPO, settings={"pf-ppo": {"truth": "taste"}}).advantage(told)


@pytest.mark.parametrize("settings", [{"keep": 0}, {"keep": 1}, {"power": -1.0}])
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        PFPPOConfig(**settings)
