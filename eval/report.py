"""Writes the report of a run beside its other files: report.html, report.md and report.json, with the same numbers."""

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentrl.errors import DataError
from agentrl.run_directory import write_whole

PAGE, MARKDOWN, NUMBERS = "report.html", "report.md", "report.json"
ENDS_ALONE = 0
"""Episodes that are read of a run in a comparison, beside those of its last judgement and its first."""


def write_report(run: str | os.PathLike[str], folder: str | os.PathLike[str] = "") -> Path:
    """The report of a training run or an evaluation, finished or not.

    folder: where it is written; default: into the run's own.   Returns the path of its page.
    Raises DataError where there is nothing to report, or it cannot be written.
    """
    from agentrl import __version__
    from agentrl.eval.report_data import read_run
    from agentrl.eval.report_html import run_page
    from agentrl.eval.report_markdown import run_markdown
    from agentrl.eval.report_summary import summarise

    record = read_run(run)
    summary = summarise(record)
    target = Path(folder) if os.fspath(folder) else record.path
    page = run_page(record, summary, __version__)
    return _written(target, page, run_markdown(summary), summary.as_dict())


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
    if (target / "config.yaml").exists():
        raise DataError(f"{target} holds a run, whose own report this would replace; name another folder")
    records = [read_run(run, ENDS_ALONE) for run in runs]
    fields = comparison.fields_of(comparison.entries_of(records, [summarise(record) for record in records]))
    warnings = comparison.warnings_of(fields)
    page = comparison.comparison_page(fields, warnings, __version__, time.strftime("%Y-%m-%dT%H:%M:%S%z"))
    markdown = comparison.comparison_markdown(fields, warnings)
    return _written(target, page, markdown, comparison.comparison_numbers(fields, warnings)), warnings


def _written(folder: Path, page: str, markdown: str, numbers: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_finite(numbers), indent=2, default=str)  # ASCII: any text of a world can be written so
    write_whole(folder / NUMBERS, f"{text}\n".encode())
    write_whole(folder / MARKDOWN, markdown.encode())
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
