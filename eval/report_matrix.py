"""An evaluation of several cells on one page: a table of cells, each linked to its report, and paired comparisons."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from agentrl.errors import AgentRLError, DataError
from agentrl.eval.report_csv import EPISODE, MEASURES, episode_rows, measure_row, table
from agentrl.eval.report_data import RunRecord, read_run
from agentrl.eval.report_html import render, strip
from agentrl.eval.report_markdown import plain
from agentrl.eval.report_pairs import Contender, comparisons, contender, left_out, pair_rows, pairs_note, told
from agentrl.eval.report_sections import mean, score, scores_differ
from agentrl.eval.report_summary import (
    REPORT_SCHEMA,
    Measure,
    Summary,
    bounds,
    money,
    played_of,
    summarise,
    written_interval,
    written_success,
)
from agentrl.run_directory import read_json
from agentrl.statistics import TOTAL

MATRIX = "matrix.json"
LABELS = ("policy", "env", "memory", "format", "split", "decoding")
"""What a cell is; in the table stand those that differ between cells."""
OPEN_PAIRS = 40
"""Comparisons that stand open on the page; of more, the rest unfolds."""


@dataclass(frozen=True, kw_only=True)
class CellReport:
    """A cell with what its folder holds by now."""

    name: str
    labels: Mapping[str, str]
    folder: Path
    state: str
    """`over`, `going on`, `not begun`, or `unreadable`."""
    why: str = ""
    """Why it is unreadable."""
    summary: Summary | None = None
    contender: Contender | None = None
    episodes: Sequence[Sequence[Any]] = field(default=(), repr=False)
    """Rows of episodes.csv."""

    @property
    def after(self) -> Measure:
        return (self.summary.after.get(TOTAL) or {}) if self.summary else {}


def is_matrix(folder: Path) -> bool:
    """Does the folder hold an evaluation of several cells?"""
    return (folder / MATRIX).is_file()


def listed(folder: Path) -> tuple[list[Mapping[str, Any]], Mapping[str, str]]:
    """The cells of matrix.json that stand in the folder, and the combinations that were left out, with the reason.

    Raises DataError for a file that is missing, damaged or newer.
    """
    found = read_json(folder / MATRIX)
    cells = found.get("cells") if isinstance(found, Mapping) else None
    if not isinstance(cells, list):
        raise DataError(f"{folder / MATRIX} is damaged: it lists no cells")
    if not isinstance(found.get("schema"), int) or found["schema"] > 1:
        raise DataError(f"{folder / MATRIX} was written by a newer agentrl (schema {found.get('schema')})")
    left = found.get("left_out")
    return [c for c in cells if isinstance(c, Mapping)], left if isinstance(left, Mapping) else {}


def folder_of(root: Path, cell: Mapping[str, Any]) -> Path:
    """The folder of a cell, which lies in that of the evaluation.   Raises DataError for one that lies elsewhere."""
    told_of = cell.get("folder")
    path = PurePosixPath(str(told_of or ""))
    if not told_of or path.is_absolute() or ".." in path.parts:
        raise DataError(f"{MATRIX} names a folder outside of its own: {told_of!r}")
    folder = root.joinpath(*path.parts)
    if not folder.resolve().is_relative_to(root.resolve()) or folder.resolve() == root.resolve():
        raise DataError(f"{MATRIX} names a folder outside of its own: {told_of!r}")
    return folder


def read_cell(root: Path, cell: Mapping[str, Any]) -> tuple[CellReport, RunRecord | None]:
    """A cell's state and numbers, and the record that they are from, where there is one."""
    labels = {name: str(cell.get(name) or "") for name in LABELS}
    name = str(cell.get("name") or cell.get("folder") or "")
    try:
        folder = folder_of(root, cell)
    except DataError as error:
        return CellReport(name=name, labels=labels, folder=root, state="unreadable", why=str(error)), None
    try:
        record = read_run(folder)
    except AgentRLError as error:
        begun = folder.exists() and any((folder / own).exists() for own in ("results.json", "played.jsonl"))
        state, why = ("unreadable", str(error)) if begun else ("not begun", "")
        return CellReport(name=name, labels=labels, folder=folder, state=state, why=why), None
    summary = summarise(record)
    panel = str(summary.judged.get("panel") or "")
    episodes = record.judged[max(record.judged)] if record.judged else {}
    return (
        CellReport(
            name=name,
            labels=labels,
            folder=folder,
            state="going on" if record.going_on else "over",
            summary=summary,
            contender=None if record.going_on else contender(name, panel, episodes, summary.withheld),
            episodes=[[name, *row] for row in episode_rows(record.judged)],
        ),
        record,
    )


def matrix_rows(cells: Sequence[CellReport], target: Path) -> list[dict[str, Any]]:
    """A row a cell of the page's table.   target: folder of the page, from which links lead to the cells' reports."""
    telling = telling_labels(cells)
    return [
        {
            "name": cell.name,
            "link": link(cell, target),
            "labels": [cell.labels[label] for label in telling],
            "measure": cell.after,
            "withheld": bounds(cell.after) if cell.summary and cell.summary.withheld else "",
            "score": "-" if cell.summary is None or cell.summary.withheld else score(cell.after),
            "turns": mean(cell.after.get("turns")),
            "tokens": mean(cell.after.get("tokens")),
            "cost": _cost(cell),
            "failures": cell.after.get("failures") or 0,
            "failed_share": (cell.after.get("failures") or 0) / max(1, played_of(cell.after)),
            "state": state_of_cell(cell),
            "state_class": cell.state.replace(" ", "-"),
            "picture": "" if cell.summary and cell.summary.withheld else strip([("c1", cell.after)], 200),
        }
        for cell in cells
    ]


def telling_labels(cells: Sequence[CellReport]) -> list[str]:
    """The labels that differ between cells; the policy and the world where none does."""
    found = [label for label in LABELS if len({cell.labels[label] for cell in cells}) > 1]
    return found or ["policy", "env"]


def link(cell: CellReport, target: Path) -> str:
    """Where a cell's report lies, seen from the page; empty where it has none."""
    page = cell.folder / "report.html"
    if cell.summary is None or not page.exists():
        return ""
    relative = Path(os.path.relpath(page.resolve(), target.resolve())).as_posix()
    return quote(relative if relative.startswith(".") else f"./{relative}")


def state_of_cell(cell: CellReport) -> str:
    """`over`, `going on: 12 of 134`, `not begun`, or why it cannot be read."""
    if cell.state == "going on" and cell.summary is not None:
        planned = cell.summary.judged.get("planned")
        return f"going on: {played_of(cell.after):,}" + (f" of {planned:,}" if planned else "")
    return f"unreadable: {cell.why}" if cell.why else cell.state


def _cost(cell: CellReport) -> str:
    usage = cell.summary.measured.usage if cell.summary else {}
    if not usage.get("from_api"):
        return "-"
    return "unknown" if usage.get("cost") is None else money(usage["cost"], usage)


def notes_of(cells: Sequence[CellReport], left: Mapping[str, str]) -> list[str]:
    """What must be known before the table is read."""
    states = [cell.state for cell in cells]
    found = []
    if "going on" in states or "not begun" in states:
        counts = ", ".join(f"{states.count(s)} {s}" for s in ("over", "going on", "not begun") if s in states)
        found.append(
            f"The evaluation is not over: of {len(cells)} cells, {counts}. Quick episodes end first, so that numbers "
            "of a cell that is going on may move; it is compared when it is over."
        )
    found += [f"{cell.name}: {cell.why}" for cell in cells if cell.why]
    found += left_out([cell.contender for cell in cells if cell.contender])
    found += [f"Left out: {name}: {why}" for name, why in left.items()]
    return found


def matrix_page(
    name: str, cells: Sequence[CellReport], notes: Sequence[str], version: str, written: str, target: Path
) -> str:
    """The page of the cells."""
    rows = comparisons([cell.contender for cell in cells if cell.contender])
    shown = pair_rows(rows)
    some = next((cell for cell in cells if cell.summary), None)
    return render(
        "matrix.html.jinja",
        title=name,
        eyebrow=f"evaluation of {len(cells)} cells",
        sections=[("result", "Cells"), *([("pairs", "Comparisons")] if rows else [])],
        facts=_facts(cells),
        labels=telling_labels(cells),
        has_scores=scores_differ({cell.name: cell.after for cell in cells}),
        rows=matrix_rows(cells, target),
        notes=notes,
        pairs=shown[:OPEN_PAIRS],
        more_pairs=shown[OPEN_PAIRS:],
        pairs_note=pairs_note(rows),
        interval_by=some.summary.judged.get("interval_by") if some and some.summary else "wilson",
        version=version,
        written=written,
    )


def _facts(cells: Sequence[CellReport]) -> list[str]:
    """What all cells share, the number of episodes, and what they cost together."""
    same = [f"{label} {cells[0].labels[label]}" for label in LABELS if len({c.labels[label] for c in cells}) == 1]
    usages = [c.summary.measured.usage for c in cells if c.summary]
    paid = [u for u in usages if u.get("from_api")]
    known = [u for u in paid if u.get("cost") is not None]
    found = [*same, f"{sum(played_of(c.after) for c in cells):,} episodes"]
    if len({u["currency"] for u in known if u.get("currency")}) == 1:
        currency = next(u for u in known if u.get("currency"))
        found.append(f"cost {money(sum(u['cost'] for u in known), currency)}")
    if len(known) < len(paid):
        number = len(paid) - len(known)
        found.append(f"{number} cell{'s' if number > 1 else ''} of unknown cost")
    return found


def matrix_numbers(cells: Sequence[CellReport], notes: Sequence[str]) -> dict[str, Any]:
    """For report.json."""
    return {
        "schema": REPORT_SCHEMA,
        "notes": list(notes),
        "cells": [
            {
                "name": cell.name,
                **cell.labels,
                "folder": cell.folder.name,
                "state": cell.state,
                "report": cell.summary.as_dict() if cell.summary else None,
            }
            for cell in cells
        ],
        "comparisons": comparisons([cell.contender for cell in cells if cell.contender]),
    }


def matrix_markdown(name: str, cells: Sequence[CellReport], notes: Sequence[str]) -> str:
    """The same numbers as Markdown."""
    lines = [f"# {plain(name)}", "", *(f"> {plain(note)}" for note in notes), ""]
    labels = telling_labels(cells)
    head = [*labels, "success", "95 % interval", "episodes", "failures", "score", "turns", "tokens", "cost", "state"]
    lines += [
        f"| {' | '.join(head)} |",
        f"| {' | '.join(['---'] * len(labels) + ['---:'] * (len(head) - len(labels)))} |",
    ]
    for cell in cells:
        after = cell.after
        withheld = cell.summary is not None and cell.summary.withheld
        success = (
            [f"no headline ({bounds(after)})", ""] if withheld else [written_success(after), written_interval(after)]
        )
        cells_of = [*(plain(cell.labels[label]) for label in labels), *success, str(after.get("episodes") or 0)]
        cells_of += [
            str(after.get("failures") or 0),
            "-" if withheld else score(after),
            mean(after.get("turns")),
            mean(after.get("tokens")),
        ]
        lines.append(f"| {' | '.join([*cells_of, plain(_cost(cell)), plain(state_of_cell(cell))])} |")
    rows = comparisons([cell.contender for cell in cells if cell.contender])
    if rows:
        lines += ["", "## Comparisons", "", *(f"- {plain(told(row))}" for row in rows), "", plain(pairs_note(rows))]
    return "\n".join([*lines, ""])


def matrix_tables(cells: Sequence[CellReport]) -> tuple[str, str]:
    """report.csv, a row a cell and type of task, and episodes.csv, a row an episode."""
    rows: list[list[Any]] = []
    for cell in cells:
        usage = cell.summary.measured.usage if cell.summary else {}
        what = [cell.name, *(cell.labels[label] for label in LABELS), state_of_cell(cell)]
        measures = cell.summary.after if cell.summary else {TOTAL: {}}
        for kind, measure in measures.items():
            paid = [usage.get("cost"), usage.get("currency")] if kind == TOTAL else [None, None]
            rows.append([*what, kind, *measure_row(measure), *paid])
    head = ("cell", *LABELS, "state", "kind", *MEASURES, "cost", "currency")
    return table(head, rows), table(("cell", *EPISODE), [row for cell in cells for row in cell.episodes])
