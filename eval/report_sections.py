"""What a page shows of the numbers of one judgement: rows of its tables and its charts, in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from agentrl.eval.checkup_evidence import percent
from agentrl.eval.report_charts import Chart, Series, interval_strip, written
from agentrl.eval.report_measures import MAX_FAILED_SHARE, Measured, Row, told_repeats
from agentrl.eval.report_summary import Summary, bounds, money, written_interval, written_success
from agentrl.statistics import TOTAL

END_WORDS = {
    "done": "the task's own end",
    "gave_up": "the agent gave up",
    "turn_limit": "turn limit",
    "context_limit": "context full",
    "token_limit": "token limit",
    "time_limit": "time limit",
    "world_failure": "the world failed",
    "policy_failure": "the policy's server failed",
}
MARKS = (
    ("unreadable", "marked", "no action could be read in the reply"),
    ("refused", "marked", "the world did not accept the action"),
    ("repeated", "repeats", "the action of the turn before, once more"),
    ("looping", "loops", "an action on an observation that had it before"),
)
"""turns -> the filter of the list of episodes that finds them, and what they are."""
TOKENS = (
    ("input", "read (input)"),
    ("cached", "of them cached"),
    ("output", "written (output)"),
    ("reasoning", "of them reasoning"),
)


def breakdown(rows: Mapping[str, Row], filtered_by: str, withheld: bool = False) -> list[dict[str, Any]]:
    """A row a group of episodes.   filtered_by: the filter of the list that shows a group's episodes."""
    if not any(name != TOTAL for name in rows):
        return []
    with_scores = scores_differ(rows)
    return [
        {
            "name": "all tasks" if name == TOTAL else name.replace("_", " "),
            "total": name == TOTAL,
            "filter": None if name == TOTAL else {filtered_by: name},
            "measure": row,
            "withheld": bounds(row) if withheld and name == TOTAL else "",
            "score": score(row) if with_scores else None,
            "turns": mean(row.get("turns")),
            "tokens": mean(row.get("tokens")),
            "invalid": percent(row["invalid_rate"]) if row.get("invalid_rate") is not None else "-",
            "picture": shares_strip([("c1", row)]) if not (withheld and name == TOTAL) else "",
        }
        for name, row in rows.items()
    ]


def scores_differ(rows: Mapping[str, Row]) -> bool:
    """Does the score say more than success does?"""
    return any(abs((row.get("score") or 0) - (row.get("success") or 0)) > 1e-9 for row in rows.values())


def score(row: Row) -> str:
    """`0.61, 0.52 to 0.7`."""
    if row.get("score") is None:
        return "-"
    interval = row.get("score_interval")
    return written(row["score"]) + (f", {written(interval[0])} to {written(interval[1])}" if interval else "")


def mean(value: Any) -> str:
    """A mean count as a table shows it: `7.4`, `1,240`."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def shares_strip(rows: Sequence[tuple[str, Row]], width: int = 220) -> Any:
    """Success with its interval on one axis; empty of no episode."""
    told = [(colour, m["success"], *m["success_interval"]) for colour, m in rows if m and m.get("episodes")]
    return interval_strip(told, width) if told else ""


def repeats_strips(measured: Measured) -> list[dict[str, Any]]:
    """pass@k and pass^k of the largest k that is told in a sentence, as rows of the strips under the headline."""
    last = told_repeats(measured)
    if last is None:
        return []
    found = []
    for what, name, colour in (("pass_at_k", "at least one of", "c3"), ("pass_hat_k", "all of", "c4")):
        low, high = last[f"{what}_interval"]
        sign = "@" if what == "pass_at_k" else "^"
        row = {"episodes": 1, "success": last[what], "success_interval": (low, high)}
        found.append(
            {
                "name": f"{name} {last['k']} (pass{sign}{last['k']})",
                "picture": interval_strip([(colour, last[what], low, high)], 440),
                "success": written_success(row),
                "interval": written_interval(row),
            }
        )
    return found


def length_charts(measured: Measured) -> list[Chart]:
    """Success against turns and against tokens, and pass@k against k."""
    notes = {
        "turns": "Episodes that were won within so many turns, of all; the pale line is those that had ended by then, "
        "won or not. A limit that low would give about this success.",
        "tokens": "The same over the tokens that the agent wrote in an episode.",
    }
    charts = []
    for name, note in notes.items():
        curve = measured.within.get(name, ())
        if not curve or not any(y for _, y, _, _ in curve):
            continue
        won = Series(name="won within", points=_from_zero(curve), band=[(x, low, high) for x, _, low, high in curve])
        ended = Series(name="ended within", points=_from_zero(measured.ended_within[name]), colour="faint")
        charts.append(
            Chart(
                title=f"Success against {name}", series=[ended, won], percent=True, whole=True, note=note, x_name=name
            )
        )
    if len(measured.repeats) > 1:
        charts.append(
            Chart(
                title="Success in k episodes of a task",
                series=[_draws(measured, *one) for one in (("pass_at_k", "c3"), ("pass_hat_k", "c4"))],
                percent=True,
                whole=True,
                x_name="k",
                note="At least one of k is won (pass@k), or all are (pass^k); bands are 95 % intervals over tasks.",
            )
        )
    return charts


def _from_zero(curve: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    return [(0.0, 0.0), *((point[0], point[1]) for point in curve)]


def _draws(measured: Measured, what: str, colour: str) -> Series:
    rows = measured.repeats
    return Series(
        name=what.replace("_at_k", "@k").replace("_hat_k", "^k"),
        points=[(row["k"], row[what]) for row in rows],
        band=[(row["k"], *row[f"{what}_interval"]) for row in rows],
        colour=colour,
        marks="circle",
    )


def ends_rows(measured: Measured) -> list[dict[str, Any]]:
    """Why episodes ended: a row a way, the commonest first, infrastructure last."""
    rows = sorted(measured.ends, key=lambda row: (row["infrastructure"], -row["episodes"]))
    return [
        {
            "name": END_WORDS.get(row["ended"], row["ended"]),
            "filter": {"end": row["ended"]},
            "episodes": row["episodes"],
            "share": percent(row["share"]),
            "won": "in no mean" if row["infrastructure"] else f"{row['won']:,}",
            "failed": row["infrastructure"],
        }
        for row in rows
    ]


def failures_words(measured: Measured) -> list[str]:
    """What infrastructure failures there were, and what they leave open."""
    failures = measured.failures
    if not failures.get("episodes"):
        return []
    stated = (
        f"more than the {percent(MAX_FAILED_SHARE)} above which no headline is given" if failures["withheld"] else ""
    )
    number = f"{failures['episodes']:,} episode{'s' if failures['episodes'] > 1 else ''}"
    said = [
        f"{number} ({percent(failures['share'])}{', ' + stated if stated else ''}) failed by infrastructure. "
        f"Of all that was played, success would be {percent(failures['all_failed'])} had they all failed, "
        f"{percent(failures['all_succeeded'])} had they all succeeded."
    ]
    reasons = "; ".join(f"{count:,} times {reason}" for reason, count in failures["reasons"])
    return [*said, f"Reasons: {reasons}."]


def marks_rows(measured: Measured) -> list[dict[str, Any]]:
    """Turns that brought nothing: how many of the acting turns, in how many episodes."""
    turns = measured.turns
    if not turns.get("acting"):
        return []
    return [
        {
            "name": f"{name} turns",
            "what": what,
            "filter": {"marks": filtered_by} if turns[f"episodes_with_{name}"] else None,
            "turns": turns[name],
            "share": percent(turns[name] / turns["acting"]),
            "episodes": turns[f"episodes_with_{name}"],
        }
        for name, filtered_by, what in MARKS
    ]


def usage_rows(measured: Measured) -> list[dict[str, str]]:
    """Tokens and cost: in all, an episode, a success."""
    usage = measured.usage
    if not usage.get("episodes") or not any(usage["tokens"].values()):
        return []
    episode, success = usage["tokens_an_episode"], usage["tokens_a_success"]
    rows = [
        {
            "name": name,
            "total": f"{usage['tokens'][kind]:,}",
            "episode": mean(episode[kind]),
            "success": mean(success[kind]) if success else "-",
        }
        for kind, name in TOKENS
        if usage["tokens"][kind] or kind == "output"
    ]
    if usage["from_api"]:
        known = usage["cost"] is not None
        cost = {place: _amount(usage[name], known) for place, name in _COSTS.items()}
        rows.append({"name": f"cost, {usage['currency']}" if known and usage["currency"] else "cost", **cost})
    return rows


_COSTS = {"total": "cost", "episode": "cost_an_episode", "success": "cost_a_success"}


def _amount(value: float | None, known: bool) -> str:
    if value is None:
        return "-" if known else "unknown"
    return money(value, {})


def usage_words(measured: Measured) -> list[str]:
    """What stands beside the numbers of usage."""
    usage, said = measured.usage, []
    if not usage.get("episodes"):
        return []
    if not usage["from_api"]:
        said.append("The model ran here: nothing was paid by the token.")
    elif usage["cost"] is None:
        said.append("The cost is unknown: the price of this model is not in the file of prices. It is not 0.")
    elif usage.get("prices_of"):
        said.append(f"By prices of {usage['prices_of']}.")
    if usage.get("replayed"):
        said.append("Replies were taken from a record: nothing was asked, and nothing paid.")
    elif usage.get("spent") is not None and usage["cost"] is not None:
        said.append(f"Paid in all, with calls that gave no reply: {money(usage['spent'], usage)}.")
    failed = usage.get("failed_calls")
    if isinstance(failed, Mapping) and sum(failed.values()):
        told = ", ".join(f"{count:,} times {name}" for name, count in failed.items() if count)
        said.append(f"Calls without a reply: {told}.")
    if usage["waited_seconds"] >= 1:
        said.append(f"Waited {usage['waited_seconds']:,.0f} s for rate limits and further tries, summed over replies.")
    if measured.failures.get("episodes"):
        said.append("Episodes that infrastructure failed are counted: their tokens are used as well.")
    return said


def measured_values(summary: Summary) -> dict[str, Any]:
    """All of these, by the names that the page's template has for them."""
    measured = summary.measured
    return {
        "kinds": breakdown(measured.by_kind, "kind", summary.withheld),
        "levels": breakdown(measured.by_difficulty, "level"),
        "has_scores": scores_differ({**measured.by_kind, **measured.by_difficulty}),
        "ends_rows": ends_rows(measured),
        "failures": failures_words(measured),
        "marks_rows": marks_rows(measured),
        "usage_rows": usage_rows(measured),
        "usage_words": usage_words(measured),
    }
