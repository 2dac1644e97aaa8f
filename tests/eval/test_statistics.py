"""Intervals against published values and against what must hold for any numbers."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrl.eval.statistics import (
    bootstrap_interval,
    holm,
    mean_over_tasks,
    paired_difference_interval,
    pass_at_k,
    pass_hat_k,
    share_interval,
    t_quantile,
)
from agentrl.statistics import wilson_interval


@pytest.mark.parametrize(
    ("successes", "episodes", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe (1998), Statistics in Medicine 17, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_is_the_published_one(successes, episodes, low, high):
    assert wilson_interval(successes, episodes) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_share_and_mirrors(counts):
    successes, episodes = counts
    low, high = wilson_interval(successes, episodes)
    assert 0 <= low <= successes / episodes <= high <= 1
    mirrored = wilson_interval(episodes - successes, episodes)
    assert mirrored == pytest.approx((1 - high, 1 - low))


def test_nothing_is_known_of_no_episodes_and_impossible_counts_are_refused():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 successes of 2"):
        wilson_interval(3, 2)


def test_bootstrap_over_tasks_is_wider_where_episodes_of_a_task_agree():
    alike = {f"t{i}": [float(i % 2)] * 10 for i in range(20)}
    mixed = {f"t{i}": [0.0, 1.0] * 5 for i in range(20)}
    low, high = bootstrap_interval(alike)
    assert high - low > 0.3  # 20 tasks, not 200 episodes: the normal interval of 20 coins is +-0.22
    assert bootstrap_interval(mixed) == (0.5, 0.5)


def test_bootstrap_of_many_single_episodes_comes_close_to_the_normal_interval():
    values = {f"t{i}": [float(i < 120)] for i in range(400)}
    low, high = bootstrap_interval(values, draws=4000)
    half = 1.96 * math.sqrt(0.3 * 0.7 / 400)
    assert (low, high) == pytest.approx((0.3 - half, 0.3 + half), abs=0.006)


def test_bootstrap_follows_from_its_seed_and_not_from_the_order_of_tasks():
    values = {f"t{i}": [float(i % 3 == 0), i / 7] for i in range(15)}
    backwards = dict(reversed(values.items()))
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(backwards, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)
    assert all(math.isnan(bound) for bound in bootstrap_interval({"t": []}))


def test_a_paired_difference_looks_at_shared_tasks_alone():
    before = {"a": [0.0], "b": [0.0, 1.0], "c": [1.0]}
    after = {"a": [1.0], "b": [1.0, 0.0], "d": [0.0]}
    difference, low, high = paired_difference_interval(before, after)
    assert difference == 0.5  # a: +1, b: 0
    assert -1 <= low < 0 < high <= 1  # of two tasks little is known
    assert all(math.isnan(value) for value in paired_difference_interval({"a": [1.0]}, {"b": [1.0]}))


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_and_pass_hat_k_count_every_draw_of_k_episodes(drawn):
    n, c, k = drawn
    draws = list(itertools.combinations([1] * c + [0] * (n - c), k))
    assert pass_at_k(c, n, k) == pytest.approx(sum(map(any, draws)) / len(draws))
    assert pass_hat_k(c, n, k) == pytest.approx(sum(map(all, draws)) / len(draws))


def test_more_episodes_than_there_are_cannot_be_drawn():
    with pytest.raises(ValueError, match="k = 5 of 2 successes in 4 episodes"):
        pass_at_k(2, 4, 5)
    with pytest.raises(ValueError, match="k = 1 of 3 successes in 2"):
        pass_hat_k(3, 2, 1)


def test_holm_is_the_step_down_of_the_paper():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # as R's p.adjust(method="holm")
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []


def test_pass_curves_are_means_over_the_tasks_that_were_played_so_often():
    counts = {"a": (1, 4), "b": (4, 4), "c": (0, 4), "d": (1, 1)}
    assert mean_over_tasks(counts, 2)[0] == pytest.approx((1 / 2 + 1 + 0) / 3)  # a: 1 - C(3,2)/C(4,2)
    assert mean_over_tasks(counts, 2, pass_hat_k)[0] == pytest.approx(1 / 3)
    assert mean_over_tasks(counts, 1) == mean_over_tasks(counts, 1, pass_hat_k)
    assert all(math.isnan(number) for number in mean_over_tasks(counts, 5))


def test_holm_leaves_out_what_was_not_tested():
    adjusted = holm([0.5, math.nan, 0.4])
    assert math.isnan(adjusted[1]) and adjusted[::2] == pytest.approx([0.8, 0.8])


@pytest.mark.parametrize(
    ("share", "degrees", "expected"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.30265), (0.975, 3, 3.18245), (0.95, 9, 1.83311), (0.025, 19, -2.09302)],
)
def test_quantiles_of_student_are_those_of_the_tables(share, degrees, expected):
    assert t_quantile(share, degrees) == pytest.approx(expected, rel=1e-5)


def test_a_share_over_tasks_is_wilsons_interval_of_as_many_episodes_as_tell_as_much():
    alike = {f"t{i}": [float(i % 2)] * 10 for i in range(400)}  # 400 tasks tell as much as 400 episodes
    assert share_interval(alike) == pytest.approx(wilson_interval(200, 400), abs=1e-3)
    apart = {f"t{i}": [float((i + j) % 2) for j in range(3)] for i in range(400)}  # and better where they differ within
    low, high = share_interval(apart)
    assert high - low < 0.5 * (wilson_interval(200, 400)[1] - wilson_interval(200, 400)[0])
    nothing = {f"t{i}": [0.0] * 8 for i in range(20)}
    assert share_interval(nothing) == pytest.approx(wilson_interval(0, 20))
    assert share_interval({"t": [1.0, 1.0]}) == pytest.approx(wilson_interval(1, 1))
    assert all(math.isnan(bound) for bound in share_interval({"t": []}))
