"""The policy cliff's diagnostics: the two-arm identity, each formula by hand, and what holds for any rewards."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrl.eval import policy_cliff as cliff
from agentrl.eval.checkup import check_up
from agentrl.eval.checkup_evidence import Evidence
from agentrl.types import Outcome
from tests.eval.report_runs import episode

rewards = st.lists(st.floats(-2, 2).map(lambda value: round(value, 3)), min_size=2, max_size=8)
alphas = st.floats(1e-3, 5)


@given(epsilon=st.floats(1e-6, 10), alpha=alphas)
def test_of_two_arms_that_tie_the_hard_policy_jumps_by_half_and_the_soft_one_by_the_tanh(epsilon, alpha):
    before, after = (1.0, 1.0), (1.0, 1.0 + epsilon)
    hard, soft = cliff.moved(before, after, 0.0), cliff.moved(before, after, alpha)
    assert hard.total_variation == 0.5 and hard.flipped and hard.bound == math.inf
    assert soft.total_variation == pytest.approx(math.tanh(epsilon / (2 * alpha)) / 2, rel=1e-6, abs=1e-9)
    assert soft.bound == pytest.approx(epsilon / (2 * alpha)) and soft.total_variation <= soft.bound


@given(pair=st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=1, max_size=8), alpha=alphas)
def test_a_policy_never_moves_by_more_than_the_bound(pair, alpha):
    found = cliff.moved([r for r, _ in pair], [r for _, r in pair], alpha)
    assert 0 <= found.total_variation <= min(1.0, found.bound) + 1e-9


@given(values=rewards, alpha=alphas, shift=st.floats(-5, 5))
def test_a_policy_is_a_distribution_and_does_not_mind_a_constant(values, alpha, shift):
    policy = cliff.policy_of(values, alpha)
    assert sum(policy) == pytest.approx(1) and policy.index(max(policy)) in cliff.best_of(values)
    assert cliff.total_variation(policy, cliff.policy_of([v + shift for v in values], alpha)) < 1e-9


@given(values=rewards)
def test_a_cold_soft_policy_is_the_hard_one(values):
    assert cliff.total_variation(cliff.policy_of(values, 1e-6), cliff.policy_of(values, 0.0)) < 1e-9


def test_the_slope_is_infinite_without_a_temperature():
    assert cliff.lipschitz(0.01) == 50 and cliff.lipschitz(0.5, gamma=0.9) == pytest.approx(10)
    assert cliff.lipschitz(0.0) == math.inf


def test_the_strategies_at_the_best_reward_are_counted_by_their_weight():
    tied = cliff.tied_strategies([1, 1, 1, 0, 1], ["a", "b", "a", "c", "a"])
    assert dict(tied) == {"a": 3, "b": 1}
    assert cliff.effective_number(tied.values()) == pytest.approx(4 / 3**0.75)  # exp(-(3/4) ln 3/4 - (1/4) ln 1/4)
    assert cliff.effective_number([2, 2, 2]) == pytest.approx(3)


@given(counts=st.lists(st.integers(1, 50), min_size=1, max_size=9))
def test_the_effective_number_lies_between_one_and_the_number(counts):
    assert 1 - 1e-9 <= cliff.effective_number(counts) <= len(counts) + 1e-9


def test_the_margin_is_between_the_means_of_the_two_best_strategies():
    assert cliff.margin([1, 0, 0.25, 0.25, 0], ["a", "a", "b", "b", "c"]) == pytest.approx(0.25)
    assert math.isnan(cliff.margin([1, 0], ["a", "a"]))
    assert cliff.margin_histogram([0, 0.01, 0.02, 0.5, 0.75, math.nan]) == [1, 1, 1, 0, 0, 1, 1]


def test_what_the_best_differ_in_is_measured_among_the_best_alone():
    assert cliff.spread_at_best([1, 1, 0], [4, 8, 100]) == (6, 2)
    assert cliff.spread_at_best([1, 0, 0], [4, 8, 100]) == (4, 0)


def test_a_term_is_scaled_within_its_group():
    assert cliff.with_term([1, 1], [5, 10], -0.01) == pytest.approx([0.995, 0.99])
    assert cliff.with_term([1, 0], [0, 0], 0.01) == [1, 0]


def test_components_that_disagree_are_counted_by_hand():
    group = {"right": [1.0, 1.0, 0.0, 0.0], "form": [0.0, 1.0, 1.0, 0.0]}
    found = cliff.component_conflict([group], {"right": 1.0, "form": 1.0, "unused": 0.0})
    assert found.share == {"right": 0.5, "form": 0.5}
    assert found.disagreement == {"right, form": 0.5}  # the first and the third
    assert found.correlation == {"right, form": pytest.approx(0)}
    assert found.flips == {"right": pytest.approx(1 / 6), "form": pytest.approx(1 / 6)}  # first and third tie at 1


def test_a_clear_weight_is_not_turned_round_by_a_tenth():
    group = {"right": [1.0, 0.0], "form": [0.0, 1.0]}
    found = cliff.component_conflict([group], {"right": 0.9, "form": 0.1})
    assert found.flips == {"right": 0.0, "form": 0.0} and found.disagreement == {"right, form": 1.0}
    assert found.correlation == {"right, form": pytest.approx(-1)} and found.share["right"] == pytest.approx(0.9)


def test_the_weights_of_a_score_are_found_where_it_is_a_sum():
    told = {"right": [1.0, 0.0, 1.0], "form": [1.0, 1.0, 0.0]}
    assert cliff.score_weights(told, [1.0, 0.2, 0.8]) == {"right": 0.8, "form": 0.2}
    assert cliff.score_weights(told, [1.0, 0.2, 0.1]) == {} == cliff.score_weights({}, [1.0])


def test_a_strategy_is_the_answer_or_the_actions():
    played = episode(actions=["look", "Take  IT"])
    assert cliff.strategy_of(played) == cliff.strategy_of(played, "actions") == "look\nTake  IT"
    assert (cliff.strategy_of(played, "answer"), cliff.strategy_of(played, "text")) == ("Take  IT", "take it")
    played.outcome = Outcome(True, 1.0, "42")
    assert cliff.strategy_of(played) == cliff.strategy_of(played, "answer") == "42"


def of_group(name, *played):
    return {f"t6-{name}-{number}": t for number, t in enumerate(played)}


def answered(score, right, form, answer="42"):
    told = episode("q", ["x"], success=right > 0)
    told.outcome = Outcome(right > 0, score, answer, {"correct": right, "format": form})
    return told


def test_groups_are_told_as_a_whole():
    ways = [["look"] * n for n in (2, 4, 12)]
    learned = of_group("a", *(episode("a", way) for way in ways), episode("a", success=False))
    learned |= of_group("b", episode("b"), episode("b"), episode("b", ["x"], success=False))
    learned |= of_group("c", *(episode("c", ["x"] * n, success=False) for n in (1, 2)))
    learned |= of_group("d", episode("d"), episode("d", ended="world_failure"))
    found = cliff.policy_cliff(learned)
    assert (found.groups, found.solved, found.tied) == (3, 2, 1)
    assert found.strategies == pytest.approx(3) and found.margins == [1, 0, 0, 0, 0, 0, 1]
    assert found.small_margin == 0.5 and found.components is None
    assert found.spread["turns"].mean == 6 and found.spread["turns"].deviation == pytest.approx(math.sqrt(56 / 3))
    assert (found.spread["turns"].undecided, found.spread["invalid"].undecided) == (1.0, 0.0)
    assert (found.shifts["length"].flips, found.shifts["form"].flips) == (0.5, 0.0)
    assert found.shifts["length"].total_variation["0"] == pytest.approx((2 / 3 + 0) / 2)
    assert cliff.policy_cliff({}) is None is cliff.policy_cliff(of_group("c", *[episode(success=False)] * 2))


def finding(learned, check):
    return next((f for f in check_up(Evidence(learned=learned)) if f.check == check), None)


def test_ways_that_the_reward_does_not_tell_apart_are_a_notice_that_leads_to_the_longest():
    wide = of_group("a", episode("a", ["look"] * 2), episode("a", ["look"] * 9))
    told = finding(wide, "reward-ties")
    assert told.severity == "notice" and told.episode == "t6-a-1"
    assert "1 of 1 groups with a success (100 %)" in told.seen and "turns (5.5 ± 3.5)" in told.seen
    alike = of_group("a", episode("a", ["look", "take"]), episode("a", ["take", "look"]))
    assert finding(alike, "reward-ties").severity == "good" and finding({}, "reward-ties") is None


def test_a_tie_in_what_was_refused_is_seen_too():
    learned = of_group("a", episode("a", ["x", "y"]), episode("a", ["z", "y"], valid=False))
    assert "the share of invalid turns (50 % ± 50 %)" in finding(learned, "reward-ties").seen


def test_parts_of_a_score_that_hang_on_their_weights_are_a_warning():
    even = of_group("q", answered(0.5, 1.0, 0.0), answered(0.5, 0.0, 1.0), answered(1.0, 1.0, 1.0))
    told = finding(even, "reward-parts")
    assert told.severity == "warning" and told.episode == "t6-q-0" and "correct, format" in told.seen
    clear = of_group("q", answered(0.9, 1.0, 0.0), answered(0.1, 0.0, 1.0), answered(1.0, 1.0, 1.0))
    assert finding(clear, "reward-parts").severity == "notice"
    agreed = of_group("q", answered(1.0, 1.0, 1.0), answered(0.0, 0.0, 0.0))
    assert finding(agreed, "reward-parts").severity == "good"
    alone = of_group("q", answered(1.0, 1.0, 0.0), answered(0.0, 0.0, 1.0))
    assert finding(alone, "reward-parts") is None
