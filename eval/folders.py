"""The folder of an evaluation, or of several cells: begun, gone on with after a kill, and finished."""

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from agentrl.config import RunConfig
from agentrl.errors import ConfigError, DataError, RunDirectoryError
from agentrl.eval.cells import MATRIX, Cell, cell_of, differences, read_matrix, write_matrix
from agentrl.eval.played import PLAYED, Key, Played, key_of, read_played, write_played
from agentrl.eval.report import report_line
from agentrl.eval.results import EvalResult, result_of
from agentrl.records import read_trajectories, write_trajectories
from agentrl.run_directory import RUN_SCHEMA, RunDirectory, read_config, read_json, write_json, write_whole
from agentrl.settings import to_mapping
from agentrl.types import Trajectory

RESULTS, SUMMARY = "results.json", "summary.json"
SPENDING = "spending"
"""What a model behind an API has cost so far; it counts towards its limits when the evaluation goes on."""
PLAYED_AGAIN = ("world_failure", "policy_failure")
"""Ends that say nothing of the policy and may not come again: such episodes are played again on a resume."""


@dataclass
class Kept:
    """What the folder of a cell holds."""

    folder: RunDirectory | None = None
    played: dict[Key, Trajectory] = field(default_factory=dict)
    """Episodes that are not played again."""
    seconds: float = 0.0
    """That they took."""
    again: int = 0
    """Episodes that ended by a failure of the infrastructure, and are played again."""
    damaged: int = 0
    """Lines that a kill has cut."""
    result: EvalResult | None = None
    """Of a cell that is finished."""
    reopened: bool = False
    """It was finished, with failures that are played again."""

    def writer(self) -> Played | None:
        """What writes the episodes that are played from now on; None where nothing is written."""
        return None if self.folder is None else Played(self.folder.path)


class Folders:
    """The folders of an evaluation's cells; they are locked as long as they are played in."""

    def __init__(
        self,
        out: str | os.PathLike[str],
        cells: Sequence[tuple[Cell, tuple[str, int]]],
        *,
        several: bool,
        resume: bool,
    ) -> None:
        """cells: each with its panel's hash and size.   several: each has its own folder in `out`."""
        self.path = Path(out)
        self._written = bool(os.fspath(out))
        self._cells, self._several, self._resume = list(cells), several, resume
        self._open: list[RunDirectory] = []
        self._made: list[Path] = []
        self._began = False

    def begun(self) -> list[Kept]:
        """What is there of each cell.

        Raises RunDirectoryError where there is an evaluation and none is to be gone on with, or the other way round;
        ConfigError where that was asked to be something else.
        """
        if not self._resume:
            if self._written and self._several and (self.path / MATRIX).exists():
                raise RunDirectoryError(
                    f"{self.path} holds an evaluation already; continue it with agentrl eval --resume {self.path}, or "
                    "name another"
                )
            return [Kept() for _ in self._cells]
        check_same(stored_cells(self.path), [cell for cell, _ in self._cells], self.path)
        return [self._found(cell, panel) for cell, panel in self._cells]

    def _found(self, cell: Cell, panel: tuple[str, int]) -> Kept:
        path = self.path / cell.name
        if not (path / "config.yaml").exists():
            return Kept()
        begun_with = read_json(path / "meta.json").get("evaluation", {}).get("panel")
        if begun_with not in (None, panel[0]):
            raise ConfigError(
                f"{path} was begun with other tasks of {cell.config.env}, {cell.split}: its data have changed since"
            )
        if (path / RESULTS).exists():
            return self._finished(cell, panel, path)
        run = RunDirectory.open(path, command=sys.argv)
        self._open.append(run)
        write_config(run, cell.config)
        run.update_meta(evaluation={"base_url": cell.base_url})
        read = read_played(path, repair=True)
        kept = {key: episode for key, episode in read.episodes.items() if episode.ended not in PLAYED_AGAIN}
        return Kept(run, kept, read.seconds, len(read.episodes) - len(kept), read.damaged)

    def _finished(self, cell: Cell, panel: tuple[str, int], path: Path) -> Kept:
        results = read_json(path / RESULTS)
        episodes = read_trajectories(path / "trajectories" / "step-000000.jsonl.gz")
        (path / PLAYED).unlink(missing_ok=True)
        again = sum(episode.ended in PLAYED_AGAIN for episode in episodes)
        if not again:
            if not (path / "report.html").exists():
                report_line(path)
            found = result_of(
                cell, results["policy"], episodes, panel, results["seconds"], results.get("usage"), run_dir=path
            )
            return Kept(result=found)
        run = RunDirectory.open(path, command=sys.argv)
        self._open.append(run)
        kept = {key_of(episode): episode for episode in episodes if episode.ended not in PLAYED_AGAIN}
        return Kept(run, kept, results["seconds"], again, reopened=True)

    def opened(self, kept: Sequence[Kept], left_out: Mapping[str, str]) -> list[Kept]:
        """The same with the folders of all cells that are to be played.   Raises RunDirectoryError, DataError."""
        if not self._written:
            return list(kept)
        self._began = True
        if self._several and not self._resume:
            self._made = [path for path in (self.path, *self.path.parents) if not path.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            if (self.path / "config.yaml").exists():
                raise RunDirectoryError(f"{self.path} holds a run already; name another folder")
            write_matrix(self.path, [cell for cell, _ in self._cells], left_out)
        found = []
        for (cell, panel), each in zip(self._cells, kept, strict=True):
            if each.reopened and each.folder is not None:
                write_played(each.folder.path, each.played.values(), each.seconds)
                (each.folder / RESULTS).unlink()
            if each.folder is None and each.result is None:
                each = replace(each, folder=self._created(cell, panel))
            found.append(each)
        return found

    def _created(self, cell: Cell, panel: tuple[str, int]) -> RunDirectory:
        asked = cell.asked() | {"panel": panel[0], "tasks": panel[1]}
        config = replace(cell.config, run_dir=str(self.path / cell.name))
        run = RunDirectory.create(config, command=sys.argv, meta={"evaluation": asked})
        self._open.append(run)
        return run

    def attach(self, policy: Any, cell: Cell, kept: Kept) -> None:
        """Let a model behind an API write down its calls and what they cost, and take up replies that it has paid for.

        These are of episodes that were cut off: they are played again from their beginning.
        """
        if kept.folder is None:
            policy.record_in(None)
            return
        name = f"{SPENDING}-{cell.account}.json" if self._several else f"{SPENDING}.json"
        policy.keep_account(self.path / name)
        done = {f"{episode.task.id}/{episode.rollout}" for episode in kept.played.values()}
        if self._resume:
            policy.take_up(kept.folder.path, done)
        policy.record_in(kept.folder.path)

    def finish(self, kept: Kept, result: EvalResult) -> None:
        """Write what a cell came to: its trajectories, results and report.   Raises DataError."""
        folder = kept.folder
        if folder is None:
            return
        write_trajectories(folder.trajectory_file(0), list(result.trajectories))
        folder.update_meta(panels={result.split: result.panel})
        write_json(folder / RESULTS, result.as_dict())
        report_line(folder.path)
        (folder / PLAYED).unlink(missing_ok=True)

    def summarise(self, results: Sequence[EvalResult]) -> None:
        """Of several cells: summary.json, and a report of all.   Raises DataError."""
        if self._written and self._several:
            write_json(self.path / SUMMARY, {"schema": RUN_SCHEMA, "results": [result.as_dict() for result in results]})
            report_line(self.path)

    def keep(self) -> bool:
        """After an evaluation was cut short: is there something to go on with. If not, what was made is removed."""
        if not self._written or not self._began:
            return False
        if self._resume or any(map(_touched, self._open)):
            return True
        for run in self._open:
            run.remove_unused()
        if self._several:
            with contextlib.suppress(OSError):
                for file in (self.path / MATRIX, *self.path.glob(f"{SPENDING}-*.json")):
                    file.unlink(missing_ok=True)
                for path in self._made:
                    path.rmdir()
        return False

    def close(self) -> None:
        """Let go of the locks."""
        for run in self._open:
            run.close()


def _touched(run: RunDirectory) -> bool:
    """Was an episode finished, or a call made, in this folder."""
    files = (run / PLAYED, run / "calls.jsonl.gz", run / RESULTS)
    return any(file.exists() and file.stat().st_size > 0 for file in files)


def stored_cells(out: str | os.PathLike[str]) -> list[Cell]:
    """The cells of an evaluation's folder.   Raises RunDirectoryError where it is none, DataError for damaged files."""
    folder = Path(out)
    if not folder.is_dir():
        raise RunDirectoryError(f"there is no folder {folder}")
    cells = read_matrix(folder)
    if cells is not None:
        return [_with_own_config(folder, cell) for cell in cells]
    if not (folder / "config.yaml").exists():
        raise RunDirectoryError(f"{folder} is no evaluation: it holds neither {MATRIX} nor config.yaml")
    asked = read_json(folder / "meta.json").get("evaluation")
    if not isinstance(asked, dict):
        what = "a training run: continue it with agentrl train --resume" if _trains(folder) else "no evaluation"
        raise RunDirectoryError(f"{folder} is {what}")
    try:
        told = {name: value for name, value in asked.items() if name not in ("panel", "tasks")}
        return [cell_of(told, read_config(folder / "config.yaml"))]
    except TypeError as error:
        raise DataError(f"{folder / 'meta.json'} is damaged: {error}") from error


def _trains(folder: Path) -> bool:
    return (folder / "metrics.jsonl").exists() or not (folder / RESULTS).exists()


def _with_own_config(folder: Path, cell: Cell) -> Cell:
    own = folder / cell.name
    if not (own / "config.yaml").exists():
        return cell
    asked = read_json(own / "meta.json").get("evaluation") or {}
    config = read_config(own / "config.yaml")
    return replace(cell, config=config, base_url=str(asked.get("base_url", cell.base_url)))


def check_same(stored: Sequence[Cell], asked: Sequence[Cell], folder: Path) -> None:
    """Raises ConfigError where an evaluation is to go on as something else, with what differs."""
    before, now = {cell.name: cell for cell in stored}, {cell.name: cell for cell in asked}
    problems = [f"{name} is not asked for any more" for name in before if name not in now]
    problems += [f"{name} is new" for name in now if name not in before]
    changed: dict[str, list[str]] = {}
    for name in before:
        for what in differences(before[name], now[name]) if name in now else ():
            changed.setdefault(what, []).append(name)
    for what, names in changed.items():
        where = "" if not names[0] else f" in {names[0]}" if len(names) == 1 else f" in {len(names)} cells"
        problems.append(what + where)
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ConfigError(
            f"{folder} was begun as something else: {'; '.join(problems[:3])}{more} (name another folder, or go on "
            "with what it is by --resume alone)"
        )


def refuse_own(cells: Sequence[Cell], folder: str | os.PathLike[str]) -> None:
    """Raises ConfigError for stored cells with objects of one's own, which no file can hold."""
    own = sorted({what for cell in cells for what in cell.own})
    if own:
        raise ConfigError(
            f"{folder} was begun in Python with a {' and a '.join(own)} of one's own; go on there, with "
            "agentrl.evaluate(..., resume=True)"
        )


def write_config(run: RunDirectory, config: RunConfig) -> None:
    """Keep settings that a resume has changed, such as a limit."""
    text = yaml.safe_dump(to_mapping(config) | {"run_dir": ""}, sort_keys=False, allow_unicode=True)
    if run.config_file.read_text(encoding="utf-8") != text:
        write_whole(run.config_file, text.encode())
