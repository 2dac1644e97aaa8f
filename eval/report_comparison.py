"""Several runs on one page: curves on the same axes and numbers in a table, where they judged the same tasks.

Runs are compared only within a *field*: those whose last judgements were of one task panel, by its hash. Of runs in
different fields nothing is subtracted, and no two lines share an axis; the page says why.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from agentrl.eval.report_charts import Chart, Series, draw
from agentrl.eval.report_csv import EPISODE, MEASURES, episode_rows, measure_row, table
from agentrl.eval.report_curves import METRICS, judged_points, points_of
from agentrl.eval.report_data import RunRecord
from agentrl.eval.report_html import NARROW, SMALL, WIDE, render, strip, strip_of_shares
from agentrl.eval.report_markdown import plain
from agentrl.eval.report_pairs import Contender, comparisons, contender, left_out, pair_rows, pairs_note, told
from agentrl.eval.report_summary import (
    GREEDY,
    REPORT_SCHEMA,
    Measure,
    Summary,
    title_of,
    written_interval,
    written_success,
)
from agentrl.statistics import TOTAL

NUM_COLOURS = 6


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A run of a comparison, with the name that tells it from the others."""

    name: str
    record: RunRecord
    summary: Summary
    colour: str

    @property
    def panel(self) -> str:
        return str(self.summary.judged.get("panel") or "")

    @property
    def after(self) -> Measure:
        return self.summary.after.get(TOTAL) or {}


@dataclass(frozen=True, kw_only=True)
class Field:
    """Runs that may be compared: they judged the same tasks at last."""

    panel: str
    """Hash of the panel; empty for runs that judged nothing."""
    entries: Sequence[Entry]


def entries_of(records: Sequence[RunRecord], summaries: Sequence[Summary]) -> list[Entry]:
    """The runs in their order; runs of one folder name are told apart by number."""
    names: dict[str, int] = {}
    found = []
    for place, (record, summary) in enumerate(zip(records, summaries, strict=True)):
        names[record.name] = names.get(record.name, 0) + 1
        number = names[record.name]
        name = record.name if number == 1 else f"{record.name} ({number})"
        found.append(Entry(name=name, record=record, summary=summary, colour=f"c{place % NUM_COLOURS + 1}"))
    return found


def fields_of(entries: Sequence[Entry]) -> list[Field]:
    """The entries by the panel of their last judgement, the largest field first."""
    panels = dict.fromkeys(entry.panel for entry in entries)
    fields = [Field(panel=panel, entries=[e for e in entries if e.panel == panel]) for panel in panels]
    return sorted(fields, key=lambda field: -len(field.entries))


def warnings_of(fields: Sequence[Field]) -> list[str]:
    """What must be said before numbers are read side by side."""
    found = []
    if len(fields) > 1:
        names = "; ".join(f"{', '.join(e.name for e in f.entries)}: {f.panel[:12] or 'none'}" for f in fields)
        found.append(
            "These runs did not judge the same tasks (hashes of their task panels differ), so that their success is "
            f"not compared across panels. Panel by run: {names}."
        )
    for field in fields:
        unfinished = [e.name for e in field.entries if e.summary.head["steps_done"] < (e.summary.head["steps"] or 0)]
        if unfinished:
            found.append(f"Not at their end yet: {', '.join(unfinished)}.")
        found += left_out([_contender(entry) for entry in field.entries])
        greedy = {e.summary.judged.get("temperature") for e in field.entries}
        if len(greedy) > 1:
            found.append(f"Not sampled alike: temperatures {', '.join(sorted(map(str, greedy)))}.")
    return found


def differences(field: Field) -> list[dict[str, Any]]:
    """Every two of the field, the later against the earlier, task by task; those without episodes are left out."""
    return comparisons([_contender(entry) for entry in field.entries])


def _contender(entry: Entry) -> Contender:
    return contender(entry.name, entry.panel or "none", _last(entry), entry.summary.withheld)


def _last(entry: Entry) -> Mapping[str, Any]:
    steps = sorted(entry.record.judged)
    return entry.record.judged[steps[-1]] if steps else {}


def algorithms(field: Field) -> list[dict[str, Any]]:
    """Runs that differ in nothing but their seed, together: mean, lowest and highest success."""
    groups: dict[str, list[Entry]] = {}
    for entry in field.entries:
        if entry.after.get("success") is not None and not entry.record.is_evaluation:
            settings = {name: v for name, v in entry.record.settings.items() if name not in ("seed", "run_dir")}
            groups.setdefault(json.dumps(settings, sort_keys=True, default=str), []).append(entry)
    found = []
    for entries in groups.values():
        shares = [entry.after["success"] for entry in entries]
        if len({entry.summary.head["seed"] for entry in entries}) > 1:
            name = title_of(entries[0].summary.head)
            row = {"name": name, "runs": len(shares), "mean": fmean(shares), "low": min(shares), "high": max(shares)}
            found.append(row)
    return found


def comparison_numbers(fields: Sequence[Field], warnings: Sequence[str]) -> dict[str, Any]:
    """For report.json."""
    return {
        "schema": REPORT_SCHEMA,
        "warnings": list(warnings),
        "fields": [
            {
                "panel": field.panel,
                "runs": [{"name": e.name, **e.summary.as_dict()} for e in field.entries],
                "differences": differences(field),
                "algorithms": algorithms(field),
            }
            for field in fields
        ],
    }


def comparison_page(fields: Sequence[Field], warnings: Sequence[str], version: str, written: str) -> str:
    """The page of several runs."""
    number = sum(len(field.entries) for field in fields)
    return render(
        "comparison.html.jinja",
        title=f"{number} runs compared",
        eyebrow="comparison",
        sections=[("result", "Result"), ("curves", "Curves"), ("runs", "The runs")],
        warnings=warnings,
        fields=[_field(field) for field in fields],
        runs=[entry for field in fields for entry in field.entries],
        several=len(fields) > 1,
        version=version,
        written=written,
    )


def _field(field: Field) -> dict[str, Any]:
    success = Chart(
        title="Success",
        percent=True,
        whole=True,
        series=[
            Series(name=e.name, points=points, band=band, colour=e.colour, marks="circle")
            for e in field.entries
            for points, band in [judged_points(e.summary.curve, "sampled")]
        ],
    )
    small = []
    for title, metrics, percent, note in METRICS:
        series = [
            Series(name=e.name, points=points_of(e.record.train, metrics[0][0]), colour=e.colour) for e in field.entries
        ]
        if any(y for one in series for _, y in one.points):
            small.append(Chart(title=title, series=series, percent=percent, note=note))
    own = [Series(name=e.name, points=points_of(e.record.train, "success"), colour=e.colour) for e in field.entries]
    small.insert(0, Chart(title="Success of the steps' own episodes", series=own, percent=True, whole=True))
    rows = differences(field)
    split = next((e.summary.judged.get("split") for e in field.entries if e.summary.judged.get("split")), "")
    return {
        "title": f"Success on {field.entries[0].after.get('episodes') or 0} episodes of {split}"
        if split
        else "Success",
        "panel": field.panel[:12],
        "rows": [_row(entry) for entry in field.entries],
        "algorithms": [
            {**row, "picture": strip_of_shares("c1", row["mean"], row["low"], row["high"])} for row in algorithms(field)
        ],
        "pairs": pair_rows(rows),
        "pairs_note": pairs_note(rows),
        "success": success,
        "wide": draw(success, *WIDE),
        "narrow": draw(success, *NARROW),
        "small": [{"chart": c, "picture": p} for c in small if (p := draw(c, *SMALL))],
    }


def _row(entry: Entry) -> dict[str, Any]:
    summary = entry.summary
    return {
        "entry": entry,
        "what": title_of(summary.head),
        "seed": summary.head["seed"],
        "steps": f"{summary.head['steps_done']} of {summary.head['steps']}" if summary.head["steps"] else "",
        "before": summary.before.get(TOTAL),
        "after": entry.after,
        "greedy": summary.after.get(GREEDY),
        "picture": strip([("c6", summary.before.get(TOTAL) or {}), (entry.colour, entry.after)]),
        "warnings": sum(finding.severity == "warning" for finding in summary.findings),
    }


def comparison_markdown(fields: Sequence[Field], warnings: Sequence[str]) -> str:
    """The same numbers as Markdown."""
    lines = ["# Runs compared", "", *(f"> {plain(warning)}" for warning in warnings), ""]
    for field in fields:
        lines += [f"## Panel {field.panel[:12] or 'none'}", ""]
        lines += ["| run | what | seed | before | after | 95 % interval | episodes | failures | greedy |"]
        lines += ["| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
        for row in map(_row, field.entries):
            after = row["after"]
            cells = [plain(row["entry"].name), plain(row["what"]), str(row["seed"]), written_success(row["before"])]
            cells += [written_success(after), written_interval(after), str(after.get("episodes") or 0)]
            cells += [str(after.get("failures") or 0), written_success(row["greedy"])]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
        for group in algorithms(field):
            lines.append(
                f"- {plain(group['name'])}, {group['runs']} runs: mean {100 * group['mean']:.1f} %, "
                f"{100 * group['low']:.1f} to {100 * group['high']:.1f} %"
            )
        lines += [f"- {plain(told(row))}" for row in differences(field)] + [""]
    return "\n".join(lines)


def comparison_tables(fields: Sequence[Field]) -> tuple[str, str]:
    """report.csv, a row a run and type of task, and episodes.csv, a row an episode of the judgements that were read."""
    rows, episodes = [], []
    for entry in (entry for field in fields for entry in field.entries):
        what = [entry.name, title_of(entry.summary.head), entry.summary.head["seed"], entry.panel]
        for when, measures in (("before", entry.summary.before), ("after", entry.summary.after)):
            rows += [[*what, when, kind, *measure_row(measure)] for kind, measure in measures.items()]
        episodes += [[entry.name, *row] for row in episode_rows(entry.record.judged)]
    head = ("run", "what", "seed", "panel", "when", "kind", *MEASURES)
    return table(head, rows), table(("run", *EPISODE), episodes)
