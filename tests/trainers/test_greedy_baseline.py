"""ReMax's baseline: a greedy episode is played beside each group, compared with, and not trained on."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from agentrl.config import resolve
from agentrl.errors import ConfigError
from agentrl.records import read_trajectories
from agentrl.registry import load
from agentrl.run_directory import RunDirectory
from agentrl.trainers.batch import build_batch
from agentrl.trainers.composition import compose
from agentrl.trainers.loop import train
from agentrl.trainers.parts.values import GAE
from agentrl.types import Trajectory
from tests.builders import view_of
from tests.trainers.episodes import random_trajectories
from tests.trainers.toy import toy_settings

ROOM = {"highest": 3, "admissible": True}
"""One of three numbers is guessed, so that some episodes of a random model succeed."""
GAE_BESIDE_GREEDY = dataclasses.replace(GAE, name="gae-beside-greedy", needs=(*GAE.needs, "greedy"))
"""Has greedy episodes played, and does not look at them."""


def run(folder: Path, name: str = "run", **changes: Any) -> tuple[list[dict[str, Any]], list[list[Trajectory]], Path]:
    """Two steps of two groups.   Returns the records of steps, each step's episodes, the run's folder."""
    rollout = {"constrain": "admissible", "max_turns": 1}
    learning = {"steps": 2, "epochs": 1, "minibatches": 1}
    settings = toy_settings(folder, rollout=rollout, validation={"num_tasks": 0}, trainer=learning)
    settings |= {"env_settings": ROOM, "settings": {}, "parts": {}} | changes
    path = folder / name
    config = resolve(settings, {"run_dir": str(path)})
    with RunDirectory.create(config) as directory:
        train(config, run_dir=directory)
        records = [json.loads(line) for line in directory.metrics_file.read_text().splitlines()]
    files = sorted((path / "trajectories").iterdir())
    return records, [read_trajectories(file) for file in files], path


def above_greedy(view: Any, **settings: Any) -> list[float]:
    parts = {"advantage": "above-greedy", "returns": "turn-reward" if settings else "outcome"}
    filled = compose(load("algorithm", "reinforce"), parts, {"above-greedy": settings}).advantage(view)
    assert filled.advantage is not None
    return filled.advantage.tolist()


def played(**fields: Any) -> Any:
    """Two groups: one of two episodes and a greedy one, one of a single episode; the greedy one's tokens carry none."""
    return view_of(
        [[[2], [1], [1, 1]], [[1]]],
        greedy=[False, False, True, False],
        in_statistics=[True, True, False, True],
        trained=[True, True, True, False, False, True],
        **fields,
    )


def test_an_episode_is_compared_with_the_greedy_one_of_its_group_and_with_nothing_else() -> None:
    view = played(score=[1.0, 0.0, 0.25, 1.0])
    assert above_greedy(view) == [0.75, 0.75, -0.25, 0.0, 0.0, 0.0]  # the last group has no greedy episode


def test_what_turns_are_paid_is_added_up_from_each_turn_on() -> None:
    view = view_of(
        [[[1, 1, 1], [1, 1]]],
        reward=[0.5, 0.0, 1.0, 0.25, 0.5],
        greedy=[False, True],
        in_statistics=[True, False],
        trained=[True, True, True, False, False],
    )
    assert above_greedy(view, to_go=True) == [0.75, 0.25, 0.25, 0.0, 0.0]


def test_a_greedy_episode_is_in_no_statistics_and_carries_no_loss() -> None:
    trajectories = random_trajectories(3, groups=2, group_size=3, ends=("done",))
    trajectories[1].greedy = True
    view = build_batch(trajectories).view
    assert view.greedy is not None
    assert view.greedy.tolist() == [False, True, False, False, False, False]
    assert torch.equal(view.in_statistics, ~view.greedy)
    assert not view.trained[view.greedy[view.trajectory_of_token]].any()


def test_one_line_of_config_has_greedy_episodes_played_counted_and_stored(tmp_path: Path) -> None:
    records, steps, _ = run(tmp_path, algo="reinforce", parts={"advantage": "above-greedy"})
    assert len(records) == len(steps) == 2
    for record, trajectories in zip(records, steps, strict=True):
        greedy = {t.group: t for t in trajectories if t.greedy}
        sampled = [t for t in trajectories if not t.greedy]
        assert len(greedy) == record["greedy/episodes"] == 2 and len(sampled) == record["episodes"] == 6
        assert all(t.rollout == 3 and t.task == sampled[3 * i].task for i, t in enumerate(greedy.values()))
        assert record["greedy/failures"] == 0
        assert record["greedy/tokens"] == sum(t.num_tokens for t in greedy.values()) > 0
        assert record["greedy/success"] == sum(t.outcome.success for t in greedy.values()) / 2
        assert record["greedy/score"] == sum(t.outcome.score for t in greedy.values()) / 2
        assert record["success"] == sum(t.outcome.success for t in sampled) / 6
        assert record["trained_trajectories"] == 6
        moved = {t.group for t in sampled if t.outcome.score != greedy[t.group].outcome.score}
        assert record["advantage/groups_with_signal"] == len(moved) / 2
    assert any(record["advantage/groups_with_signal"] for record in records)


def test_whoever_does_not_look_at_greedy_episodes_learns_the_same_with_a_critic_too(tmp_path: Path) -> None:
    beside = f"{__name__}:GAE_BESIDE_GREEDY"
    _, plain, one = run(tmp_path, "plain", algo="ppo")
    _, with_greedy, other = run(tmp_path, "beside", algo="ppo", parts={"advantage": beside})
    assert [len(step) for step in plain] == [6, 6] and [len(step) for step in with_greedy] == [8, 8]
    weights, again = (load_file(p / "checkpoints" / "step-000002" / "model.safetensors") for p in (one, other))
    for name, tensor in weights.items():
        torch.testing.assert_close(again[name], tensor, rtol=1e-4, atol=1e-6)


def test_where_no_greedy_episode_can_be_had_the_part_is_refused() -> None:
    with pytest.raises(ConfigError, match="the algorithm plays none"):
        compose(load("algorithm", "sft"), {"advantage": "above-greedy"})
    with pytest.raises(ConfigError, match="episodes of earlier steps"):
        compose(load("algorithm", "mdpo-off-policy"), {"advantage": "above-greedy"})
    with pytest.raises(ConfigError, match="cannot be decomposed"):
        compose(load("algorithm", "bnpo"), {"advantage": "decomposed"}, {"decomposed": {"estimator": "above-greedy"}})
