"""COPO: the blend by hand, its limits, and its two channels under modifiers."""

import pytest
import torch
from hypothesis import given, settings

from agentrl.trainers.algorithms.copo import COPO, answer_entropy, consistency_slope
from agentrl.trainers.algorithms.grpo import GRPO
from agentrl.trainers.composition import compose
from tests.builders import view_of
from tests.strategies import views


def two_groups(**fields):
    """The first group answers alike and is right once; the second answers differently and is right twice."""
    given = {"score": [1.0, 0.0, 1.0, 1.0], "answer_class": [0, 0, 1, 2], "old": [-1.0] * 4, "current": [-1.0] * 4}
    return view_of([[[1], [1]], [[1], [1]]], **(given | fields))


def channels(view, **settings):
    made = compose(COPO, settings={"copo": settings}).advantage(view)
    return made.advantage.tolist(), made.second_advantage.tolist()


def test_each_channel_is_its_advantage_times_its_weight():
    same, other = torch.sigmoid(torch.tensor(-5.0)).item(), torch.sigmoid(torch.tensor(0.0)).item()
    local = 0.5 / (0.5**0.5 + 1e-6)
    over = 0.25 / (0.125**0.5 + 1e-6)  # group means 0.5 and 1
    first, second = channels(two_groups())
    assert first == pytest.approx([same * local, -same * local, 0.0, 0.0], rel=1e-6)
    assert second == pytest.approx(
        [-(1 - same) * over, -(1 - same) * over, (1 - other) * over, (1 - other) * over], rel=1e-6
    )


def test_a_return_of_zero_is_judged_by_the_groups_alone_with_zero():
    first, second = channels(two_groups(), blend="soft_with_zero")
    assert first[1] == 0.0
    assert second[1] == pytest.approx(-0.25 / (0.125**0.5 + 1e-6))


def test_the_loss_is_a_blend_of_losses_not_of_advantages():
    view = two_groups(current=[1.0, 1.0, 1.0, 1.0])  # a ratio of e^2: beyond both bounds
    composition = compose(COPO)
    made = composition.advantage(view)
    blended = composition.loss(made)[0].item()
    sum_of_advantages = made.with_fields(advantage=made.advantage + made.second_advantage, second_advantage=None)
    assert blended != pytest.approx(composition.loss(sum_of_advantages)[0].item())


def test_answers_that_all_differ_have_the_largest_entropy():
    group, counted = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.bool)
    assert answer_entropy(torch.tensor([0, 1, 2, 3]), group, counted, 1).item() == pytest.approx(2.0)
    assert answer_entropy(torch.tensor([5, 5, 5, 5]), group, counted, 1).item() == 0
    assert consistency_slope(torch.tensor([0, 1, 4])).tolist() == pytest.approx([0.0, 0.0, 0.375])


@settings(max_examples=30)
@given(view=views())
def test_with_all_weight_on_the_group_it_is_grpo(view):
    """k = 0 halves both; the local channel is then half of GRPO's advantage."""
    made = compose(COPO, settings={"copo": {"k": 0.0}}).advantage(view)
    grpo = compose(GRPO).advantage(view)
    torch.testing.assert_close(made.advantage, grpo.advantage / 2)


@settings(max_examples=30)
@given(view=views())
def test_a_modifier_works_on_both_channels(view):
    plain = compose(COPO).advantage(view)
    corrected = compose(COPO, {"modifiers": "engine-correction"}).advantage(view)
    weight = (view.old - view.sampled).exp().clamp(max=2.0)
    torch.testing.assert_close(corrected.advantage, plain.advantage * weight)
    torch.testing.assert_close(corrected.second_advantage, plain.second_advantage * weight)
