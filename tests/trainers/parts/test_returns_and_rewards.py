"""Returns, rewards of our own, and the gate that reads returns."""

import pytest
import torch
from hypothesis import given, settings

from agentrl.errors import ConfigError
from agentrl.trainers.parts.gates import SIGNAL, SignalConfig
from agentrl.trainers.parts.returns import DISCOUNTED, OUTCOME, REWARD_SUM, DiscountConfig
from agentrl.trainers.parts.rewards import INVALID_ACTION_PENALTY, InvalidActionConfig
from tests.builders import view_of
from tests.strategies import views


def test_outcome_gives_every_turn_the_score():
    view = view_of([[[1, 1], [1]]], score=[2.0, 3.0], reward=[9.0, 9.0, 9.0])
    assert OUTCOME.bind(view, None, None).tolist() == [2.0, 2.0, 3.0]


def test_reward_sum_gives_every_turn_the_sum_of_its_trajectory():
    view = view_of([[[1, 1], [1]]], score=[9.0, 9.0], reward=[0.5, 1.0, 2.0])
    assert REWARD_SUM.bind(view, None, None).tolist() == [1.5, 1.5, 2.0]


def test_a_discounted_outcome_counts_the_acting_turns_still_to_come():
    view = view_of(
        [[[1, 1, 0, 1, 1]]],
        score=[8.0],
        acts=[True, False, True, True, False],  # acting turns 0, 1, 2; a summarise turn before 1 and one at the end
        turn_position=[0, 1, 1, 2, 3],
    )
    assert DISCOUNTED.bind(view, DiscountConfig(gamma=0.5), None).tolist() == [2.0, 4.0, 4.0, 8.0, 8.0]


@pytest.mark.parametrize("gamma", [0.0, 1.5])
def test_a_discount_that_cannot_be_is_refused(gamma):
    with pytest.raises(ConfigError, match="gamma"):
        DiscountConfig(gamma=gamma)


def test_invalid_actions_cost_and_summaries_do_not():
    view = view_of(
        [[[1, 1, 1, 1]]],
        acts=[True, True, True, False],
        readable=[True, False, True, False],
        valid=[True, True, False, False],
    )
    assert INVALID_ACTION_PENALTY.bind(view, InvalidActionConfig(penalty=0.3), None).tolist() == [0.0, -0.3, -0.3, 0.0]


def test_a_group_whose_returns_are_all_equal_has_no_signal():
    view = view_of([[[1], [1]], [[1], [1, 1]], [[1]]], score=[1.0, 0.0, 0.1, 0.1, 1.0])
    view = view.with_fields(returns=view.score[view.trajectory_of_turn])
    assert SIGNAL.bind(view, SignalConfig(), None).tolist() == [True, False, False]
    assert SIGNAL.bind(view.with_fields(singleton="raw"), SignalConfig(), None).tolist() == [True, False, True]


@settings(max_examples=40)
@given(views())
def test_every_turn_has_a_finite_return(view):
    for part, config in ((OUTCOME, None), (REWARD_SUM, None), (DISCOUNTED, DiscountConfig())):
        returns = part.bind(view, config, None)
        assert returns.shape == (view.num_turns,)
        assert returns.isfinite().all()
        assert SIGNAL.bind(view.with_fields(returns=returns), SignalConfig(), None).dtype == torch.bool
