"""REINFORCE++ and DAPO: returns to go by hand, what is refused, and over-long shaping in the score."""

import pytest
import torch

from agentrl.errors import ConfigError
from agentrl.registry import load
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.rewards import OVERLONG, OverlongConfig
from tests.builders import view_of


def advantage(view, name="reinforce-plus-plus", parts=None, **settings):
    return compose(load("algorithm", name), parts, settings).advantage(view).advantage


def test_a_return_to_go_is_discounted_by_the_token_across_turns():
    view = view_of([[[2, 1]]], score=[1.0], reward=[5.0, 7.0])
    got = advantage(view, parts={"modifiers": "none"}, **{"return-to-go": {"gamma": 0.5}})
    assert got.tolist() == [0.25, 0.5, 1.0]
    paid = advantage(view, parts={"modifiers": "none", "returns": "turn-reward"}, **{"return-to-go": {"gamma": 0.5}})
    assert paid.tolist() == [0.5 * 8.5, 5.0 + 0.5 * 7.0, 7.0]


def test_a_returns_part_that_credits_every_turn_with_the_episode_is_refused():
    with pytest.raises(ConfigError, match="counted at every turn.*last-turn-outcome"):
        compose(load("algorithm", "reinforce-plus-plus"), {"returns": "outcome"})


def test_advantages_are_white_over_the_tokens_of_the_batch():
    view = view_of([[[3], [1]], [[2]]], score=[1.0, 0.0, 0.5])
    for name in ("reinforce-plus-plus", "reinforce-plus-plus-baseline"):
        got = advantage(view, name)
        assert got.mean().item() == pytest.approx(0, abs=1e-12)
        assert got.std().item() == pytest.approx(1, abs=1e-6)


def test_the_baseline_form_compares_within_the_group_first():
    view = view_of([[[1], [1]], [[1], [1]]], score=[1.0, 0.0, 5.0, 4.0])
    first, second, third, fourth = advantage(view, "reinforce-plus-plus-baseline").tolist()
    assert (first, second) == (third, fourth)


@pytest.mark.parametrize(("length", "penalty"), [(5, 0.0), (6, 0.0), (8, -0.5), (10, -1.0), (12, -1.0)])
def test_the_penalty_grows_over_the_buffer_and_ends_at_the_factor(length, penalty):
    view = view_of([[[length]]])
    assert OVERLONG.bind(view, OverlongConfig(max_length=10, buffer=4), None).tolist() == [penalty]


def test_a_length_is_the_episodes_or_that_of_its_longest_reply():
    view = view_of([[[4, 6]]])
    episode, reply = (
        OVERLONG.bind(view, OverlongConfig(max_length=10, buffer=8, unit=unit), None).item()
        for unit in ("trajectory", "turn")
    )
    assert (episode, reply) == (-1.0, -0.5)


def test_shaping_changes_the_score_that_is_compared_but_not_which_groups_pass():
    view = view_of([[[2], [8]], [[2], [8]]], score=[1.0, 1.0, 1.0, 0.0], success=[1.0, 1.0, 1.0, 0.0])
    composition = compose(load("algorithm", "dapo"), settings={"overlong": {"max_length": 8, "buffer": 4}})
    assert composition.gate(view).tolist() == [False, True]
    shaped = composition.advantage(view)
    assert shaped.score.tolist() == [1.0, 0.0, 1.0, -1.0]
    assert shaped.reward.tolist() == view.reward.tolist()


def test_a_change_of_the_score_beside_returns_that_read_rewards_is_refused():
    with pytest.raises(ConfigError, match="outcome's score.*parts.returns=outcome"):
        compose(load("algorithm", "dapo"), {"returns": "reward-sum"}, {"overlong": {"max_length": 8}})


def test_without_a_length_of_ones_own_nothing_is_shaped():
    composition = compose(load("algorithm", "dapo"))
    assert composition.slots["rewards"] == ()
    assert torch.equal(
        composition.advantage(view_of([[[2], [8]]], score=[1.0, 0.0])).score, torch.tensor([1.0, 0.0]).double()
    )
