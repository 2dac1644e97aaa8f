"""A report as Markdown: the same numbers as its page, for a terminal, an issue or a pull request."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from agentrl.eval.report_episodes import visible
from agentrl.eval.report_html import facts, findings_line, headline, small_print
from agentrl.eval.report_rewards import reward_rows
from agentrl.eval.report_summary import GREEDY, Measure, Summary, title_of, written_interval, written_success
from agentrl.statistics import TOTAL

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")


def plain(text: Any) -> str:
    """A text on one line in which no sign means anything to Markdown."""
    return _SPECIAL.sub(r"\\\1", " ".join(visible(text, 500).split()))


def run_markdown(summary: Summary) -> str:
    """The report of one run."""
    lines = [f"# {plain(title_of(summary.head))}", "", " · ".join(plain(fact) for fact in facts(summary.head)), ""]
    lines += [f"## {plain(headline(summary))}", ""]
    lines += [*measures_table(summary.before, summary.after), ""]
    lines += [f"{plain(sentence)}" for sentence in summary.verdict]
    lines += ["", plain(small_print(summary)), ""]
    lines += [f"> {plain(note)}" for note in summary.notes]
    if summary.findings:
        lines += ["## Check-up", "", findings_line(summary), ""]
        for finding in summary.findings:
            advice = f" {plain(finding.means)} {plain(finding.do)}".rstrip() if finding.severity != "good" else ""
            lines.append(f"- **{finding.severity}: {plain(finding.title)}.** {plain(finding.seen)}{advice}")
        lines.append("")
    rows = reward_rows(summary.cliff)
    if rows:
        lines += [
            "## What the reward leaves open",
            "",
            *(f"- {plain(name)}: {plain(value)}" for name, value in rows),
            "",
        ]
    return "\n".join(lines)


def measures_table(before: Mapping[str, Measure], after: Mapping[str, Measure]) -> list[str]:
    """A row a type of task; all of them and the greedy policy first."""
    kinds = dict.fromkeys([*before, *after])
    order = [kind for kind in (TOTAL, GREEDY) if kind in kinds] + sorted(set(kinds) - {TOTAL, GREEDY})
    if not order:
        return []
    sides = [("before", before), ("after", after)] if before else [("success", after)]
    head = ["", *(word for name, _ in sides for word in (name, "95 % interval", "episodes", "failures"))]
    rows = [head, ["---", *("---:" for _ in head[1:])]]
    names = {TOTAL: "all tasks", GREEDY: "all tasks, greedy"}
    for kind in order:
        rows.append([names.get(kind) or plain(kind), *(c for _, side in sides for c in _cells(side.get(kind)))])
    return [f"| {' | '.join(row)} |" for row in rows]


def _cells(measure: Measure | None) -> Sequence[str]:
    if not measure:
        return "-", "", "", ""
    return (
        written_success(measure),
        written_interval(measure),
        str(measure.get("episodes") or 0),
        str(measure.get("failures") or 0),
    )
