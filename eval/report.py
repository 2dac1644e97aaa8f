"""Writes the report of a run beside its other files: a page, and the same numbers as Markdown, JSON and CSV."""

import contextlib
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentrl.errors import DataError
from agentrl.run_directory import write_whole

if TYPE_CHECKING:
    from agentrl.eval.report_data import RunRecord
    from agentrl.eval.report_summary import Summary

PAGE, MARKDOWN, NUMBERS, TABLE, EPISODES = "report.html", "report.md", "report.json", "report.csv", "episodes.csv"
ENDS_ALONE = 0
"""Episodes that are read of a run in a comparison, beside those of its last judgement and its first."""


def write_report(run: str | os.PathLike[str], folder: str | os.PathLike[str] = "") -> Path:
    """The report of a training run, of an evaluation, or of one of several cells; finished or not.

    folder: where it is written; default: into the run's own. The cells of an evaluation have theirs in their folders.
    Returns the path of its page.
    Raises DataError where there is nothing to report, or it cannot be written.
    """
    from agentrl.eval.report_data import read_run
    from agentrl.eval.report_matrix import is_matrix
    from agentrl.eval.report_summary import summarise

    if is_matrix(Path(run)):
        return _write_matrix(Path(run), Path(folder) if os.fspath(folder) else Path(run))
    record = read_run(run)
    return _write_run(record, summarise(record), Path(folder) if os.fspath(folder) else record.path)


def _write_run(record: "RunRecord", summary: "Summary", target: Path) -> Path:
    from agentrl import __version__
    from agentrl.eval.report_csv import episodes_csv, measures_csv
    from agentrl.eval.report_html import run_page
    from agentrl.eval.report_markdown import run_markdown

    page = run_page(record, summary, __version__)
    tables = {TABLE: measures_csv(summary), EPISODES: episodes_csv(record.judged)}
    return _written(target, page, run_markdown(summary), summary.as_dict(), tables)


def _write_matrix(root: Path, target: Path) -> Path:
    """The page of an evaluation of several cells, and each cell's own where that is not newer than what it tells."""
    from agentrl import __version__
    from agentrl.eval import report_matrix as matrix

    listed, left = matrix.listed(root)
    cells = []
    for entry in listed:
        cell, record = matrix.read_cell(root, entry)
        if record is not None and cell.summary is not None and not is_fresh(cell.folder):
            _write_run(record, cell.summary, cell.folder)
        cells.append(cell)
    if not any(cell.summary for cell in cells):
        raise DataError(f"{root} holds nothing to report yet: no episode of its {len(cells)} cells is over")
    notes = matrix.notes_of(cells, left)
    name = root.resolve().name
    page = matrix.matrix_page(name, cells, notes, __version__, time.strftime("%Y-%m-%dT%H:%M:%S%z"), target)
    markdown, numbers = matrix.matrix_markdown(name, cells, notes), matrix.matrix_numbers(cells, notes)
    tables = dict(zip((TABLE, EPISODES), matrix.matrix_tables(cells), strict=True))
    return _written(target, page, markdown, numbers, tables)


def is_fresh(folder: Path) -> bool:
    """Is the page of a folder newer than what it tells, and of this version?"""
    from agentrl import __version__

    page = folder / PAGE
    try:
        written = page.stat().st_mtime_ns
        newest = max(path.stat().st_mtime_ns for path in sources(folder))
        return written > newest and f"by agentrl {__version__}." in page.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return False


def sources(folder: Path) -> list[Path]:
    """The files of a folder that its report tells of, those of its cells included."""
    patterns = ("config.yaml", "meta.json", "metrics.jsonl", "results.json", "played.jsonl", "matrix.json")
    found = [folder / name for name in patterns if (folder / name).is_file()]
    for place in ("trajectories", "validation"):
        found += sorted((folder / place).glob("step-*.jsonl.gz"))
    if (folder / "matrix.json").is_file():
        from agentrl.eval.report_matrix import folder_of, listed

        for entry in listed(folder)[0]:
            with contextlib.suppress(DataError):
                found += sources(folder_of(folder, entry))
    return found


def write_comparison(runs: Sequence[str | os.PathLike[str]], folder: str | os.PathLike[str]) -> tuple[Path, list[str]]:
    """One page for several runs, in a folder of its own.

    Returns its path, and what must be known before the runs are compared: that they did not judge the same tasks.
    Raises DataError where one of them has nothing to report, or the folder holds a run.
    """
    from agentrl import __version__
    from agentrl.eval import report_comparison as comparison
    from agentrl.eval.report_data import read_run
    from agentrl.eval.report_summary import summarise

    target = Path(folder)
    if (target / "config.yaml").exists() or (target / "matrix.json").exists():
        raise DataError(f"{target} holds a run, whose own report this would replace; name another folder")
    records = [read_run(run, ENDS_ALONE) for run in runs]
    fields = comparison.fields_of(comparison.entries_of(records, [summarise(record) for record in records]))
    warnings = comparison.warnings_of(fields)
    page = comparison.comparison_page(fields, warnings, __version__, time.strftime("%Y-%m-%dT%H:%M:%S%z"))
    markdown = comparison.comparison_markdown(fields, warnings)
    tables = dict(zip((TABLE, EPISODES), comparison.comparison_tables(fields), strict=True))
    return _written(target, page, markdown, comparison.comparison_numbers(fields, warnings), tables), warnings


def _written(folder: Path, page: str, markdown: str, numbers: object, tables: Mapping[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_finite(numbers), indent=2, default=str)  # ASCII: any text of a world can be written so
    write_whole(folder / NUMBERS, f"{text}\n".encode())
    write_whole(folder / MARKDOWN, markdown.encode())
    for name, table in tables.items():
        write_whole(folder / name, table.encode("utf-8-sig"))  # spreadsheets guess another encoding without the mark
    write_whole(folder / PAGE, page.encode())
    return folder / PAGE


def _finite(value: Any) -> Any:
    """The same without nan and infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {str(name): _finite(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def report_line(run: str | os.PathLike[str]) -> str:
    """Write a run's report and say where it is; where that fails, say so: a run that ended well stays one."""
    try:
        return f"Read the report: {write_report(run)}"
    except Exception as error:
        return f"There is no report ({' '.join(str(error).split())}); agentrl report {os.fspath(run)} writes it"
