"""KTO, APO-zero and BCO on single trajectories, by hand."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agentrl.errors import ConfigError
from agentrl.registry import load
from agentrl.settings import from_mapping
from agentrl.trainers.algorithms.bco import RunningMean, classified
from agentrl.trainers.algorithms.kto import mean_of_known, prospect
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.unpaired import UnpairedConfig, good_trajectories
from tests.builders import view_of
from tests.strategies import examples


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def singles(scores=(1.0, 0.0, 0.2), **fields):
    """Three trajectories of a token, log-ratios 1, -2 and 0.5, in two groups."""
    given = {"reference": [0.0, 0.0, 0.0], "mismatched": [0.5, math.nan, 2.5], **fields}
    return view_of([[[1], [1]], [[1]]], score=list(scores), current=[1.0, -2.0, 0.5], **given)


def taken(algo, view, **settings):
    composition = compose(load("algorithm", algo), settings={algo: settings})
    made = composition.advantage(view)
    loss, _ = composition.loss(made)
    return loss.item(), composition.metrics(made), composition


def test_kto_compares_each_trajectory_with_replies_to_other_prompts():
    loss, shown, _ = taken("kto", singles(), beta=0.5, good_weight=2.0, bad_weight=0.5)
    good, bad = 1 - sigmoid(0.5 - 0.75), [1 - sigmoid(0.75 + 1), 1 - sigmoid(0.75 - 0.25)]
    assert loss == pytest.approx((2 * good + 0.5 * sum(bad)) / 3)
    assert shown == pytest.approx(
        {
            "unpaired/anchor": 0.75,
            "unpaired/good_share": 1 / 3,
            "unpaired/reward_good": 0.5,
            "unpaired/reward_bad": (-1 + 0.25) / 2,
        }
    )


def test_without_other_prompts_kto_is_apo_zero():
    alone = singles(mismatched=[math.nan] * 3)
    assert taken("kto", alone)[0] == taken("apo-zero-unpaired", singles())[0]
    assert taken("kto", alone)[0] != taken("kto", singles())[0]


def test_an_estimate_of_the_divergence_below_zero_is_zero():
    assert mean_of_known(torch.tensor([-3.0, math.nan, 1.0])) == 0
    assert mean_of_known(torch.tensor([3.0, math.nan, 1.0])) == 2
    assert mean_of_known(torch.tensor([math.nan])) == 0


def test_what_is_good_is_above_a_threshold_or_above_its_group():
    view = compose(load("algorithm", "kto")).advantage(singles((0.4, 0.2, 0.3)))
    for settings, expected in (
        ({}, [False, False, False]),
        ({"threshold": 0.25}, [True, False, True]),
        ({"good": "group-mean"}, [True, False, False]),
    ):
        assert good_trajectories(view, UnpairedConfig(**settings)).tolist() == expected


def test_equals_are_not_above_their_group():
    view = compose(load("algorithm", "kto")).advantage(view_of([[[1]] * 3], score=[1 / 3] * 3))
    assert not good_trajectories(view, UnpairedConfig(good="group-mean")).any()


@examples(50)
@given(reward=st.floats(-30, 30), anchor=st.floats(-5, 5))
def test_good_at_a_reward_is_bad_at_its_mirror_image(reward, anchor):
    good, bad = torch.tensor([True]), torch.tensor([False])
    here, there = torch.tensor([[reward], [2 * anchor - reward]], dtype=torch.float64)
    for loss in (prospect, classified):
        torch.testing.assert_close(loss(here, good, anchor), loss(there, bad, anchor), rtol=1e-9, atol=1e-12)


def test_bco_is_shifted_by_the_mean_reward_of_all_so_far_this_batch_included():
    loss, shown, composition = taken("bco", singles(), beta=1.0)
    shift = (1 - 2 + 0.5) / 3
    logits = [1 - shift, shift + 2, shift - 0.5]
    assert shown["unpaired/shift"] == pytest.approx(shift)
    assert loss == pytest.approx(sum(-math.log(sigmoid(x)) for x in logits) / 3)
    made = composition.advantage(singles())
    composition.update(made.with_fields(old=made.current, current=None))
    further = composition.advantage(singles().with_fields(current=torch.tensor([4.0, 4.0, 4.0]).double()))
    assert composition.metrics(further)["unpaired/shift"] == pytest.approx((-0.5 + 12) / 6)


def test_trajectories_without_loss_are_in_no_mean():
    _, shown, _ = taken("bco", singles(trained=[True, False, True]), beta=1.0)
    assert shown["unpaired/shift"] == 0.75 and shown["unpaired/good_share"] == 0.5


def test_the_running_mean_survives_a_checkpoint():
    mean, restored = RunningMean(UnpairedConfig()), RunningMean(UnpairedConfig())
    assert mean.with_batch(torch.tensor([])) == 0
    mean.add(torch.tensor([1.0, 3.0]))
    restored.load_state_dict(json.loads(json.dumps(mean.state_dict())))
    assert restored.with_batch(torch.tensor([5.0])) == 3


@pytest.mark.parametrize("settings", [{"beta": 0}, {"good_weight": -1}, {"bad_weight": -1}, {"good": "often"}])
def test_what_cannot_be_is_refused(settings):
    with pytest.raises(ConfigError):
        from_mapping(UnpairedConfig, settings, "settings.kto")
