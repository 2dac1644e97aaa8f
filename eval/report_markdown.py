"""A report as Markdown: the same numbers as its page, for a terminal, an issue or a pull request."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agentrl.eval.checkup_evidence import percent
from agentrl.eval.report_episodes import visible
from agentrl.eval.report_html import facts, findings_line, headline, small_print
from agentrl.eval.report_rewards import reward_rows
from agentrl.eval.report_sections import ends_rows, failures_words, marks_rows, usage_rows, usage_words
from agentrl.eval.report_summary import (
    GREEDY,
    Measure,
    Summary,
    bounds,
    title_of,
    written_interval,
    written_success,
)
from agentrl.statistics import TOTAL

PASSES = ("pass_at_k", "pass_hat_k")
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")


def plain(text: Any) -> str:
    """A text on one line in which no sign means anything to Markdown."""
    return _SPECIAL.sub(r"\\\1", " ".join(visible(text, 500).split()))


def run_markdown(summary: Summary) -> str:
    """The report of one run."""
    lines = [f"# {plain(title_of(summary.head))}", "", " · ".join(plain(fact) for fact in facts(summary.head)), ""]
    lines += [f"## {plain(headline(summary))}", ""]
    lines += [*measures_table(summary.before, summary.after, withheld=summary.withheld), ""]
    lines += [f"{plain(sentence)}" for sentence in summary.verdict]
    lines += ["", plain(small_print(summary)), ""]
    lines += [f"> {plain(note)}" for note in summary.notes]
    if summary.findings:
        lines += ["## Check-up", "", findings_line(summary), ""]
        for finding in summary.findings:
            advice = f" {plain(finding.means)} {plain(finding.do)}".rstrip() if finding.severity != "good" else ""
            lines.append(f"- **{finding.severity}: {plain(finding.title)}.** {plain(finding.seen)}{advice}")
        lines.append("")
    lines += _measured(summary)
    rows = reward_rows(summary.cliff)
    if rows:
        lines += [
            "## What the reward leaves open",
            "",
            *(f"- {plain(name)}: {plain(value)}" for name, value in rows),
            "",
        ]
    return "\n".join(lines)


def _measured(summary: Summary) -> list[str]:
    """By difficulty, by repeats, why episodes ended, what turns brought nothing, usage and cost."""
    measured = summary.measured
    lines: list[str] = []
    if measured.by_difficulty:
        lines += ["## By difficulty", "", *measures_table({}, measured.by_difficulty), ""]
    if len(measured.repeats) > 1:
        rows = [
            [
                str(row["k"]),
                *(f"{percent(row[w])}, {_percents(row[f'{w}_interval'])}" for w in PASSES),
                str(row["tasks"]),
            ]
            for row in measured.repeats
        ]
        lines += ["## Success in k episodes of a task", "", *_table(("k", "pass@k", "pass^k", "tasks"), rows), ""]
    if measured.ends:
        rows = [[row["name"], f"{row['episodes']:,}", row["share"], row["won"]] for row in ends_rows(measured)]
        lines += ["## Why episodes ended", "", *_table(("ended by", "episodes", "share", "won"), rows), ""]
        lines += [plain(sentence) for sentence in failures_words(measured)]
    if marks := marks_rows(measured):
        rows = [[row["name"], f"{row['turns']:,}", row["share"], f"{row['episodes']:,}"] for row in marks]
        lines += ["", "## Turns that bring nothing", "", *_table(("", "turns", "share", "episodes"), rows), ""]
    if used := usage_rows(measured):
        rows = [[row["name"], row["total"], row["episode"], row["success"]] for row in used]
        lines += ["## Usage", "", *_table(("", "in all", "an episode", "a success"), rows), ""]
        lines += [plain(" ".join(usage_words(measured))), ""]
    return lines


def _percents(interval: Sequence[float]) -> str:
    return f"{100 * interval[0]:.0f} to {100 * interval[1]:.0f} %"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---", *("---:" for _ in head[1:])], *([plain(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def measures_table(before: Mapping[str, Measure], after: Mapping[str, Measure], *, withheld: bool = False) -> list[str]:
    """A row a type of task; all of them and the greedy policy first.   withheld: there is no headline."""
    kinds = dict.fromkeys([*before, *after])
    order = [kind for kind in (TOTAL, GREEDY) if kind in kinds] + sorted(set(kinds) - {TOTAL, GREEDY})
    if not order:
        return []
    sides = [("before", before), ("after", after)] if before else [("success", after)]
    head = ["", *(word for name, _ in sides for word in (name, "95 % interval", "episodes", "failures"))]
    rows = [head, ["---", *("---:" for _ in head[1:])]]
    names = {TOTAL: "all tasks", GREEDY: "all tasks, greedy"}
    for kind in order:
        without = withheld and kind == TOTAL
        rows.append(
            [names.get(kind) or plain(kind), *(c for _, side in sides for c in _cells(side.get(kind), without))]
        )
    return [f"| {' | '.join(row)} |" for row in rows]


def _cells(measure: Measure | None, without: bool = False) -> Sequence[str]:
    if not measure:
        return "-", "", "", ""
    return (
        f"no headline: {bounds(measure)}" if without else written_success(measure),
        "" if without else written_interval(measure),
        str(measure.get("episodes") or 0),
        str(measure.get("failures") or 0),
    )
