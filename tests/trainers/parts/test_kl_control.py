"""The divergence as a price, and a weight that steers it."""

import json

import pytest
import torch

from agentrl.errors import ConfigError
from agentrl.registry import load
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.kl_control import (
    ADAPTIVE_KL,
    KL_REWARD,
    AdaptiveKL,
    AdaptiveKLConfig,
    KLRewardConfig,
    steered,
)
from tests.builders import view_of


def view():
    """Two turns of one trajectory; log p_old - log p_reference is 1, 2 and -1."""
    old = [-1.0, -1.0, -3.0]
    return view_of([[[2, 1]]], old=old, current=old, reference=[-2.0, -3.0, -2.0], reward=[0.0, 1.0])


def test_the_price_of_a_turn_is_that_of_its_tokens():
    config = KLRewardConfig(coef=0.1)
    assert KL_REWARD.bind(view(), config, None).tolist() == pytest.approx([-0.3, 0.1])
    assert KL_REWARD.metrics(view(), config, None)["kl_reward/from_reference"] == pytest.approx(2 / 3)
    parts = {"returns": "reward-sum", "rewards": "kl-reward", "regularisers": "none"}
    composition = compose(load("algorithm", "grpo"), parts, {"kl-reward": {"coef": 0.1}})
    assert composition.advantage(view()).reward.tolist() == pytest.approx([-0.3, 1.1])
    assert composition.needs >= {"old", "reference"}


def test_a_gate_sees_rewards_without_the_price():
    nothing_yet = view().with_fields(old=None, reference=None)
    assert KL_REWARD.bind(nothing_yet, KLRewardConfig(), None).tolist() == [0.0, 0.0]


def test_without_a_price_no_reference_is_made():
    parts = {"returns": "reward-sum", "rewards": "kl-reward"}
    assert "reference" not in compose(load("algorithm", "grpo"), parts, {"kl-reward": {"coef": 0.0}}).needs


def test_the_weight_rises_above_the_target_and_falls_below_it():
    assert steered(1.0, 7.0, 6.0, 100, 1000) == pytest.approx(1 + 1 / 6 * 0.1)
    assert steered(1.0, 60.0, 6.0, 100, 1000) == pytest.approx(1.02)
    assert steered(1.0, 0.0, 6.0, 100, 1000) == pytest.approx(0.98)


def test_the_term_weighs_what_the_last_steps_made_of_it():
    config = AdaptiveKLConfig(initial=0.5, target=0.5, horizon=1.0, estimator="k1")
    state = AdaptiveKL(config)
    assert ADAPTIVE_KL.bind(view(), config, state).weight == 0.5
    state.update(view())  # mean 2/3, a third above the target: the bound of 0.2 holds
    assert state.coef == pytest.approx(0.6)
    assert ADAPTIVE_KL.bind(view(), config, state).weight == pytest.approx(0.6)
    assert ADAPTIVE_KL.metrics(view(), config, state)["adaptive_kl/coef"] == pytest.approx(0.6)
    restored = AdaptiveKL(config)
    restored.load_state_dict(json.loads(json.dumps(state.state_dict())))
    restored.update(view())
    state.update(view())
    assert restored.coef == state.coef


def test_a_step_that_says_nothing_changes_no_weight():
    state = AdaptiveKL()
    state.update(view().with_fields(reference=None))
    state.update(view().with_fields(trained=torch.zeros(3, dtype=torch.bool)))
    assert state.coef == 0.2


@pytest.mark.parametrize("settings", [{"initial": 0.0}, {"target": 0.0}, {"horizon": -1.0}])
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        AdaptiveKLConfig(**settings)
    with pytest.raises(ConfigError, match="coef"):
        KLRewardConfig(coef=-1.0)
