"""EPO against hand-computed numbers and against what must hold for any batch."""

import json
import math

import pytest
import torch
from hypothesis import given, settings

from agentrl.errors import ConfigError
from agentrl.trainers.algorithms.epo import (
    EPO,
    EPO_ENTROPY,
    EPO_SMOOTHING,
    EntropyHistory,
    EPOConfig,
    entropy_band_penalty,
    smoothing_weight,
)
from agentrl.trainers.composition import compose
from tests.builders import reordered, view_of
from tests.strategies import views


def penalty_of(entropy, reference, shape="hinge", low=0.8, high=1.2):
    return entropy_band_penalty(entropy, reference, low, high, 1.0, shape)


@pytest.mark.parametrize(
    ("entropy", "hinge", "indicator"),  # band [0.8, 1.2] around 1, slope and height 1; by hand
    [(0.5, 0.3, 1.0), (0.8, 0.0, 1.0), (1.0, 0.0, 0.0), (1.2, 0.0, 1.0), (1.5, 0.3, 1.0)],
)
def test_penalty_is_the_distance_from_the_band(entropy, hinge, indicator):
    one = torch.ones(1, dtype=torch.float64)
    assert penalty_of(one * entropy, one).item() == pytest.approx(hinge)
    assert penalty_of(one * entropy, one, "indicator").item() == indicator


def test_penalty_pulls_the_entropy_back_and_the_indicator_does_not():
    entropy = torch.tensor([0.5, 1.5], requires_grad=True)
    penalty_of(entropy, torch.ones(2)).sum().backward()
    assert entropy.grad.tolist() == [-1.0, 1.0]
    assert not penalty_of(entropy, torch.ones(2), "indicator").requires_grad


def test_on_the_bound_there_is_no_gradient():
    entropy = torch.tensor([0.8, 1.2, 0.0], dtype=torch.float64, requires_grad=True)
    penalty_of(entropy[:2], torch.ones(2, dtype=torch.float64)).sum().backward()
    penalty_of(entropy[2:], torch.ones(1, dtype=torch.float64), low=0.0).sum().backward()
    assert entropy.grad.tolist() == [0.0, 0.0, 0.0]


def test_without_a_floor_an_entropy_of_zero_is_outside_for_the_indicator_alone():
    zero, one = torch.zeros(1), torch.ones(1)
    assert penalty_of(zero, one, "indicator", low=0.0).item() == 1.0
    assert penalty_of(zero, one, "hinge", low=0.0).item() == 0.0


def test_schedule_starts_at_one_and_jumps_down_at_half_time():
    assert smoothing_weight(0, 150) == 1.0
    assert smoothing_weight(75, 150) == pytest.approx(1 - 0.2 * (1 - math.exp(-2)))
    assert smoothing_weight(76, 150) == pytest.approx(0.8 * math.exp(-3 / 75))
    assert smoothing_weight(150, 150) == pytest.approx(0.8 * math.exp(-3))
    assert smoothing_weight(400, 150) == smoothing_weight(150, 150)
    assert smoothing_weight(-1, 150) == smoothing_weight(5, 0) == smoothing_weight(0, 1) == 1.0
    assert smoothing_weight(62, 125) == pytest.approx(1 - 0.2 * (1 - math.exp(-2)))  # half is 125 // 2
    assert smoothing_weight(150, 150, fast=1.0) == pytest.approx(0.8 * math.exp(-1))


def one_trajectory(entropy, **fields):
    """One token a turn."""
    return view_of([[[1] * len(entropy)]], sampled_entropy=entropy, entropy=entropy, **fields)


def after(*steps, **settings):
    history = EntropyHistory(EPOConfig(**settings))
    for step in steps:
        history.update(one_trajectory(step))
    return history


def references(history, num):
    return history.reference(torch.arange(num)).tolist()


def test_the_reference_is_the_mean_of_the_steps_in_which_the_position_was_seen():
    assert references(after([1.0, 5.0], [2.0]), 2) == [1.5, 5.0]
    assert math.isnan(references(after([1.0]), 2)[1])


def test_a_window_looks_back_over_steps_of_the_run():
    history = after([1.0, 5.0], [2.0], [4.0], window=2)
    assert references(history, 1) == [3.0]
    assert math.isnan(references(history, 2)[1])


def test_a_step_records_tokens_or_turns_equally():
    view = view_of([[[3], [1]]], sampled_entropy=[1.0, 1.0, 1.0, 5.0])
    for record, expected in (("token_mean", 2.0), ("mean_of_turn_means", 3.0)):
        history = EntropyHistory(EPOConfig(record=record))
        history.update(view)
        assert references(history, 1) == [expected]


def test_summaries_and_what_is_in_no_statistic_are_not_recorded():
    view = view_of(
        [[[1, 1], [1]]],
        sampled_entropy=[1.0, 7.0, 9.0],
        acts=[True, False, True],
        turn_position=[0, 1, 0],
        in_statistics=[True, False],
    )
    history = EntropyHistory()
    history.update(view)
    assert references(history, 1) == [1.0]
    assert math.isnan(references(history, 2)[1])


def test_the_current_step_counts_where_the_reference_includes_it():
    history = after([1.0], reference="including_current")
    view = one_trajectory([3.0])
    history.observe(view)
    history.observe(view)  # twice changes nothing
    assert references(history, 1) == [2.0]
    history.update(view)
    assert references(history, 1) == [2.0]
    before = after([1.0])
    before.observe(view)
    assert references(before, 1) == [1.0]


def test_a_step_that_was_not_observed_is_read_from_the_first_updates_own_entropies():
    history = after([1.0], reference="including_current")
    view = view_of([[[1]]], entropy=[5.0])
    history.observe(view)  # nothing is known yet
    config = EPOConfig(reference="including_current", high=1.0, penalty=1.0)
    assert EPO_SMOOTHING.bind(view, config, history).values.tolist() == [2.0]  # 5 against the mean of 1 and 5


@pytest.mark.parametrize("window", [0, 2])
def test_history_survives_a_checkpoint(window):
    history = after([1.0, 3.0], [0.1], [0.7, 1 / 3], window=window)
    restored = EntropyHistory(EPOConfig(window=window))
    restored.load_state_dict(json.loads(json.dumps(history.state_dict())))
    assert references(restored, 2) == references(history, 2)
    for state in (history, restored):
        state.update(one_trajectory([0.3, 0.3]))
    assert references(restored, 2) == references(history, 2)


def smoothing(view, history, **settings):
    """The term's part of the loss, and its gradient at the entropies."""
    config = EPOConfig(**settings)
    entropy = view.entropy.clone().requires_grad_()
    term = EPO_SMOOTHING.bind(view.with_fields(entropy=entropy), config, history)
    weights = compose(EPO).weights(view, term.level, term.aggregate)
    value = term.weight * (weights * term.values).sum()
    gradient = torch.autograd.grad(value, entropy)[0] if value.requires_grad else torch.zeros_like(entropy)
    return value.item(), gradient.tolist()


def test_smoothing_by_hand():
    # reference 1, band up to 2: turn 0 (mean of 2 and 4) is 1 above, turn 1 inside; two turns, slope 0.1, lambda 0.001
    view = view_of([[[2, 1]]], entropy=[2.0, 4.0, 0.5], step=0)
    value, gradient = smoothing(view, after([1.0, 1.0]))
    assert value == pytest.approx(1e-3 * 0.1 * 1.0 / 2)
    assert gradient == pytest.approx([1e-3 * 0.1 / 4, 1e-3 * 0.1 / 4, 0.0])


def test_a_turn_that_was_never_seen_or_summarises_costs_nothing_and_stays_in_the_count():
    view = view_of([[[1, 1, 1]]], entropy=[3.0, 9.0, 9.0], acts=[True, True, False], turn_position=[0, 5, 0])
    value, gradient = smoothing(view, after([1.0]), entropy_coef=1.0, penalty=1.0)
    assert value == pytest.approx(1.0 / 3)
    assert gradient == pytest.approx([1 / 3, 0.0, 0.0])


def test_tokens_without_loss_are_not_part_of_their_turns_entropy():
    view = view_of([[[2]]], entropy=[3.0, 100.0], trained=[True, False])
    value, gradient = smoothing(view, after([1.0]), entropy_coef=1.0, penalty=1.0)
    assert value == pytest.approx(1.0)
    assert gradient == pytest.approx([1.0, 0.0])


def test_before_the_first_step_there_is_no_reference_and_no_penalty():
    assert smoothing(one_trajectory([9.0]), EntropyHistory()) == (0.0, [0.0])


@pytest.mark.parametrize(
    "changed",
    [
        {"entropy_coef": 0.5},
        {"smooth_coef": 0.5},
        {"penalty": 0.5},
        {"low": 0.9},
        {"high": 1.5},
        {"shape": "indicator"},
        {"unit": "token"},
        {"penalty_aggregate": "token-mean"},
        {"penalty_aggregate": "trajectory-mean-of-turn-means"},
        {"schedule": False},
        {"fast": 1.0},
        {"record": "mean_of_turn_means"},
        {"window": 1},
        {"reference": "including_current"},
    ],
    ids=str,
)
def test_every_switch_of_the_smoothing_changes_it(changed):
    view = view_of(
        [[[3, 1], [1]]],
        entropy=[2.9, 2.6, 0.1, 0.2, 4.0],
        sampled_entropy=[1.0, 2.0, 2.5, 1.0, 1.5],
        step=6,
        num_steps=10,
    )
    results = []
    for settings_ in ({}, changed):
        history = EntropyHistory(EPOConfig(**settings_))
        for entropy in ([0.1, 0.2, 0.9, 1.0, 1.5], [1.0, 0.9, 0.8, 0.7, 0.2]):
            history.update(view.with_fields(sampled_entropy=torch.tensor(entropy, dtype=torch.float64)))
        history.observe(view)
        results.append(smoothing(view, history, **settings_)[0])
    assert results[0] != pytest.approx(results[1])


def test_the_bonus_follows_its_aggregate():
    view = view_of([[[3, 1], [1]]], entropy=[1.0, 1.0, 1.0, 5.0, 2.0])
    for aggregate, mean in (("token-mean", 2.0), ("turn-mean", 8 / 3), ("trajectory-mean-of-turn-means", 2.5)):
        term = EPO_ENTROPY.bind(view, EPOConfig(entropy_coef=0.5, entropy_aggregate=aggregate), None)
        weights = compose(EPO).weights(view, term.level, term.aggregate)
        assert term.weight * (weights * term.values).sum().item() == pytest.approx(-0.5 * mean)


def test_without_smoothing_or_bonus_nothing_more_is_needed():
    assert compose(EPO).needs == {"old", "entropy", "sampled_entropy"}
    assert compose(EPO, settings={"epo": {"penalty": 0.0}}).needs == {"old", "entropy"}
    assert compose(EPO, settings={"epo": {"entropy_coef": 0.0}}).needs == {"old"}


def test_what_the_smoothing_couples_follows_from_its_settings():
    assert compose(EPO).couples == "turn"
    assert compose(EPO, settings={"epo": {"unit": "token"}}).couples == "token"
    assert compose(EPO, settings={"epo": {"reference": "including_current"}}).couples == "batch"


def test_metrics_say_how_many_turns_are_outside_and_how_hard_they_are_pulled():
    view = view_of([[[2, 1, 1]]], entropy=[2.0, 4.0, 0.5, 9.0])
    shown = EPO_SMOOTHING.metrics(view, EPOConfig(schedule=False), after([1.0, 1.0]))  # the third turn was never seen
    assert shown["epo/outside_share"] == 0.5
    assert shown["epo/smoothing_gradient"] == pytest.approx(1e-4 / 3 * (0.5**2 + 0.5**2) ** 0.5)
    empty = view_of([[[0]]], entropy=[])
    assert EPO_SMOOTHING.metrics(empty, EPOConfig(), EntropyHistory()) == {
        "epo/outside_share": 0.0,
        "epo/smoothing_gradient": 0.0,
    }


@pytest.mark.parametrize("settings_", [{"penalty": -1.0}, {"window": -1}, {"low": 3.0}])
def test_settings_that_cannot_be_are_refused(settings_):
    with pytest.raises(ConfigError, match=r"settings\.epo"):
        compose(EPO, settings={"epo": settings_})


@settings(max_examples=40)
@given(views())
def test_the_record_does_not_depend_on_the_order_and_is_never_nan(view):
    for record in ("token_mean", "mean_of_turn_means"):
        first, second = (EntropyHistory(EPOConfig(record=record)) for _ in range(2))
        first.update(view)
        second.update(reordered(view, 7)[0])
        seen = torch.tensor([p for p, _, _ in first.state_dict()["sums"]], dtype=torch.int64)
        torch.testing.assert_close(first.reference(seen), second.reference(seen))
        assert not first.reference(seen).isnan().any()
