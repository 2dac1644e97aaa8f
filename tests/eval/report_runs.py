"""Run directories made by hand for the tests of the report: no model, no world, any text."""

import json
from collections.abc import Sequence

import yaml

from agentrl.records import write_trajectories
from agentrl.run_directory import panel_hash
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
):
    """One episode: an observation a turn (`texts`, or `seen` and its number), the reply is the action."""
    turns = [
        Turn(
            position=place,
            observation=Observation(texts[place] if texts else f"{seen} {place}"),
            prompt_ids=[1],
            continues=place > 0,
            completion=Completion(action, [1, 2], [-0.5, -0.5]),
            action=action,
            readable=readable,
            valid=valid,
            reward=0.0,
        )
        for place, action in enumerate(actions)
    ]
    return Trajectory(
        task=Task("guess", task, split, 0, kind),
        group=task,
        rollout=0,
        turns=turns,
        final_observation=Observation("the end"),
        outcome=Outcome(success, float(success)),
        ended=ended,
        failure=failure,
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
