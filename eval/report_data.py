"""Reads a run directory for its report: whatever is there, and a sentence for each thing that cannot be read."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentrl.errors import AgentRLError, DataError
from agentrl.eval.played import PLAYED, Read, read_played
from agentrl.records import read_trajectories
from agentrl.run_directory import read_json, read_yaml
from agentrl.types import Trajectory

MAX_EPISODES = 5_000
"""Episodes that are read for a report: those of the last judgement and of the first, then the newest up to here."""

_STEP_FILE = re.compile(r"step-(\d+)\.jsonl\.gz")

Episodes = Mapping[str, Trajectory]
"""key -> episode, in the order of its panel. The key names it in a page: `6-12` is number 12 of the judgement after
step 6, `t6-12` one of those that step 6 learned from."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run's folder holds. Nothing in it is trusted: it may be of another version, unfinished, or damaged."""

    path: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    """config.yaml as nested dictionaries."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    train: Sequence[Mapping[str, Any]] = ()
    """The records of metrics.jsonl of kind `train`, one a step, in their order."""
    validations: Sequence[Mapping[str, Any]] = ()
    """Those of kind `validation`, one a step that was judged after."""
    results: Mapping[str, Any] = field(default_factory=dict)
    """results.json of an evaluation; empty for a training run."""
    judged: Mapping[int, Episodes] = field(default_factory=dict)
    """step -> its validation's episodes, or {0: ...} of an evaluation."""
    learned: Episodes = field(default_factory=dict)
    """The episodes that the last step learned from."""
    going_on: bool = False
    """Of an evaluation: results.json is not there yet, and the episodes are those that are over so far."""
    seconds: float = 0.0
    """That an evaluation that is going on has taken."""
    files: Mapping[int, str] = field(default_factory=dict)
    """step -> the file that holds its validation's episodes, read or not, relative to the folder."""
    notes: Sequence[str] = ()
    """What could not be read, and what is left out, a sentence each."""

    @property
    def name(self) -> str:
        return self.path.resolve().name or str(self.path)

    @property
    def is_evaluation(self) -> bool:
        return bool(self.results) or self.going_on

    def setting(self, name: str, default: Any = None) -> Any:
        """A setting by its dotted name."""
        return lookup(self.settings, name, default)


def lookup(mapping: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """The entry of nested dictionaries by its dotted name; the default where it is not there."""
    found: Any = mapping
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return default
        found = found[part]
    return found


def read_run(path: str | os.PathLike[str], max_episodes: int = MAX_EPISODES) -> RunRecord:
    """The record of a training run or an evaluation, finished or not; it takes no lock, so a run may be going on.

    Raises DataError where the folder is missing or holds neither metrics nor results.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"there is no run directory {folder}")
    notes: list[str] = []
    records = _records(folder / "metrics.jsonl", notes)
    results = _mapping(folder / "results.json", read_json, notes)
    going_on = not results and (folder / PLAYED).exists()
    if going_on:
        return _going_on(folder, notes)
    if not records and not results:
        raise DataError(f"{folder} holds nothing to report yet: neither metrics.jsonl nor results.json has a record")
    by_step = {r["step"]: r for r in records if r.get("kind") == "validation"}
    files = _step_files(folder, "trajectories" if results else "validation")
    judged, left_out = _judged(folder, files, max_episodes, notes)
    if left_out:
        notes.append(
            f"{left_out} judgements' episodes are not in this page (it holds at most {max_episodes:,}); "
            f"they are in {folder.name}/validation"
        )
    return RunRecord(
        path=folder,
        settings=_mapping(folder / "config.yaml", read_yaml, notes),
        meta=_mapping(folder / "meta.json", read_json, notes),
        train=[r for r in records if r.get("kind") == "train"],
        validations=[by_step[step] for step in sorted(by_step)],
        results=results,
        judged=judged,
        learned={} if results else _learned(folder, notes),
        files=files,
        notes=tuple(notes),
    )


def _going_on(folder: Path, notes: list[str]) -> RunRecord:
    """The record of an evaluation that is not over yet, or was stopped."""
    try:
        read = read_played(folder, with_images=False)
    except AgentRLError as error:
        read = Read({})
        notes.append(str(error))
    if read.damaged:
        notes.append(f"{read.damaged} lines of {PLAYED} are damaged and are left out")
    episodes = {f"0-{number}": t for number, t in enumerate(read.episodes.values())}
    return RunRecord(
        path=folder,
        settings=_mapping(folder / "config.yaml", read_yaml, notes),
        meta=_mapping(folder / "meta.json", read_json, notes),
        judged={0: episodes} if episodes else {},
        going_on=True,
        seconds=read.seconds,
        notes=tuple(notes),
    )


def _mapping(path: Path, read: Any, notes: list[str]) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        found = read(path)
    except AgentRLError as error:
        notes.append(str(error))
        return {}
    if isinstance(found, dict):
        return found
    notes.append(f"{path.name} is damaged: it holds no names and values")
    return {}


def _records(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """Every whole line; one that a kill or a full disk has cut is left out, and counted."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    records, broken = [], 0
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
        else:
            broken += 1
    if broken:
        notes.append(f"{broken} lines of metrics.jsonl are damaged and are left out")
    return records


def _step_files(folder: Path, name: str) -> dict[int, str]:
    found = {}
    for file in sorted((folder / name).glob("step-*.jsonl.gz")):
        match = _STEP_FILE.fullmatch(file.name)
        if match:
            found[int(match[1])] = f"{name}/{file.name}"
    return found


def _judged(
    folder: Path, files: Mapping[int, str], max_episodes: int, notes: list[str]
) -> tuple[dict[int, Episodes], int]:
    """The episodes that fit, by step, and how many judgements do not: the ends of the run come first."""
    steps = sorted(files)
    order = list(dict.fromkeys([*steps[-1:], *steps[:1], *reversed(steps)]))
    judged: dict[int, Episodes] = {}
    left_out = num_read = 0
    for step in order:
        if num_read >= max_episodes and step not in order[:2]:
            left_out += 1
            continue
        episodes = _episodes(folder / files[step], notes)
        if episodes:
            judged[step] = {f"{step}-{number}": t for number, t in enumerate(episodes)}
            num_read += len(episodes)
    return dict(sorted(judged.items())), left_out


def _learned(folder: Path, notes: list[str]) -> Episodes:
    files = _step_files(folder, "trajectories")
    if not files:
        return {}
    step = max(files)
    return {f"t{step}-{number}": t for number, t in enumerate(_episodes(folder / files[step], notes))}


def _episodes(path: Path, notes: list[str]) -> list[Trajectory]:
    try:
        return read_trajectories(path, with_images=False)
    except (AgentRLError, MemoryError) as error:
        notes.append(str(error) or f"{path} is too large to be read")
        return []
