"""Charts of a reward that stands in for the true one: over-optimisation where it shows, and a reward model's odds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from agentrl.eval.checkup_evidence import number
from agentrl.eval.report_charts import Chart, Point, Series
from agentrl.eval.report_curves import points_of

Records = Sequence[Mapping[str, Any]]

PROXY, WORLD, DISTANCE = "reward/proxy", "reward/world", "kl/from_reference"
MEANS = 40
"""Points of a line over the distance: each the mean of its share of the steps."""
BIN = "reward_model/pairs_"
"""Of the calibration: names of the bins' numbers of pairs."""


def proxy_charts(train: Records) -> list[Chart]:
    """Of a run whose reward is a reward model or a judge, both scores by step and by distance from the reference.

    None of any other run.
    """
    names = (
        (PROXY, "Proxy reward", "c2", "What is learned from: the reward model's or the judge's score."),
        (WORLD, "True reward", "c1", "The world's own score of the same episodes, which nothing learns from."),
    )
    charts = [
        Chart(title=title, series=[Series(name=title.lower(), points=points_of(train, name), colour=colour)], note=note)
        for name, title, colour, note in names
    ]
    by_distance = [
        Series(name=title.lower(), points=_spread_out(_over_distance(train, name)), colour=colour)
        for name, title, colour, _ in names
    ]
    if all(len(one.points) > 2 for one in by_distance):
        charts.append(
            Chart(
                title="Over-optimisation",
                series=by_distance,
                percent=True,
                whole=True,
                x_name="KL",
                note="Both from their least to their most, over the distance from the reference in nats a token. Where "
                "the proxy goes on rising and the true reward turns, the proxy is being exploited.",
            )
        )
    return [chart for chart in charts if any(len(one.points) > 1 for one in chart.series)]


def _over_distance(train: Records, name: str) -> list[Point]:
    """(distance, value), rising in distance, thinned by means."""
    found = [(number(record.get(DISTANCE)), number(record.get(name))) for record in train]
    points = sorted((x, y) for x, y in found if math.isfinite(x) and math.isfinite(y))
    num = min(MEANS, len(points))
    shares = [points[k * len(points) // num : (k + 1) * len(points) // num] for k in range(num)]
    return [(sum(x for x, _ in own) / len(own), sum(y for _, y in own) / len(own)) for own in shares]


def _spread_out(points: Sequence[Point]) -> list[Point]:
    """The same from 0 for the least value to 1 for the most; no points where all values are the same."""
    values = [y for _, y in points]
    low, high = min(values, default=0.0), max(values, default=0.0)
    return [(x, (y - low) / (high - low)) for x, y in points] if high > low else []


def calibration_charts(train: Records) -> list[Chart]:
    """Of a run that trains a reward model: how often what it finds so likely is right; none of any other run."""
    bins = sorted({name.removeprefix(BIN) for record in train for name in record if name.startswith(BIN)})
    points = []
    for own in bins:
        pairs, right, expected = (
            sum(v for r in train if math.isfinite(v := number(r.get(f"reward_model/{what}_{own}"))))
            for what in ("pairs", "right", "expected")
        )
        if pairs > 0:
            points.append((expected / pairs, right / pairs))
    if not points:
        return []
    return [
        Chart(
            title="Calibration",
            series=[
                Series(name="as likely as it says", points=[(0.5, 0.5), (1.0, 1.0)], colour="faint"),
                Series(name="share that was right", points=sorted(points), colour="c1", marks="circle"),
            ],
            percent=True,
            whole=True,
            x_name="p",
            note="Pairs of the whole run by the probability that the scores gave their order, before each was learned. "
            "Below the line the reward model is too sure.",
        )
    ]
