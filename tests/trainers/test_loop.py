"""The loop's own bookkeeping: what a step logs, steps that teach nothing, and the chance of a validation."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import agentrl
from agentrl.errors import ConfigError
from agentrl.panels import spread
from agentrl.records import read_trajectories
from agentrl.trainers.algorithm import Draw, Part
from agentrl.trainers.curricula.uniform import Uniform
from agentrl.trainers.judging import success_on
from agentrl.trainers.step_view import StepView
from agentrl.types import Outcome, Task, Trajectory
from tests.trainers.toy import toy_settings


def reward(trajectory: Trajectory) -> float:
    """Something that differs between the episodes of a group."""
    return sum(i for turn in trajectory.turns for i in turn.completion.token_ids) % 7 / 7


def records(run: Path, kind: str = "train") -> Iterator[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return (record for record in map(json.loads, lines) if record["kind"] == kind)


def _first_trajectory(view: StepView, config: None, state: None) -> Tensor:
    return view.trajectory_of_token == 0


def _nothing(view: StepView, config: None, state: None) -> Tensor:
    return torch.zeros(view.num_tokens, dtype=torch.bool)


FIRST = Part(name="first-trajectory", kind="selection", bind=_first_trajectory)


class Twice(Uniform):
    """Draws one task for all groups of a step, as a panel smaller than a step does."""

    def draw(self, num_tasks: int, num_rollouts: int) -> list[Draw]:
        return super().draw(1, num_rollouts) * num_tasks


NOTHING = Part(name="nothing", kind="selection", bind=_nothing)


def settings(folder: Path, selection: str) -> dict[str, Any]:
    toy = toy_settings(folder, trainer={"steps": 1}, validation={"num_tasks": 0})
    return toy | {"parts": {**toy["parts"], "selections": [f"tests.trainers.test_loop:{selection}"]}}


def test_episodes_that_reached_the_loss_are_counted_once_however_often_they_are_learned_from(tmp_path: Path) -> None:
    run = agentrl.train(settings(tmp_path, "FIRST"), run_dir=str(tmp_path / "run"), reward=reward).run_dir
    (record,) = records(run)
    assert record["updates"] == 2  # an epoch each: the other minibatch has nothing that carries loss
    assert record["trained_trajectories"] == 1


def test_a_step_whose_tokens_are_all_deselected_changes_nothing_and_says_so(tmp_path: Path) -> None:
    run = agentrl.train(settings(tmp_path, "NOTHING"), run_dir=str(tmp_path / "run"), reward=reward).run_dir
    (record,) = records(run)
    assert record["skipped_updates"] == 1
    assert "updates" not in record


def test_a_validation_has_the_chance_of_its_own_seed(tmp_path: Path) -> None:
    def judged(name: str, seed: int) -> list[list[int]]:
        toy = toy_settings(tmp_path, trainer={"steps": 1, "lr": 0.0}, validation={"seed": seed})
        run = agentrl.train(toy, run_dir=str(tmp_path / name)).run_dir
        files = [run / "validation" / f"step-00000{step}.jsonl.gz" for step in (0, 1)]
        before, after = ([turn.completion.token_ids for t in read_trajectories(f) for turn in t.turns] for f in files)
        assert before == after  # nothing was learned
        return before

    assert judged("a", 1) == judged("b", 1) != judged("c", 2)
    with pytest.raises(ConfigError, match="seed is 0; it must be at least 1"):
        judged("d", 0)


def test_a_task_that_is_drawn_twice_in_a_step_is_not_played_twice_alike(tmp_path: Path) -> None:
    toy = toy_settings(tmp_path, trainer={"steps": 1}, validation={"num_tasks": 0})
    run = agentrl.train(toy | {"curriculum": "tests.trainers.test_loop:Twice"}, run_dir=str(tmp_path / "run")).run_dir
    played = read_trajectories(run / "trajectories" / "step-000001.jsonl.gz")
    assert len({t.task.id for t in played}) == 1 and len({t.group for t in played}) == 2
    assert len({str([turn.completion.token_ids for turn in t.turns]) for t in played}) == len(played)


def test_so_many_demonstrations_as_were_asked_for_come_over_and_over(tmp_path: Path) -> None:
    toy = toy_settings(tmp_path, algo="sft", trainer={"steps": 6}, validation={"num_tasks": 0})
    toy |= {"demonstrations": 3, "parts": {}, "settings": {}}
    run = agentrl.train(toy, run_dir=str(tmp_path / "run")).run_dir
    shown = [t.task.id for file in sorted((run / "trajectories").iterdir()) for t in read_trajectories(file)]
    assert sorted(Counter(shown).values()) == [4, 4, 4]  # two a step, six steps


def test_the_best_checkpoint_is_chosen_on_the_tasks_that_every_validation_plays() -> None:
    tasks = [Task("guess", f"t{i}", "valid", i) for i in range(4)]
    played = [
        Trajectory(task, "g", 0, [], None, Outcome(won, float(won)), "done")
        for task, won in zip(tasks, (True, False, False, True), strict=True)
    ]
    assert success_on(played, tasks) == 0.5
    assert success_on(played, spread(tasks, 2)) == 0.5
    assert success_on(played, tasks[:1]) == 1.0
    assert success_on([], tasks) is None
