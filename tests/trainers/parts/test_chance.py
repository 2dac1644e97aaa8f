"""Chance that belongs to what it is for, and choices made with it."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrl.trainers.parts.chance import largest, token_chance, trajectory_chance
from tests.builders import reordered, view_of
from tests.strategies import views


@settings(max_examples=25)
@given(view=views(), order=st.integers(0, 999))
def test_a_token_keeps_its_chance_in_any_order(view, order):
    other, old_token, _, old_trajectory = reordered(view, order)
    assert torch.equal(token_chance(view, "x")[old_token], token_chance(other, "x"))
    assert torch.equal(trajectory_chance(view, "x")[old_trajectory], trajectory_chance(other, "x"))


@settings(max_examples=25)
@given(view=views(min_groups=1), data=st.data())
def test_a_token_keeps_its_chance_in_any_cut(view, data):
    kept = torch.tensor(sorted(data.draw(st.sets(st.integers(0, view.num_trajectories - 1), min_size=1))))
    tokens = torch.isin(view.trajectory_of_token, kept)
    assert torch.equal(token_chance(view, "x")[tokens], token_chance(view.keep(kept), "x"))


def test_chance_differs_by_step_seed_purpose_and_token_and_is_even():
    view = view_of([[[500, 500], [1000]]])
    chance = token_chance(view, "x")
    assert len(chance.unique()) == 2000
    assert chance.min() >= 0 and chance.max() < 1
    assert abs(chance.mean() - 0.5) < 0.03
    assert abs(chance.std() - 12**-0.5) < 0.02
    for other in (view.with_fields(step=1), view.with_fields(seed=1)):
        assert not (token_chance(other, "x") == chance).any()
    assert not (token_chance(view, "y") == chance).any()


def test_the_largest_are_chosen_and_ties_go_by_chance():
    value = torch.tensor([1.0, 3.0, 3.0, 2.0, 9.0], dtype=torch.float64)
    counted = torch.tensor([True, True, True, True, False])
    chance = torch.tensor([0.1, 0.5, 0.4, 0.9, 0.0])
    assert largest(value, counted, 1, chance).tolist() == [False, False, True, False, False]
    assert largest(value, counted, 3, chance).tolist() == [False, True, True, True, False]
    assert largest(value, counted, 9, chance).tolist() == counted.tolist()
    noise = value + torch.tensor([0, 0, 1e-15, 0, 0])  # the same numbers, added up in another order
    assert torch.equal(largest(noise, counted, 1, 1 - chance), largest(value, counted, 1, 1 - chance))


def test_nothing_is_chosen_from_nothing():
    assert largest(torch.zeros(0), torch.zeros(0, dtype=torch.bool), 1, torch.zeros(0)).tolist() == []
