"""Run directories made by hand for the tests of the report: no model, no world, any text."""

import json
from collections.abc import Sequence

import yaml

from agentrl.eval.report_measures import by_kind as measures_by_kind
from agentrl.records import trajectory_line, write_trajectories
from agentrl.run_directory import panel_hash, write_json
from agentrl.statistics import tally, tally_by_kind
from agentrl.types import Completion, Observation, Outcome, Task, Trajectory, Turn


def episode(
    task="task-0",
    actions: Sequence[str] = ("look", "take it"),
    *,
    success=True,
    ended="done",
    kind="easy",
    seen="a room",
    texts: Sequence[str] = (),
    readable=True,
    valid=True,
    failure=None,
    split="valid",
    difficulty=None,
    rollout=0,
    used=None,
    score=None,
):
    """One episode: an observation a turn (`texts`, or `seen` and its number), the reply is the action.

    used: fields of every turn's completion, of a model behind an API.
    """
    turns = [
        Turn(
            position=place,
            observation=Observation(texts[place] if texts else f"{seen} {place}"),
            prompt_ids=[1],
            continues=place > 0,
            completion=Completion(action, [], **used) if used else Completion(action, [1, 2], [-0.5, -0.5]),
            action=action,
            readable=readable,
            valid=valid,
            reward=0.0,
        )
        for place, action in enumerate(actions)
    ]
    return Trajectory(
        task=Task("guess", task, split, 0, kind, difficulty),
        group=task,
        rollout=rollout,
        turns=turns,
        final_observation=Observation("the end"),
        outcome=Outcome(success, float(success) if score is None else score),
        ended=ended,
        failure=failure,
        source="api" if used else "sampled",
    )


def panel(successes: str, kinds=("easy", "hard")):
    """A judgement's episodes: `1` won, `0` lost, `f` failed by infrastructure; task-0, task-1, ..."""
    return [
        episode(f"task-{n}", success=sign == "1", ended="world_failure" if sign == "f" else "done", kind=kinds[n % 2])
        for n, sign in enumerate(successes)
    ]


def validation(step, played, greedy=None):
    """The record of metrics.jsonl that a judgement leaves."""
    tallies = {kind: counts.__dict__ for kind, counts in tally_by_kind(played).items()}
    if greedy is not None:
        tallies["greedy"] = tally(greedy).__dict__
    return {
        "schema": 1,
        "kind": "validation",
        "step": step,
        "panel": panel_hash(t.task.id for t in played),
        "seconds": 1.0,
        "episodes": float(len(played)),
        "tally": tallies,
    }


def train_records(steps, **metrics):
    """One record a step; a metric is a number, or a list of one a step."""
    return [
        {"schema": 1, "kind": "train", "step": step + 1}
        | {
            name.replace("__", "/"): value[step] if isinstance(value, list) else value
            for name, value in metrics.items()
        }
        for step in range(steps)
    ]


def write_run(folder, judged, train=(), *, learned=(), settings=None, greedy=None):
    """A training run's folder.   judged: step -> episodes.   Returns its path."""
    folder.mkdir(parents=True)
    config = {
        "env": "guess",
        "algo": "grpo",
        "seed": 0,
        "trainer": {"steps": len(train), "max_grad_norm": 1.0},
        "rollout": {"max_turns": 30},
        "validation": {"split": "valid", "temperature": 1.0},
        "model": {"name": "tiny"},
    } | (settings or {})
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "meta.json").write_text(json.dumps({"schema": 1, "seed": 0, "panels": {}, "starts": []}))
    records = [*train, *(validation(step, played, greedy) for step, played in judged.items())]
    lines = "".join(json.dumps(r) + "\n" for r in sorted(records, key=lambda r: r["step"]))
    (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
    for step, played in judged.items():
        write_trajectories(folder / "validation" / f"step-{step:06d}.jsonl.gz", played)
    if learned:
        write_trajectories(folder / "trajectories" / f"step-{len(train):06d}.jsonl.gz", learned)
    return folder


def write_evaluation(folder, played, *, usage=None, repeats=1, panel_of=None, policy="random", over=True):
    """An evaluation's folder.   panel_of: ids of its tasks, where not those played.   over: False while it goes on."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"env": "guess", "seed": 0}), encoding="utf-8")
    tasks = list(dict.fromkeys(panel_of or (t.task.id for t in played)))
    asked = {"policy": policy, "tasks": len(tasks), "repeats": repeats, "panel": panel_hash(tasks)}
    write_json(folder / "meta.json", {"schema": 1, "seed": 0, "panels": {}, "starts": [], "evaluation": asked})
    if not over:
        (folder / "played.jsonl").write_text("".join(map(trajectory_line, played)), encoding="utf-8")
        return folder
    write_trajectories(folder / "trajectories" / "step-000000.jsonl.gz", played)
    over_tasks = {kind: {"success_interval": row["success_interval"]} for kind, row in measures_by_kind(played).items()}
    by_kind = {kind: counts.as_dict() | over_tasks[kind] for kind, counts in tally_by_kind(played).items()}
    results = {
        "schema": 1,
        "policy": policy,
        "split": "valid",
        "panel": panel_hash(tasks),
        "seconds": 3.0,
        "settings": {"env": "guess", "repeats": repeats, "temperature": 1.0},
        "interval_by": "wilson" if repeats == 1 else "Wilson over tasks",
        "by_kind": by_kind,
        **({"usage": usage} if usage else {}),
    }
    write_json(folder / "results.json", results)
    return folder


def write_cells(folder, cells, left_out=None):
    """A folder of several evaluations.   cells: name -> what `write_evaluation` takes; None for one not begun."""
    folder.mkdir(parents=True)
    listed = []
    for name, settings in cells.items():
        if settings is not None:
            write_evaluation(folder / name, policy=name, **settings)
        labels = {"policy": name, "env": "guess", "memory": "full", "format": "tags", "split": "valid"}
        listed.append({"name": name, "folder": name, **labels, "decoding": "sampled"})
    write_json(folder / "matrix.json", {"schema": 1, "cells": listed, "left_out": left_out or {}})
    return folder
