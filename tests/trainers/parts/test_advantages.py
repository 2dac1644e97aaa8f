"""Advantages: group norm, leave-one-out and raw returns."""

import pytest
import torch
from hypothesis import given, settings

from agentrl.segments import sum_by
from agentrl.trainers.parts.advantages import (
    GROUP_NORM,
    LEAVE_ONE_OUT,
    RAW_RETURN,
    GroupNormConfig,
    RawReturnConfig,
    batch_mean,
    group_norm,
    leave_one_out,
    return_of_trajectory,
)
from tests.builders import view_of
from tests.strategies import views


def with_outcome(view):
    return view.with_fields(returns=view.score[view.trajectory_of_turn])


def two_of_three(**fields):
    """Scores 1, 0, 1 in one group, one token a trajectory."""
    return with_outcome(view_of([[[1], [1], [1]]], score=[1.0, 0.0, 1.0], **fields))


def test_group_norm_by_hand():
    std = (1 / 3) ** 0.5  # unbiased deviation of 1, 0, 1 around 2/3
    expected = torch.tensor([1 / 3, -2 / 3, 1 / 3], dtype=torch.float64) / (std + 1e-6)
    torch.testing.assert_close(GROUP_NORM.bind(two_of_three(), GroupNormConfig(), None), expected)


def test_without_std_only_the_mean_is_taken_off():
    got = GROUP_NORM.bind(two_of_three(), GroupNormConfig(std=False), None)
    torch.testing.assert_close(got, torch.tensor([1 / 3, -2 / 3, 1 / 3], dtype=torch.float64))


def test_epsilon_dampens_small_deviations():
    got = GROUP_NORM.bind(two_of_three(), GroupNormConfig(epsilon=1.0), None)
    assert got[0].item() == pytest.approx((1 / 3) / ((1 / 3) ** 0.5 + 1))


def test_leave_one_out_by_hand():
    assert LEAVE_ONE_OUT.bind(two_of_three(), None, None).tolist() == [0.5, -1.0, 0.5]


def test_over_turns_long_trajectories_weigh_more():
    view = with_outcome(view_of([[[1, 1, 1], [1]]], score=[1.0, 0.0]))
    over_turns = GROUP_NORM.bind(view, GroupNormConfig(unit="turn", std=False), None)
    over_trajectories = GROUP_NORM.bind(view, GroupNormConfig(std=False), None)
    assert over_turns.tolist() == [0.25, 0.25, 0.25, -0.75]
    assert over_trajectories.tolist() == [0.5, 0.5, 0.5, -0.5]


@pytest.mark.parametrize("part", [GROUP_NORM, LEAVE_ONE_OUT], ids=lambda part: part.name)
def test_a_group_of_one_gets_nothing_or_its_raw_return(part):
    config = part.config() if part.config else None
    for singleton, expected in (("zero", 0.0), ("raw", 3.0)):
        view = with_outcome(view_of([[[2]]], score=[3.0], singleton=singleton))
        assert part.bind(view, config, None).tolist() == pytest.approx([expected] * 2, rel=2e-6)


def test_several_turns_of_one_trajectory_are_no_group_of_one():
    view = with_outcome(view_of([[[1, 1]]], score=[3.0], singleton="raw"))
    assert GROUP_NORM.bind(view, GroupNormConfig(unit="turn"), None).tolist() == [0.0, 0.0]


def test_what_is_in_no_statistic_changes_no_other_and_gets_nothing():
    view = with_outcome(
        view_of([[[1], [1], [1], [1]]], score=[1.0, 0.0, 1.0, 100.0], in_statistics=[True, True, True, False])
    )
    got = GROUP_NORM.bind(view, GroupNormConfig(), None)
    assert torch.equal(got[:3], GROUP_NORM.bind(two_of_three(), GroupNormConfig(), None))
    assert got[3].item() == 0


@settings(max_examples=60)
@given(views())
def test_advantages_of_a_group_add_up_to_zero(view):
    value = return_of_trajectory(view.score[view.trajectory_of_turn], view.trajectory_of_turn, view.num_trajectories)
    group, counted, num = view.group_of_trajectory, view.in_statistics, view.num_groups
    for advantage in (
        group_norm(value, group, counted, num),
        group_norm(value, group, counted, num, std=False),
        leave_one_out(value, group, counted, num),
    ):
        assert advantage.isfinite().all()
        assert sum_by(advantage, group, num).abs().max().item() < 1e-6 if num else True


@settings(max_examples=60)
@given(views())
def test_equal_scores_give_exactly_zero(view):
    view = with_outcome(view.with_fields(score=torch.full_like(view.score, 0.1), singleton="zero"))
    for got in (
        GROUP_NORM.bind(view, GroupNormConfig(), None),
        GROUP_NORM.bind(view, GroupNormConfig(unit="turn", std=False), None),
        LEAVE_ONE_OUT.bind(view, None, None),
        RAW_RETURN.bind(view, RawReturnConfig(baseline="batch-mean"), None),
    ):
        assert not got.any()


def test_raw_return_is_the_return_or_what_it_is_above_the_batch():
    view = with_outcome(view_of([[[1, 1], [1]], [[1]]], score=[1.0, 0.0, 2.0]))
    assert RAW_RETURN.bind(view, RawReturnConfig(), None).tolist() == [1.0, 1.0, 0.0, 2.0]
    assert RAW_RETURN.bind(view, RawReturnConfig(baseline="batch-mean"), None).tolist() == [0.0, 0.0, -1.0, 1.0]


def test_the_batch_mean_of_one_is_itself_or_left_out():
    one, counted = torch.tensor([3.0]), torch.tensor([True])
    assert batch_mean(one, counted, "zero").item() == 3.0
    assert batch_mean(one, counted, "raw").item() == 0.0
    assert batch_mean(one, ~counted, "zero").item() == 0.0


def test_groups_with_signal_are_counted_among_those_present():
    view = with_outcome(view_of([[[1], [1]], [[1], [1]]], score=[1.0, 0.0, 1.0, 1.0], num_groups=3))
    for part, config in ((GROUP_NORM, GroupNormConfig()), (LEAVE_ONE_OUT, None)):
        filled = view.with_fields(advantage=part.bind(view, config, None))
        assert part.metrics(filled, config, None) == {"advantage/groups_with_signal": 0.5}
        half = filled.keep(torch.tensor([0, 2]))  # a minibatch with one of each group says the same
        assert part.metrics(half, config, None) == {"advantage/groups_with_signal": 0.5}
