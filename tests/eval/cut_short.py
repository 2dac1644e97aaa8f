"""Evaluations as a kill leaves them, and what has to be the same of one that went on and one that was left alone."""

import json
from pathlib import Path
from typing import Any

from agentrl.eval.played import PLAYED
from agentrl.records import read_trajectories, trajectory_line, trajectory_to_json

TIMES = ("seconds", "waited_seconds", "waited", "time", "at")


def cut(folder: Path, episodes: int, torn: bytes = b"") -> None:
    """Make of a finished evaluation one that was killed after so many episodes, in the middle of writing `torn`."""
    file = folder / "trajectories" / "step-000000.jsonl.gz"
    lines = [trajectory_line(trajectory, at=1.5) for trajectory in read_trajectories(file)[:episodes]]
    (folder / PLAYED).write_bytes("".join(lines).encode() + torn)
    for name in ("results.json", "report.html", "report.json", "report.md", "report.csv", "episodes.csv"):
        (folder / name).unlink(missing_ok=True)
    file.unlink()


def results(folder: Path) -> Any:
    """What an evaluation came to, without times."""
    return without_times(json.loads((folder / "results.json").read_text()))


def episodes(folder: Path) -> list[Any]:
    """Its episodes, without times."""
    file = folder / "trajectories" / "step-000000.jsonl.gz"
    return [without_times(trajectory_to_json(trajectory)) for trajectory in read_trajectories(file)]


def without_times(value: Any) -> Any:
    """JSON without what says how long something took."""
    if isinstance(value, dict):
        return {name: without_times(entry) for name, entry in value.items() if name not in TIMES}
    return [without_times(entry) for entry in value] if isinstance(value, list) else value
