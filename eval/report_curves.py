"""Which curves a report draws of a run, or of several on the same axes, and what each says."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentrl.eval.checkup_evidence import number
from agentrl.eval.report_charts import Chart, Series

MAX_POINTS = 400
"""Points of one line; a longer run is thinned, its first and last point kept."""

METRICS: tuple[tuple[str, tuple[tuple[str, str], ...], bool, str], ...] = (
    ("Entropy", (("entropy", "nats a token"),), False, "Towards 0 the policy stops exploring."),
    (
        "Groups with signal",
        (("advantage/groups_with_signal", "groups that differ"),),
        True,
        "Groups whose members all do the same teach nothing.",
    ),
    (
        "Pairs in order",
        (("preference/accuracy", "pairs"),),
        True,
        "Share of the learned pairs that the policy orders so.",
    ),
    (
        "Implicit rewards",
        (("preference/reward_chosen", "preferred"), ("preference/reward_rejected", "the other")),
        False,
        "Their gap is the margin; both falling is likelihood going where no pair is.",
    ),
    (
        "Log-probs of a pair",
        (("preference/logp_chosen", "preferred"), ("preference/logp_rejected", "the other")),
        False,
        "Summed over a reply, in nats.",
    ),
    ("Turns an episode", (("turns", "turns"),), False, "Falling with success: shorter ways are found."),
    ("Tokens an episode", (("tokens", "sampled tokens"),), False, "Growing without success: see the check-up."),
    (
        "Invalid turns",
        (("invalid_rate", "refused or unreadable"), ("unreadable_rate", "unreadable")),
        True,
        "The world refused the action, or the reply held none.",
    ),
    ("Score", (("score", "score"),), False, "The world's own score, or the reward function's."),
    (
        "Distance from the sampling policy",
        (("ppo/kl_from_old", "KL"), ("kl/from_reference", "KL from the reference")),
        False,
        "How far an update moves the policy, in nats a token.",
    ),
    ("Gradient norm", (("grad_norm", "before clipping"),), False, "Spikes are batches that push much harder."),
    (
        "Sampler and trainer",
        (("sampler_difference/mean", "mean difference"),),
        False,
        "Log-probs of the two for the same weights, in nats.",
    ),
    (
        "Seconds a step",
        (("seconds/rollout", "playing"), ("seconds/update", "learning")),
        False,
        "Where the time goes.",
    ),
)
"""title, (metric, name of its line), whether they are shares, what it says; of the steps' records."""

OF_THE_HEAD = ("success", "reward", "kind", "schema", "step", "time", "episodes", "reward/proxy", "reward/world")
"""Metrics that stand elsewhere, or are none."""
IN_PIECES = ("entropy/turn_", *(f"reward_model/{what}_" for what in ("pairs", "right", "expected")))
"""Beginnings of metrics that are points of one chart."""


def thinned(points: Sequence[tuple[float, float]], most: int = MAX_POINTS) -> list[tuple[float, float]]:
    """At most so many of the points, evenly, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    last = len(points) - 1
    return [points[round(k * last / (most - 1))] for k in range(most)]


def points_of(records: Iterable[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """(step, value) of a metric, finite values alone, thinned."""
    found = [(float(r["step"]), number(r.get(name))) for r in records]
    return thinned([(x, y) for x, y in found if math.isfinite(y)])


def judged_points(
    curve: Iterable[Mapping[str, Any]], who: str
) -> tuple[list[tuple[float, float]], list[tuple[float, float, float]]]:
    """(step, success) and (step, low, high) of the judgements.   who: `sampled` or `greedy`."""
    told = [(float(row["step"]), row[who]) for row in curve if row.get(who) and row[who].get("episodes")]
    return [(x, m["success"]) for x, m in told], [(x, *m["success_interval"]) for x, m in told]


def success_chart(
    curve: Sequence[Mapping[str, Any]], train: Sequence[Mapping[str, Any]], by_pairs: bool = False
) -> Chart:
    """Success on the panel, sampled with its band and greedy with bars, over that of the steps' own episodes.

    by_pairs: the judgements are of held-out preferences.
    """
    sampled, band = judged_points(curve, "sampled")
    greedy, bars = judged_points(curve, "greedy")
    return Chart(
        title="Pairs in order" if by_pairs else "Success",
        percent=True,
        whole=True,
        series=[
            Series(name="a step's own episodes", points=points_of(train, "success"), colour="faint"),
            Series(
                name="held-out pairs" if by_pairs else "held-out tasks, sampled",
                points=sampled,
                band=band,
                colour="c1",
                marks="circle",
            ),
            Series(name="held-out tasks, greedy", points=greedy, band=bars, colour="c2", marks="diamond", bars=True),
        ],
    )


def metric_charts(train: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """The small charts that matter most, of what the run has logged; a line that is 0 throughout is left out."""
    charts = []
    for title, metrics, percent, note in METRICS:
        series = [
            Series(name=name, points=points_of(train, metric), colour=f"c{place}")
            for place, (metric, name) in enumerate(metrics, 1)
        ]
        if title == "Score" and points_of(train, "score") == points_of(train, "success"):
            continue
        if not any(len(one.points) > 1 for one in series):
            continue
        series = [one for one in series if any(y for _, y in one.points)]
        if series:
            charts.append(Chart(title=title, series=series, percent=percent, note=note))
    return charts


def other_charts(train: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """A small chart of every other metric that changes, in alphabetical order; entropies by turn have their own."""
    shown = {metric for _, metrics, _, _ in METRICS for metric, _ in metrics} | set(OF_THE_HEAD)
    names = {name for record in train for name in record} - shown
    charts = []
    for name in sorted(n for n in names if not n.startswith(IN_PIECES)):
        points = points_of(train, name)
        if len(points) > 1 and len({y for _, y in points}) > 1:
            charts.append(Chart(title=name, series=[Series(name=name, points=points)]))
    return charts


def entropy_by_turn(train: Sequence[Mapping[str, Any]]) -> Chart:
    """Entropy by the turn's place in the episode, in the first steps and in the last (a fifth of the run each)."""
    logged = [r for r in train if any(name.startswith("entropy/turn_") for name in r)]
    size = max(1, len(logged) // 5)
    parts = [("first steps", logged[:size], "c5"), ("last steps", logged[-size:], "c1")]
    series = []
    for name, records, colour in parts if len(logged) > 1 else []:
        points = []
        for key in sorted({k for r in records for k in r if k.startswith("entropy/turn_")}):
            values = [v for v in (number(r.get(key)) for r in records) if math.isfinite(v)]
            place = key.rpartition("_")[2]
            if values and place.isdigit():
                points.append((float(place) + 1, sum(values) / len(values)))
        series.append(Series(name=name, points=points, colour=colour))
    return Chart(
        title="Entropy by turn",
        series=series,
        x_name="turn",
        note="Where in an episode the policy is still undecided. A line that sinks at its left end is a policy that "
        "always opens the same way.",
    )
