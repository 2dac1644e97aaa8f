"""A report as one HTML file that needs nothing else: its own style and script, no request, nothing that can run in it.

Whatever a world, a model or a user has said goes through Jinja's escaping and `visible`, or stands as JSON whose
angle brackets are escaped, or packed as base64. The page's policy lets no script run but its own, named by its hash.
"""

import base64
import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from agentrl.eval.checkup_evidence import SEVERITIES
from agentrl.eval.report_charts import Chart, draw, interval_strip, stacked_bar, written
from agentrl.eval.report_curves import entropy_by_turn, metric_charts, other_charts, success_chart
from agentrl.eval.report_data import RunRecord
from agentrl.eval.report_episodes import Pair, episode_to_json, pack, state_of, visible
from agentrl.eval.report_proxies import calibration_charts, proxy_charts
from agentrl.eval.report_rewards import reward_rows
from agentrl.eval.report_sections import length_charts, measured_values, repeats_strips
from agentrl.eval.report_summary import (
    GREEDY,
    Measure,
    Summary,
    duration,
    played_of,
    title_of,
    written_interval,
    written_success,
)
from agentrl.statistics import TOTAL
from agentrl.types import Trajectory

TEMPLATES = Path(__file__).parent / "templates"
SHOWN_TURNS = 8
"""Turns of an example that stand open; the rest unfolds."""
MAX_SHOWN = 20_000
"""Characters of any one text of the page, its settings included."""

WIDE, NARROW, SMALL = (1030, 320), (360, 260), (360, 190)
"""Width and height of the pictures, in the units of their text."""

ENDS = (
    ("c1", "won"),
    ("faint", "lost, ended by itself"),
    ("c5", "cut at the turn limit"),
    ("c2", "cut at the context or token limit"),
    ("c4", "infrastructure failure"),
)
SHORT_ENDS = (("c1", "won"), ("faint", "ended"), ("c5", "turn limit"), ("c2", "too long"), ("c4", "failed"))
_CODE = re.compile(r"\b(?:rollout|trainer|validation)\.[a-z_]+(?:=[a-z]+)?|--[a-z]+ [a-z]+|\bagentrl [a-z]+")
EXAMPLES = {
    "gained": "Lost before, won after",
    "lost": "Won before, lost after",
    "kept": "Won before and after",
    "never": "Lost before and after",
}


def render(template: str, **values: Any) -> str:
    """A page from a template of this folder, with its style, its script and their hashes."""
    style, script = (_source(name) for name in ("report.css", "report.js"))
    return (
        _environment()
        .get_template(template)
        .render(
            style=Markup(style),
            script=Markup(script),
            style_hash=_hash(style),
            script_hash=_hash(script),
            shown_turns=SHOWN_TURNS,
            **values,
        )
    )


@functools.cache
def _environment() -> Environment:
    """The templates: compiled once, for an evaluation of many cells writes as many pages."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_safe,
    )
    environment.filters |= {
        "success": written_success,
        "interval": lambda measure: written_interval(measure or {}),
        "codes": _codes,
        "words": lambda text: str(text).replace("_", " "),
        "number": written,
        "share": lambda value: written(value, True),
    }
    return environment


def _safe(value: Any) -> Any:
    return visible(value, MAX_SHOWN) if isinstance(value, str) and not isinstance(value, Markup) else value


def _codes(text: str) -> Markup:
    """A sentence with its settings and commands set as code."""
    return Markup(_CODE.sub(r"<code>\g<0></code>", str(escape(visible(text)))))


def _source(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def json_block(value: Any) -> Markup:
    """JSON that may stand in a `script` element: nothing in it ends the element or opens another."""
    text = json.dumps(value, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def run_page(record: RunRecord, summary: Summary, version: str) -> str:
    """The page of one run."""
    steps = sorted(record.judged)
    before_played = record.judged.get(0, {}) if summary.before else {}
    after_played = record.judged[steps[-1]] if steps else {}
    named = [f.episode for f in summary.findings if f.episode]
    named += [key for pair in summary.examples for key in (pair.before, pair.after)]
    packed = pack(record.judged, named, record.learned)
    chart = success_chart(summary.curve, record.train, bool(summary.judged.get("by_pairs")))
    by_turn = entropy_by_turn(record.train)
    small = metric_charts(record.train)
    if len(by_turn.series) > 1:
        small.insert(1, by_turn)
    small = [*proxy_charts(record.train), *calibration_charts(record.train), *small]
    values = {
        "title": title_of(summary.head),
        "eyebrow": "run report" if summary.head["kind"] == "training" else "evaluation report",
        "facts": facts(summary.head),
        "headline": headline(summary),
        "by_pairs": bool(summary.judged.get("by_pairs")),
        "before": summary.before.get(TOTAL),
        "after": summary.after.get(TOTAL),
        "verdict": summary.verdict,
        "withheld": _withheld(summary),
        "hero_strip": [] if summary.withheld else _strips(summary),
        "small_print": small_print(summary),
        "notes": summary.notes,
        "findings": summary.findings,
        "findings_line": findings_line(summary),
        "ends": _ends(before_played, after_played),
        "end_names": ENDS,
        "reward_rows": reward_rows(summary.cliff),
        "curve": chart,
        "curve_wide": draw(chart, *WIDE),
        "curve_narrow": draw(chart, *NARROW),
        "curve_note": _curve_note(summary),
        "small_charts": _drawn(small),
        "other_charts": _drawn(other_charts(record.train)),
        "table": _table(summary),
        "table_note": _table_note(summary),
        **measured_values(summary),
        "length_charts": _drawn(length_charts(summary.measured)),
        "examples": [_example(pair, before_played, after_played) for pair in summary.examples],
        "packed": packed,
        "pieces": [Markup(piece) for piece in packed.pieces],  # base64: no sign of it can end an element
        "episodes_line": _episodes_line(record, packed.shown, packed.all),
        "index": json_block(packed.index),
        "run_facts": run_facts(summary.head, record),
        "settings": yaml.safe_dump(dict(record.settings), sort_keys=False, allow_unicode=True)
        if record.settings
        else "",
        "written": summary.head["written"],
        "version": version,
    }
    present = {
        "result": True,
        "checkup": summary.findings,
        "curves": values["curve_wide"],
        "types": values["table"] or values["kinds"] or values["levels"],
        "measures": values["length_charts"] or values["ends_rows"],
        "examples": values["examples"],
        "episodes": packed.shown,
        "how": True,
    }
    names = (
        "Result",
        "Check-up",
        "Curves",
        "By type",
        "Turns and cost",
        "Before and after",
        "Episodes",
        "How it was run",
    )
    sections = [(id, name) for (id, there), name in zip(present.items(), names, strict=True) if there]
    return render("report.html.jinja", sections=sections, **values)


def facts(head: Mapping[str, Any]) -> list[str]:
    """The line under the title."""
    found = [f"model {head['model']}"] if head["model"] and head["kind"] == "training" else []
    if head["kind"] == "training":
        found.append(f"{head['steps_done']} of {head['steps']} steps")
    found.append(f"seed {head['seed']}")
    total = duration(sum(v for v in head["seconds"].values() if v == v))
    found += [total] if total else []
    found += [str(head["started"])[:10]] if head["started"] else []
    if head["commit"]:
        found.append(f"commit {str(head['commit'])[:7]}{' with changes' if head['changed'] else ''}")
    return found


def _withheld(summary: Summary) -> str:
    """Why there is no headline; empty where there is one."""
    if not summary.withheld:
        return ""
    measure = summary.after.get(TOTAL) or {}
    return f"{measure.get('failures') or 0:,} of {played_of(measure):,} failed by infrastructure"


def headline(summary: Summary) -> str:
    measure = summary.after.get(TOTAL) or {}
    split = f" of {summary.judged.get('split')}" if summary.judged.get("split") else ""
    repeats = summary.judged.get("repeats", 1)
    episodes = measure.get("episodes") or 0
    if summary.judged.get("by_pairs"):
        return f"Held-out pairs in order, of {episodes:,}"
    what = f"episodes{split}, {repeats} a task" if repeats != 1 else f"tasks{split}"
    return f"Success on {episodes:,} {what}" if episodes else "Success"


def small_print(summary: Summary) -> str:
    judged = summary.judged
    parts = []
    if judged.get("split"):
        repeats = judged.get("repeats", 1)
        played = "one episode a task" if repeats == 1 else f"{repeats} episodes a task"
        parts.append(f"Split {judged['split']}, played {_sampling(judged.get('temperature'))}, {played}.")
    by = "Wilson's" if judged.get("interval_by") == "wilson" else judged.get("interval_by")
    parts.append(f"Ranges are 95 % intervals ({by}).")
    if judged.get("after_step"):
        parts.append(f"After is the policy after step {judged['after_step']}, not the best one.")
    if summary.before:
        parts.append("It is one run with one seed: another may end elsewhere.")
    if judged.get("panel"):
        parts.append(f"Panel {str(judged['panel'])[:12]}.")
    return " ".join(parts)


def _sampling(temperature: Any) -> str:
    if temperature is None:
        return "sampled"
    return "greedily" if temperature == 0 else f"at temperature {temperature}"


def findings_line(summary: Summary) -> str:
    """`1 warning, 2 notices, 9 in order.`"""
    names = {"warning": ("warning", "warnings"), "notice": ("notice", "notices"), "good": ("in order", "in order")}
    counts = [(sum(f.severity == severity for f in summary.findings), names[severity]) for severity in SEVERITIES]
    return ", ".join(f"{count} {name[count != 1]}" for count, name in counts if count) + "."


def run_facts(head: Mapping[str, Any], record: RunRecord) -> list[tuple[str, str]]:
    hardware, seconds = head["hardware"], {k: v for k, v in head["seconds"].items() if v == v and v > 0}
    found = [
        ("folder", head["path"]),
        ("command", " ".join(head["command"])),
        ("started", str(head["started"] or "") + (f", in {head['starts']} starts" if head["starts"] > 1 else "")),
        ("time", ", ".join(f"{duration(value)} {name}" for name, value in seconds.items())),
        ("commit", f"{head['commit'] or ''}{' with changes of its own' if head['changed'] else ''}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in head["versions"].items())),
        ("machine", _machine(hardware)),
        ("memory and format", f"{record.setting('memory', '')}, {record.setting('format', '')}".strip(", ")),
        ("task panels", ", ".join(f"{k} {str(v)[:12]}" for k, v in (record.meta.get("panels") or {}).items())),
    ]
    return [(name, str(value)) for name, value in found if value]


def _machine(hardware: Mapping[str, Any]) -> str:
    if not hardware:
        return ""
    memory = hardware.get("memory")
    room = f"{memory / 2**30:.0f} GiB" if isinstance(memory, (int, float)) else ""
    gpus = ", ".join(map(str, hardware.get("gpus") or [])) or "no GPU"
    parts = [hardware.get("processor"), f"{hardware.get('cores')} cores", room, gpus, hardware.get("system")]
    return ", ".join(str(part) for part in parts if part)


def _strips(summary: Summary) -> list[dict[str, Any]]:
    """Sampled and greedy, before and after, one under the other on one axis."""
    rows = []
    for name, measures, colour in (("before", summary.before, "c6"), ("after", summary.after, "c1")):
        for kind, how in ((TOTAL, "sampled"), (GREEDY, "greedy")):
            measure = measures.get(kind)
            if measure and measure.get("episodes"):
                label = f"{name}, {how}" if summary.before or GREEDY in measures else "success"
                label = ("in order" if not summary.before else name) if summary.judged.get("by_pairs") else label
                rows.append(
                    {
                        "name": label,
                        "picture": strip([(colour, measure)], 440),
                        "success": written_success(measure),
                        "interval": written_interval(measure),
                    }
                )
    rows += repeats_strips(summary.measured) if not summary.before else []
    return sorted(rows, key=lambda row: "greedy" in row["name"]) if len(rows) > 1 else []


def strip_of_shares(colour: str, value: float, low: float, high: float) -> Markup:
    """One point with a range, on an axis from 0 to 1."""
    return interval_strip([(colour, value, low, high)], 260)


def strip(rows: Sequence[tuple[str, Measure]], width: int = 260) -> Markup:
    """(colour, measure) as points with their intervals; those without an episode are left out."""
    told = [(colour, m["success"], *m["success_interval"]) for colour, m in rows if m and m.get("episodes")]
    return interval_strip(told, width) if told else Markup("")


def _table(summary: Summary) -> list[dict[str, Any]]:
    kinds = [kind for kind in dict.fromkeys([*summary.before, *summary.after]) if kind not in (TOTAL, GREEDY)]
    if not kinds or not summary.before:
        return []
    rows = []
    for kind in [TOTAL, *sorted(kinds)]:
        before, after = summary.before.get(kind), summary.after.get(kind)
        pictures = [("c6", before)] if before else []
        rows.append(
            {
                "name": "all tasks" if kind == TOTAL else kind.replace("_", " "),
                "total": kind == TOTAL,
                "before": before,
                "after": after,
                "picture": strip([*pictures, *([("c1", after)] if after else [])]),
            }
        )
    return rows


def _table_note(summary: Summary) -> str:
    note = "Grey is before, blue after; " if summary.before else ""
    kinds = len({*summary.after} - {TOTAL, GREEDY})
    note += "bars are 95 % intervals."
    if kinds > 1:
        note += f" With {kinds} types, one or other moves by chance: look at the widths before you read into a row."
    return note[0].upper() + note[1:]


def _ends(before: Mapping[str, Trajectory], after: Mapping[str, Trajectory]) -> list[dict[str, Any]]:
    rows = []
    for name, episodes in (("before", before), ("after" if before else "episodes", after)):
        if not episodes:
            continue
        counts = dict.fromkeys((colour for colour, _ in ENDS), 0)
        for trajectory in episodes.values():
            counts[_end_colour(trajectory)] += 1
        total = len(episodes)
        rows.append(
            {
                "name": name,
                "picture": stacked_bar([(colour, count / total) for colour, count in counts.items()]),
                "words": ", ".join(
                    f"{counts[colour]} {words.split(',')[0]}" for colour, words in ENDS if counts[colour]
                ),
            }
        )
    return rows


def _end_colour(trajectory: Trajectory) -> str:
    state = state_of(trajectory)
    if state != "lost":
        return "c1" if state == "won" else "c4"
    return {"turn_limit": "c5", "context_limit": "c2", "token_limit": "c2"}.get(trajectory.ended, "faint")


def _curve_note(summary: Summary) -> str:
    panels = {row["panel"]: row["sampled"]["episodes"] for row in summary.curve if row.get("sampled")}
    note = "The bands and bars are 95 % intervals of the held-out tasks. The pale line is of the tasks that are learned"
    note += " from, which change from step to step."
    if summary.judged.get("by_pairs"):
        note = "The band is the 95 % interval of the pairs that are not learned from."
    if len(panels) > 1:
        sizes = " and ".join(str(n) for n in dict.fromkeys(panels.values()))
        note += f" Not every point is of the same tasks: the panels had {sizes} of them."
    return note


def _drawn(charts: Sequence[Chart]) -> list[dict[str, Any]]:
    drawn = [{"chart": chart, "picture": draw(chart, *SMALL)} for chart in charts]
    return [entry for entry in drawn if entry["picture"]]


def _example(pair: Pair, before: Mapping[str, Trajectory], after: Mapping[str, Trajectory]) -> dict[str, Any]:
    first, last = before[pair.before], after[pair.after]
    both = zip(first.turns, last.turns, strict=False)
    parts_at = next((turn.position + 1 for turn, other in both if turn.action != other.action), 0)
    task = f"{first.task.kind.replace('_', ' ')}, {first.task.id}" if first.task.kind else first.task.id
    return {
        "title": EXAMPLES[pair.what],
        "task": task,
        "parts_at": parts_at,
        "before": episode_to_json(pair.before, first),
        "after": episode_to_json(pair.after, last),
    }


def _episodes_line(record: RunRecord, shown: int, total: int) -> str:
    where = "trajectories" if record.is_evaluation else "validation"
    line = f"{shown:,} episodes that judged the policy, to be read turn by turn."
    if shown < total or len(record.judged) < len(record.files):
        line = f"{shown:,} of the episodes that judged the policy; all of them are in {record.name}/{where}."
    return line
