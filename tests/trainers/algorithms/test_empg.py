"""EMPG against its equations and what they reduce to. Larger cases stand in tests/golden."""

import math

import pytest
import torch
from hypothesis import given, settings

from agentrl.segments import count_by, mean_by
from agentrl.trainers.algorithms.empg import EMPG, EMPG_MODULATION, EMPGConfig, modulation
from agentrl.trainers.composition import compose
from tests.builders import view_of
from tests.strategies import views


def modulated(view, **settings):
    return EMPG_MODULATION.bind(view, EMPGConfig(**settings), None)


def two_turns(**fields):
    """One trajectory of two turns with entropies 0 and 1; the first has two tokens."""
    given = {"sampled_entropy": [0.0, 0.0, 1.0], "advantage": [1.0, 1.0, 1.0]} | fields
    return view_of([[[2, 1]]], **given)


def test_empg_by_hand():
    sure, unsure = 1.0, math.exp(-1)
    mean = (sure + unsure) / 2
    before = [sure / mean + 0.1 * math.exp(-1), unsure / mean]
    centre = sum(before) / 2
    expected = [before[0] - centre, before[0] - centre, before[1] - centre]
    assert modulated(two_turns()).tolist() == pytest.approx(expected, abs=1e-7)


@settings(max_examples=40)
@given(view=views())
def test_equal_entropies_and_no_bonus_only_centre(view):
    view = view.with_fields(sampled_entropy=torch.full_like(view.old, 0.7), advantage=view.old)
    counted = (count_by(view.turn_of_token, view.num_turns) > 0) & view.in_statistics[view.trajectory_of_turn]
    of_turn = mean_by(view.old, view.turn_of_token, view.num_turns)[counted]
    here = counted[view.turn_of_token]
    expected = view.old[here] - (of_turn.mean() if len(of_turn) else 0.0)
    torch.testing.assert_close(modulated(view, zeta=0.0)[here], expected, rtol=1e-6, atol=1e-6)


@settings(max_examples=40)
@given(view=views())
def test_turns_add_up_to_zero_and_nothing_is_nan(view):
    view = compose(EMPG).advantage(view)
    counted = (count_by(view.turn_of_token, view.num_turns) > 0) & view.in_statistics[view.trajectory_of_turn]
    of_turn = mean_by(view.advantage, view.turn_of_token, view.num_turns)
    assert view.advantage.isfinite().all()
    assert abs(float(of_turn[counted].sum())) < 1e-9


def test_a_group_without_signal_still_gets_the_bonus():
    got = modulated(two_turns(advantage=[0.0] * 3))
    assert got[0] > 0 > got[2]


def test_a_turn_without_tokens_brings_no_bonus_and_counts_nowhere():
    view = view_of([[[1, 0, 1]]], sampled_entropy=[0.0, 1.0], advantage=[0.0, 0.0])
    assert modulated(view).tolist() == [0.0, 0.0]


def test_the_successor_of_a_turn_is_the_next_acting_one():
    view = view_of(
        [[[1, 1, 1]]],
        acts=[True, False, True],
        turn_position=[0, 1, 1],
        sampled_entropy=[1.0, 0.5, 0.0],
        advantage=[0.0] * 3,
    )
    bonus = 0.1 * 1.0  # of the third turn, whose entropy is the lowest
    assert modulated(view).tolist() == pytest.approx([bonus - bonus / 3, -bonus / 3, -bonus / 3])


def test_scales_are_one_on_average():
    entropy = torch.tensor([0.1, 0.5, 0.9]).double()
    got = modulation(entropy, torch.ones(3, dtype=torch.bool), torch.full((3,), -1), EMPGConfig())
    assert float(got.scale.mean()) == pytest.approx(1, abs=1e-7)
    assert got.bonus.tolist() == [0.0] * 3
