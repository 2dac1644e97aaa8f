"""Means over episodes that ended by themselves; failures of infrastructure apart."""

import pytest

from agentrl.rollout_metrics import summaries
from agentrl.types import ENDS, Completion, Observation, Outcome, Task, Trajectory, Turn


def turn(position, valid=True, readable=True, continues=True, kind="act", cached=0):
    completion = Completion("go", [1, 2], prompt_tokens=10, cached_tokens=cached)
    seconds = {"policy": 0.5, "world": 0.25}
    return Turn(
        position, Observation(""), [5], continues, completion, "go", readable, valid, 0.5, kind, seconds=seconds
    )


def trajectory(turns, ended="done", success=True, tries=1):
    return Trajectory(
        Task("guess", "a", "train", 0), "g", 0, turns, None, Outcome(success, float(success)), ended, tries=tries
    )


def test_means_are_over_episodes_that_ended_by_themselves():
    found = summaries(
        [
            trajectory([turn(0, continues=False), turn(1, cached=6), turn(2, valid=False, continues=False)]),
            trajectory([turn(0, readable=False, valid=False, continues=False)], "turn_limit", False, tries=2),
            trajectory([turn(0, valid=False)] * 9, "world_failure", False, tries=3),
            trajectory([turn(0, valid=False)] * 9, "time_limit", False),
        ]
    )
    assert found["success"] == found["score"] == 0.5
    assert found["reward"] == 1.0  # (3 * 0.5 + 0.5) / 2
    assert (found["turns"], found["tokens"]) == (2.0, 4.0)
    assert (found["invalid_rate"], found["unreadable_rate"]) == (0.5, 0.25)
    assert (found["episodes"], found["infrastructure_failures"], found["retried"]) == (4, 2, 2)
    assert (found["ended/done"], found["ended/world_failure"], found["ended/gave_up"]) == (0.25, 0.25, 0)
    assert (found["world_seconds"], found["policy_seconds"]) == (0.5, 1.0)
    assert found["new_sequences"] == 0.5
    assert found["cached_token_share"] == pytest.approx(6 / 40)


def test_turns_of_the_memorys_own_are_no_refused_actions():
    found = summaries([trajectory([turn(0), turn(1, kind="summarise", valid=False, readable=False)])])
    assert found["invalid_rate"] == found["unreadable_rate"] == 0


def test_names_are_the_same_for_any_trajectories():
    names = list(summaries([trajectory([turn(0)])]))
    assert list(summaries([])) == names
    assert all(value == 0 for value in summaries([]).values())
    assert {f"ended/{end}" for end in ENDS} <= set(names)
