"""Selections and gates: what carries loss, and by what it is chosen."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agentrl.registry import load
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.gates import SIGNAL, SignalConfig
from agentrl.trainers.parts.selections import kept_of
from tests.builders import reordered, view_of
from tests.strategies import views


def down_sampled(view, multiple):
    composition = compose(load("algorithm", "eapo"), settings={"whole-multiple": {"multiple": multiple}})
    return composition.advantage(view), composition


def turns_with_loss(view):
    return len(view.turn_of_token[view.trained].unique())


@settings(max_examples=40)
@given(view=views(), multiple=st.integers(2, 5), order=st.integers(0, 999))
def test_the_turns_that_are_kept_are_a_multiple_and_the_same_in_any_order(view, multiple, order):
    had = turns_with_loss(view)
    other, old_token, _, _ = reordered(view, order)
    kept, composition = down_sampled(view, multiple)
    assert turns_with_loss(kept) == (kept_of(had, multiple) or had)
    assert torch.equal(kept.trained[old_token], down_sampled(other, multiple)[0].trained)
    shown = composition.metrics(kept.with_fields(current=view.old))
    assert shown["whole_multiple/dropped_turns"] == had - turns_with_loss(kept)


def test_with_fewer_turns_than_the_multiple_none_is_dropped_and_it_is_counted():
    view = view_of([[[1, 1], [1]]], old=[-1.0] * 3, current=[-1.0] * 3)
    kept, composition = down_sampled(view, 4)
    assert kept.trained.all()
    assert composition.metrics(kept)["whole_multiple/too_few"] == 1.0


def test_which_turns_are_dropped_changes_from_step_to_step_and_from_run_to_run():
    view = view_of([[[1]] * 64], old=[-1.0] * 64)
    chosen = {
        tuple(down_sampled(view.with_fields(**change), 63)[0].trained.tolist())
        for change in (
            {"step": 0},
            {"step": 1},
            {"step": 2},
            {"seed": 7},
            {"seed": 8},
        )
    }
    assert len(chosen) > 1


def test_signal_can_be_judged_by_success():
    view = view_of([[[1], [1]]], score=[1.0, 0.9], success=[1.0, 1.0], num_groups=1)
    view = view.with_fields(returns=view.score)
    assert SIGNAL.bind(view, SignalConfig(), None).tolist() == [True]
    assert SIGNAL.bind(view, SignalConfig(of="success"), None).tolist() == [False]
