"""GiGPO by hand, and what its anchor groups are made of."""

import math

import pytest
import torch

from agentrl.registry import load
from agentrl.trainers.algorithms.gigpo import anchor_groups
from agentrl.trainers.composition import compose
from tests.builders import view_of


def advantage(view, **settings):
    composition = compose(load("algorithm", "gigpo"), settings={"gigpo": settings})
    view = composition.advantage(view)
    return view.advantage, composition.metrics(view.with_fields(old=view.advantage, current=view.advantage))


def two_rollouts(**fields):
    """One wins at its second turn, one fails; both begin at the same observation and then see others."""
    defaults = {"score": [1, 0], "reward": [0, 1, 0, 0], "observation_class": torch.tensor([7, 8, 7, 9])}
    return view_of([[[1, 1], [1, 1]]], **(defaults | fields))


def test_the_episodes_advantage_and_that_of_turns_at_one_observation_add_up():
    got, shown = advantage(two_rollouts(), std=False, gamma=0.5)
    # episode: +-1/2; the shared first turn: G = 1/2 against 0, mean 1/4; second turns are alone
    torch.testing.assert_close(got, torch.tensor([0.75, 0.5, -0.75, -0.5]).double())
    assert shown["gigpo/anchored_share"] == 0.5 and shown["gigpo/step_signal_share"] == 0.5


def test_with_deviations_both_are_in_units_of_them():
    got, _ = advantage(two_rollouts(), gamma=0.5)
    unit = 1 / math.sqrt(2)
    torch.testing.assert_close(got, torch.tensor([2, 1, -2, -1]).double() * unit, rtol=1e-5, atol=0)


def test_without_weight_it_is_grpo():
    got, _ = advantage(two_rollouts(), omega=0.0)
    expected = compose(load("algorithm", "grpo")).advantage(two_rollouts()).advantage
    torch.testing.assert_close(got, expected)


def test_equal_observations_of_different_tasks_are_not_compared():
    anchor, size = anchor_groups(torch.tensor([0, 0, 1, 1]), torch.tensor([5, 5, 5, 6]))
    assert size == 3 and anchor[0] == anchor[1] and len(set(anchor.tolist())) == 3


def test_a_summarise_turn_has_the_episodes_advantage_alone():
    view = two_rollouts(acts=[True, True, False, True], turn_position=[0, 1, 0, 0])
    got, _ = advantage(view, std=False, gamma=0.5)
    assert got.tolist() == [0.5, 0.5, -0.5, -0.5]  # the first turn's only companion does not act


@pytest.mark.parametrize("returns", ["outcome", "reward-sum"])
def test_reward_parts_are_read_by_the_turns_own_advantage(returns):
    composition = compose(load("algorithm", "gigpo"), {"rewards": ["invalid-action-penalty"], "returns": returns})
    view = composition.advantage(two_rollouts(reward=[0, 0, 0, 0], score=[0, 0], valid=[False, True, True, True]))
    assert view.advantage is not None
    assert view.advantage[0] < 0 < view.advantage[2]
