"""Credit that runs backwards: by hand, against plain loops, and what must hold of any batch."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrl.trainers.algorithms.archer import TURN_CREDIT, TurnCreditConfig
from agentrl.trainers.algorithms.bilevel_ppo import BILEVEL_GAE, BilevelConfig
from agentrl.trainers.parts.credit import (
    LAST,
    backward_sum,
    chain,
    chain_of_tokens,
    chain_of_turns,
    reward_at_tokens,
    step_returns,
)
from agentrl.trainers.parts.returns import LAST_TURN_OUTCOME, TURN_REWARD
from agentrl.trainers.parts.values import (
    GAE,
    VALUE_CLIP,
    GAEConfig,
    ValueClipConfig,
    clipped_value_loss,
    rewards_of_turns,
    whitened,
)
from tests.builders import reordered, view_of
from tests.strategies import views

ADVANTAGES = [
    (GAE, GAEConfig(gamma=0.9, lam=0.8)),
    (BILEVEL_GAE, BilevelConfig(gamma_turn=0.9, gamma_token=0.95, lam=0.8)),
    (TURN_CREDIT, TurnCreditConfig(gamma=0.9, lam=0.8)),
]


def test_a_chain_goes_by_order_within_its_unit() -> None:
    following = chain(torch.tensor([1, 0, 1, 0, 1]), torch.tensor([2, 1, 0, 0, 1]))
    assert following.tolist() == [LAST, LAST, 4, 1, 0]


def test_a_backward_sum_is_the_discounted_sum_of_what_follows() -> None:
    total = backward_sum(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.5, 0.1, 9.0]), torch.tensor([1, 2, LAST]))
    torch.testing.assert_close(total, torch.tensor([1 + 0.5 * (2 + 0.1 * 4), 2 + 0.1 * 4, 4.0]))
    assert backward_sum(torch.zeros(0), torch.zeros(0), torch.zeros(0).long()).tolist() == []


def test_a_summarise_turn_is_not_a_step_of_a_step_return() -> None:
    view = view_of([[[1, 1, 1]]], acts=[True, False, True], turn_position=[0, 1, 1], reward=[0, 0, 1])
    following = chain_of_turns(view.trajectory_of_turn, view.order_of_turn, view.acts)
    assert step_returns(view.reward, following, 0.5).tolist() == [0.5, 0, 1]


def test_a_turn_without_tokens_leaves_its_reward_to_the_turn_before_it_or_the_first_that_has_some() -> None:
    view = view_of([[[0, 2, 0, 1], [0, 0]]], reward=[1, 2, 4, 8, 16, 32])
    order = view.order_of_turn
    got = reward_at_tokens(view.reward, view.turn_of_token, view.trajectory_of_turn, order)
    assert got.tolist() == [0, 7, 0, 8, 0, 0]


def test_gae_by_hand_over_two_turns_with_a_value_after_the_cut() -> None:
    view = view_of(
        [[[1, 2]]],
        returns=[0.5, 1.0],
        value=[0.1, 0.2, 0.4],
        value_after=[0.8],
        bootstraps=[True],
    )
    credit = GAE.bind(view, GAEConfig(gamma=0.5, lam=0.5), None)
    last = 1.0 + 0.5 * 0.8 - 0.4
    middle = 0.0 + 0.5 * 0.4 - 0.2 + 0.25 * last
    first = 0.5 + 0.5 * 0.2 - 0.1 + 0.25 * middle
    torch.testing.assert_close(credit.advantage, torch.tensor([first, middle, last]).double())
    torch.testing.assert_close(credit.value_target, credit.advantage + view.value)


def test_turn_credit_by_hand_is_q_less_v_where_lambda_is_0() -> None:
    view = view_of(
        [[[1, 2]]], returns=[0.5, 1.0], value_at_start=[0.2, 0.6], value=[9, 9, 9], value_after=[0.4], bootstraps=[True]
    )
    credit = TURN_CREDIT.bind(view, TurnCreditConfig(gamma=0.5, lam=0.0), None)
    q = torch.tensor([0.5 + 0.5 * 0.6, 1.0 + 0.5 * 0.4]).double()
    torch.testing.assert_close(credit.value_target, q)
    torch.testing.assert_close(credit.advantage, (q - torch.tensor([0.2, 0.6]).double())[[0, 1, 1]])
    assert credit.level == "turn"


def test_the_last_turn_gets_the_outcome_and_every_turn_its_own_reward() -> None:
    view = view_of([[[1, 1], [1]]], score=[3, 5], reward=[1, 2, 4])
    assert LAST_TURN_OUTCOME.bind(view, None, None).tolist() == [0, 3, 5]
    assert TURN_REWARD.bind(view, None, None).tolist() == [1, 2, 4]


@settings(max_examples=25)
@given(view=views(), gamma=st.sampled_from([1.0, 0.9]), lam=st.sampled_from([0.0, 0.7, 1.0]))
def test_gae_is_what_a_plain_loop_over_each_episode_gives(view, gamma, lam):
    view = view.with_fields(returns=view.reward)
    credit = GAE.bind(view, GAEConfig(gamma=gamma, lam=lam), None)
    reward = rewards_of_turns(view)
    for trajectory in range(view.num_trajectories):
        turns = [u for u in range(view.num_turns) if view.trajectory_of_turn[u] == trajectory]
        turns.sort(key=lambda u: int(view.order_of_turn[u]))
        own = [(u, (view.turn_of_token == u).nonzero()[:, 0].tolist()) for u in turns]
        tokens = [(n, float(reward[u]) if n == of_turn[-1] else 0.0) for u, of_turn in own for n in of_turn]
        after, then = 0.0, float(view.value_after[trajectory])
        for n, paid in reversed(tokens):
            value = float(view.value[n])
            after = paid + gamma * then - value + gamma * lam * after
            then = value
            assert float(credit.advantage[n]) == pytest.approx(after, abs=1e-9)


@settings(max_examples=15)
@given(view=views(), order=st.integers(0, 999))
@pytest.mark.parametrize(("part", "config"), ADVANTAGES, ids=lambda x: getattr(x, "name", ""))
def test_the_order_of_turns_and_trajectories_changes_no_credit(part, config, view, order):
    view = view.with_fields(returns=view.reward)
    other, old_token, old_turn, _ = reordered(view, order)
    credit, again = part.bind(view, config, None), part.bind(other, config, None)
    before = old_token if credit.level == "token" else old_turn
    torch.testing.assert_close(credit.advantage[old_token], again.advantage, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(credit.value_target[before], again.value_target, rtol=1e-9, atol=1e-12)


@settings(max_examples=15)
@given(view=views())
@pytest.mark.parametrize(("part", "config"), ADVANTAGES, ids=lambda x: getattr(x, "name", ""))
def test_credit_and_value_loss_are_finite_for_any_batch(part, config, view):
    credit = part.bind(view.with_fields(returns=torch.zeros_like(view.reward)), config, None)
    assert credit.advantage.isfinite().all() and credit.value_target.isfinite().all()
    assert whitened(credit.advantage, view.in_statistics[view.trajectory_of_token]).isfinite().all()
    target = {"token": "value_target", "turn": "turn_value_target"}[credit.level]
    filled = view.with_fields(**{target: credit.value_target})
    term = VALUE_CLIP.bind(filled, ValueClipConfig(), None)
    assert term.level == credit.level and term.values.isfinite().all()
    assert all(math.isfinite(x) for x in VALUE_CLIP.metrics(filled, ValueClipConfig(), None).values())


def test_with_gamma_and_lambda_1_credit_is_what_was_paid_from_there_on_less_the_value() -> None:
    view = view_of([[[2, 1], [1]]], returns=[1, 2, 4], value=[0.5, 0.25, 0.125, 1], value_after=[0, 0])
    credit = GAE.bind(view, GAEConfig(), None)
    assert credit.value_target.tolist() == [3, 3, 2, 4]


def test_whitening_leaves_one_alone_and_gives_equal_ones_exactly_0() -> None:
    assert whitened(torch.tensor([3.0]), torch.tensor([True])).tolist() == [3]
    third = torch.tensor([1 / 3] * 3)
    assert whitened(third, torch.ones(3).bool()).tolist() == [0, 0, 0]
    some = whitened(torch.tensor([1.0, 3.0, 99.0]), torch.tensor([True, True, False]))
    torch.testing.assert_close(some, torch.tensor([-(0.5**0.5), 0.5**0.5, 0.0]))


def test_a_value_beyond_the_clip_has_no_gradient_and_without_a_clip_it_has() -> None:
    value = torch.tensor([2.0], requires_grad=True)
    old, target = torch.tensor([0.0]), torch.tensor([3.0])
    (held,) = torch.autograd.grad(clipped_value_loss(value, old, target, 0.5).sum(), value)
    (free,) = torch.autograd.grad(clipped_value_loss(value, old, target, 0.0).sum(), value)
    assert (held.item(), free.item()) == (0.0, -1.0)


def test_tokens_of_a_trajectory_follow_each_other_over_the_observations() -> None:
    view = view_of([[[2, 0, 1], [1]]])
    filled = torch.tensor([True, False, True, True])
    turns = chain_of_turns(view.trajectory_of_turn, view.order_of_turn, filled)
    assert chain_of_tokens(view.turn_of_token, turns).tolist() == [1, 2, LAST, LAST]
