"""The buffer of rollouts: what is kept, what comes again, and that a resumed run has it too."""

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import agentrl
from agentrl.errors import ConfigError
from agentrl.policies.scripted import Scripted
from agentrl.records import read_trajectories
from agentrl.registry import load
from agentrl.trainers.composition import compose
from agentrl.trainers.parts.past_rollouts import PastRollouts, PastRolloutsConfig
from agentrl.types import Observation, Trajectory
from tests.trainers.episodes import random_trajectories
from tests.trainers.test_resume import StopAfter
from tests.trainers.test_rewrites import rehearsal_of
from tests.trainers.toy import final_weights, toy_settings


def groups_of(step: int, num: int = 3) -> list[list[Trajectory]]:
    """So many groups of two that end by themselves."""
    trajectories = random_trajectories(step, groups=num, group_size=2, max_turns=2, ends=("done",))
    named = [dataclasses.replace(t, group=f"{step}/{i // 2}") for i, t in enumerate(trajectories)]
    return [named[2 * i : 2 * i + 2] for i in range(num)]


def names(groups: list[list[Trajectory]]) -> list[str]:
    return [group[0].group for group in groups]


def test_groups_come_again_whole_and_the_oldest_are_forgotten() -> None:
    buffer = PastRollouts(PastRolloutsConfig(steps=2))
    for step in range(3):
        buffer.keep(step, groups_of(step))
    assert buffer.num_episodes == 12
    everything = buffer.draw(99, seed=1)
    assert [step for step, _ in everything] == [1] * 3 + [2] * 3
    assert all(len(group) == 2 for _, group in everything)
    drawn = names([group for _, group in buffer.draw(3, seed=1)])
    assert len(set(drawn)) == 3 and drawn == names([group for _, group in buffer.draw(3, seed=1)])
    assert len({tuple(names([group for _, group in buffer.draw(3, seed)])) for seed in range(8)}) > 1


def test_a_step_is_joined_by_as_many_groups_of_earlier_steps_as_asked_for() -> None:
    composition = compose(load("algorithm", "mdpo-off-policy"), settings={"past-rollouts": {"share": 0.5}})
    rehearsal = rehearsal_of(Scripted(lambda view: "ask 0"))

    def step(number: int) -> tuple[list[str], list[Trajectory], dict[str, float]]:
        own = [t for group in groups_of(number, 4) for t in group]
        left, new, counts = asyncio.run(rehearsal.rewritten(composition, own, number))
        assert left[: len(own)] == own
        return [t.group for t in left[len(own) :]], new, counts

    again, new, counts = step(0)
    assert again == [] and new == [] and counts["past_rollouts/held"] == 8
    again, new, counts = step(1)
    assert len(again) == 4 and all(group.startswith("0/") for group in again)
    assert new == []  # they are in the file of the step that played them
    assert counts == {
        "past_rollouts/groups": 2.0,
        "past_rollouts/episodes": 4.0,
        "past_rollouts/age": 1.0,
        "past_rollouts/held": 16.0,
    }


def test_what_no_policy_played_and_what_broke_is_not_kept() -> None:
    buffer = PastRollouts(PastRolloutsConfig())
    shown, broken, whole = groups_of(0)
    shown = [dataclasses.replace(t, source="demonstration") for t in shown]
    broken = [broken[0], dataclasses.replace(broken[1], ended="world_failure")]
    buffer.keep(0, [shown, broken, whole])
    assert [len(group) for _, group in buffer.draw(9, seed=0)] == [1, 2]


def test_what_is_kept_is_the_same_after_a_checkpoint() -> None:
    config = PastRolloutsConfig(steps=2)
    buffer, restored = PastRollouts(config), PastRollouts(config)
    for step in range(3):
        buffer.keep(step, groups_of(step))
    restored.load_state_dict(json.loads(json.dumps(buffer.state_dict())))
    assert restored.draw(4, seed=5) == buffer.draw(4, seed=5)
    for one in (buffer, restored):
        one.keep(3, groups_of(3))
    assert restored.draw(9, seed=0) == buffer.draw(9, seed=0)


def test_episodes_with_images_are_refused() -> None:
    ((trajectory, other),) = groups_of(0, 1)
    trajectory.turns[0] = dataclasses.replace(trajectory.turns[0], observation=Observation("", (b"png",)))
    with pytest.raises(ConfigError, match="images"):
        PastRollouts(PastRolloutsConfig()).keep(0, [[trajectory, other]])


@pytest.mark.parametrize("settings", [{"steps": 0}, {"share": -0.5}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        PastRolloutsConfig(**settings)


def off_policy(folder: Path, steps: int = 4, **changes: Any) -> dict[str, Any]:
    """The toy run with a buffer of two steps."""
    settings = toy_settings(folder, algo="mdpo-off-policy", validation={"num_tasks": 0}, trainer={"steps": steps})
    return settings | {"settings": {"past-rollouts": {"steps": 2}}, "parts": {}} | changes


def test_a_run_with_a_buffer_is_the_same_after_an_interruption(tmp_path: Path) -> None:
    straight = agentrl.train(off_policy(tmp_path), run_dir=str(tmp_path / "straight")).run_dir
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        agentrl.train(off_policy(tmp_path), run_dir=str(run), display=StopAfter(3))
    agentrl.train(resume=str(run))
    assert final_weights(run) == final_weights(straight)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["past_rollouts/episodes"] for r in records] == [0, 6, 6, 6]
    assert [r["past_rollouts/held"] for r in records] == [6, 12, 12, 12]
    assert [r["trained_trajectories"] for r in records] == [6, 12, 12, 12]
    assert all(r["episodes"] == 6 for r in records)
    stored = [read_trajectories(file) for file in sorted((run / "trajectories").iterdir())]
    assert [len(step) for step in stored] == [6] * 4


def test_stored_rollouts_are_credited_by_a_critic_that_is_read_anew(tmp_path: Path) -> None:
    parts = {"returns": "last-turn-outcome", "advantage": "gae", "value_loss": "value-clip"}
    settings = off_policy(tmp_path, steps=2, parts=parts, settings={"gae": {"lam": 0.0}})
    run = agentrl.train(settings, run_dir=str(tmp_path / "run")).run_dir
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["trained_trajectories"] for r in records] == [6, 12]
    assert all(r["critic/loss"] >= 0 and r["mdpo/age_weight"] > 0 for r in records)
