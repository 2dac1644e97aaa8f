"""A report as tables for a spreadsheet: a row a type of task, and a row an episode. No cell is taken for a formula."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentrl.eval.checkup_evidence import looping_turns, repeated_turns
from agentrl.eval.report_data import Episodes
from agentrl.eval.report_episodes import state_of, visible
from agentrl.eval.report_measures import output_tokens
from agentrl.eval.report_summary import Summary
from agentrl.statistics import TOTAL
from agentrl.types import Trajectory
from agentrl.usage import usage_of

MEASURES = (
    *("episodes", "successes", "success", "success_low", "success_high", "score", "score_low", "score_high"),
    *("turns", "tokens", "invalid_rate", "failures"),
)
"""Columns of a row of measures, after those that say what it is of."""
EPISODE = (
    *("episode", "step", "task", "split", "kind", "difficulty", "group", "rollout", "outcome", "success", "score"),
    *(
        "reward",
        "ended",
        "failure",
        "tries",
        "turns",
        "synthesis_turns",
        "unreadable",
        "refused",
        "repeated",
        "looping",
    ),
    *(
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "reasoning_tokens",
        "cost",
        "waited_seconds",
        "policy",
        "source",
    ),
)
MAX_CELL = 1_000
"""Characters of one text of a table."""
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet may take for the beginning of a formula or a command, full-width signs included."""


def cell(value: Any) -> str:
    """A value as one cell: a number as itself, nothing as nothing, a text on one line that is no formula.

    A text that begins with a sign of a formula, blanks apart, gets an apostrophe before it.
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (int, float)):
        return repr(value)
    text = " ".join(visible(value, MAX_CELL).split())
    return f"'{text}" if text.startswith(_FORMULA) else text


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV (RFC 4180)."""
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n")
    writer.writerow(head)
    writer.writerows([cell(value) for value in row] for row in rows)
    return written.getvalue()


def measures_csv(summary: Summary) -> str:
    """report.csv: a row a type of task, `all` first, and one a difficulty; of a training run before and after."""
    sides: list[tuple[str, str, Mapping[str, Any]]] = []
    for when, measures in (("before", summary.before), ("after", summary.after)):
        sides += [(when, "kind", measures)] if measures else []
    if not summary.before:
        sides = [("", "kind", summary.after)]
    sides.append(("after" if summary.before else "", "difficulty", summary.measured.by_difficulty))
    rows = [
        [when, "all" if name == TOTAL else by, "" if name == TOTAL else name, *measure_row(measure)]
        for when, by, measures in sides
        for name, measure in measures.items()
    ]
    return table(("when", "by", "name", *MEASURES), rows)


def measure_row(measure: Mapping[str, Any]) -> list[Any]:
    """The columns of `MEASURES`; nothing for what is not known."""
    ends: dict[str, Any] = {}
    for name in ("success", "score"):
        low, high = measure.get(f"{name}_interval") or (None, None)
        ends |= {f"{name}_low": low, f"{name}_high": high}
    if not measure.get("episodes"):
        ends = {}
    return [ends.get(name, measure.get(name)) for name in MEASURES]


def episodes_csv(judged: Mapping[int, Episodes]) -> str:
    """episodes.csv: a row an episode that judged the policy, in the order of the judgements and of their panels."""
    return table(EPISODE, episode_rows(judged))


def episode_rows(judged: Mapping[int, Episodes]) -> list[list[Any]]:
    """The columns of `EPISODE`, a row an episode."""
    return [_episode(step, key, t) for step in sorted(judged) for key, t in judged[step].items()]


def _episode(step: int, key: str, t: Trajectory) -> list[Any]:
    acting = [turn for turn in t.turns if turn.kind == "act"]
    used = usage_of([t])
    state = state_of(t)
    return [
        *(key, step, t.task.id, t.task.split, t.task.kind, t.task.difficulty, t.group, t.rollout),
        *(state, None if state == "failed" else t.outcome.success, None if state == "failed" else t.outcome.score),
        *(t.reward, t.ended, t.failure, t.tries, len(acting), len(t.turns) - len(acting)),
        sum(not turn.readable for turn in acting),
        sum(turn.readable and not turn.valid for turn in acting),
        *(len(repeated_turns(t)), len(looping_turns(t))),
        *(used["tokens"]["input"], used["tokens"]["cached"], output_tokens(t), used["tokens"]["reasoning"]),
        *(used["cost"] if t.source == "api" and t.turns else None, used["waited_seconds"], t.policy, t.source),
    ]
