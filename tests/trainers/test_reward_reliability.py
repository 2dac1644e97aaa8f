"""PF-PPO's criterion on stored episodes."""

from dataclasses import replace

import pytest

from agentrl.errors import DataError
from agentrl.trainers.reward_reliability import reliability
from agentrl.types import Outcome
from tests.core.test_reward_model import episode


def scored(group: str, proxy: float, world: float):
    outcome = Outcome(False, proxy, components={"proxy": proxy, "world": world})
    return replace(episode(("a", "b")), group=group, outcome=outcome)


def test_a_proxy_that_is_right_at_its_ends_is_trusted_there():
    episodes = [
        scored(f"{group}", proxy + 0.01 * group, world)
        for group in range(6)
        for proxy, world in ((-2.0, -2.0), (-0.5, 1.0), (0.0, -1.0), (0.5, 0.5), (2.0, 2.0))
    ]
    rows = {row.filter: row for row in reliability(episodes)}
    assert [rows[name].points for name in ("all", "best-worst", "best-random", "best")] == [30, 12, 12, 6]
    assert rows["best-worst"].pointwise == pytest.approx(1, abs=1e-3) and rows["all"].pointwise < 0.7
    assert rows["best"].pointwise is None, "what is constant has none"


def test_episodes_without_both_scores_are_refused():
    with pytest.raises(DataError, match="--reward model"):
        reliability([episode(("a", "b"))])
