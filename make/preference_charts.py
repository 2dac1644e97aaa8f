"""The pictures of the study of preferences: SVG files that need nothing else, of the report's own charts."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from agentrl.eval.report_charts import Chart, Point, Series, draw, interval_strip
from agentrl.eval.statistics import bootstrap_interval
from agentrl.run_directory import write_whole
from make.letters import LENGTH
from make.preference_tables import by_label, mean, together

Result = Mapping[str, Any]

COLOURS = {"c1": "#0067a5", "c2": "#c8500a", "c3": "#00805f", "c6": "#5b6678"}
INK, LINES = "#1c2733", "#d5dce5"
WIDTH, HEIGHT, HEAD, FOOT = 380, 240, 52, 24
"""Of a panel, in pixels, and of what stands above and below the panels."""
TITLES = {
    "proxy": "Learning from labels of a wrong reward",
    "hacking": "Reinforcement on a wrong reward",
    "frontier": "Reinforcement on the true reward, at four prices of divergence",
}
NAMES = {
    "dpo": "DPO", "rpo": "RPO", "kl": "GRPO with KL", "chi-squared": "chi-squared", "none": "neither",
    "p3o": "P3O", "ppo": "PPO",
}  # fmt: skip
KL = "KL to the base, nats"


@dataclass(frozen=True)
class Panel:
    """One of the charts of a picture, and what its axes show."""

    series: Sequence[Series]
    y_name: str
    x_name: str


def style() -> str:
    """The classes that the report's charts are drawn in, in light colours."""
    rules = [
        f"text{{fill:{INK};font:11px Helvetica,Arial,sans-serif}}",
        f".plot{{fill:none}}.grid{{stroke:{LINES}}}.cursor{{display:none}}.line{{fill:none;stroke-width:2}}",
        ".bar{stroke-width:2}.mark{stroke:white}",
    ]
    rules += [f".line.{c},.bar.{c}{{stroke:{v}}}.mark.{c},rect.{c}{{fill:{v}}}" for c, v in COLOURS.items()]
    return "".join(rules)


def curves(results: Sequence[Result], y: str, by: str = "kl") -> list[Series]:
    """A line a method through its strengths' means over seeds; a bar from the lowest seed to the highest.

    by: `kl`: the median seed's, since a seed that no longer ends its replies would be far away; or `strength`: how
    many times ten it is the weakest.
    """
    found = []
    labels = list(dict.fromkeys(result["label"] for result in results))
    for label, colour in zip(labels, _colours(labels), strict=True):
        own = {s: runs for (name, s), runs in by_label(results).items() if name == label}
        if by == "strength" and len(own) == 1:
            continue
        places: list[Point] = []
        band: list[tuple[float, float, float]] = []
        for strength, runs in sorted(own.items()):
            seeds = [mean(run[y]) for run in runs]
            x = (
                math.log10(strength / min(own))
                if by == "strength"
                else statistics.median(mean(run["kl"]) for run in runs)
            )
            places.append((x, statistics.fmean(seeds)))
            band.append((x, min(seeds), max(seeds)))
        line, name = sorted(places), NAMES.get(label, label)
        found.append(Series(name="", points=line, colour=colour))
        found.append(Series(name=name, points=line, colour=colour, band=sorted(band), marks="circle", bars=True))
    return found


def optimum(right: float) -> list[Point]:
    """(KL, true reward) of the best policy at prices from 10 to 0.005 of a nat, over a base of independent letters.

    right: how often each letter of the base is right. A right letter pays 1 / LENGTH: its odds rise by exp of that
    over the price.
    """
    points = []
    for step in range(67):
        odds = math.exp(min(1 / LENGTH / (10 * 10 ** (-step / 20)), 50.0))
        q = right * odds / (right * odds + 1 - right)
        divergence = q * math.log(q / right) + ((1 - q) * math.log((1 - q) / (1 - right)) if q < 1 else 0.0)
        points.append((LENGTH * divergence, q))
    return points


def _colours(labels: Sequence[str]) -> list[str]:
    rest = iter(colour for colour in COLOURS if colour != "c6")
    return ["c6" if label == "none" else next(rest) for label in labels]


def picture(title: str, panels: Sequence[Panel]) -> str:
    """The panels side by side, under one title and legend, as an SVG document."""
    each = WIDTH if len(panels) > 1 else 3 * WIDTH // 2
    whole = each * len(panels)
    height = HEAD + HEIGHT + FOOT
    body = [_text(14, 20, title, 'style="font-size:14px;font-weight:bold"')]
    legend = {one.name: one.colour for panel in panels for one in panel.series if one.name}
    x = 14
    for name, colour in legend.items():
        body.append(f'<rect class="{colour}" x="{x}" y="32" width="12" height="4"/>')
        body.append(_text(x + 18, 38, name))
        x += 40 + 6 * len(name)
    for number, panel in enumerate(panels):
        chart = str(draw(Chart(title=panel.y_name, series=panel.series, x_name=""), each, HEIGHT))
        left = each * number
        size = f'<svg x="{left}" y="{HEAD}" width="{each}" height="{HEIGHT}" '
        body.append(chart.replace("<svg ", size, 1))
        body.append(_text(left + 46, HEAD + 4, panel.y_name))
        body.append(_text(left + 46 + (each - 60) / 2, HEAD + HEIGHT + 14, panel.x_name, 'text-anchor="middle"'))
    return _document(whole, height, body)


def ladder(title: str, before: Result, results: Sequence[Result]) -> str:
    """Every objective's true reward with its 95 % interval over prompts, the highest first, and the base's below."""
    rows = [
        (label, "c1", mean(true), *bootstrap_interval(true))
        for (label, _), runs in by_label(results).items()
        for true in [together(runs, "true")]
    ]
    rows.sort(key=lambda row: -row[2])
    rows.append(("base", "c6", mean(before["true"]), *bootstrap_interval(before["true"])))
    left, width, tall = 140, 480, 10 + 14 * len(rows)
    strip = str(interval_strip([row[1:] for row in rows], width))
    body = [_text(14, 20, title, 'style="font-size:14px;font-weight:bold"')]
    body.append(strip.replace("<svg ", f'<svg x="{left}" y="34" width="{width}" height="{tall}" ', 1))
    body += [_text(left - 8, 34 + 16 + 14 * n, row[0], 'text-anchor="end"') for n, row in enumerate(rows)]
    body += [
        _text(left + 5 + (width - 10) * share, 34 + tall + 14, f"{share:g}", 'text-anchor="middle"')
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    return _document(left + width + 14, 34 + tall + FOOT, body)


def _document(width: int, height: int, body: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<style>{style()}</style><rect width="{width}" height="{height}" fill="white"/>{"".join(body)}</svg>\n'
    )


def _text(x: float, y: float, text: str, further: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" {further}>{escape(text)}</text>'


def panels_of(part: str, before: Result, results: Sequence[Result]) -> list[Panel]:
    """Both rewards over the divergence, where both matter; of two regularisers also over their strength."""
    names = ("true",) if part == "frontier" else ("true", "proxy")
    panels = []
    for name in names:
        start = Series(name="base", points=[(0.0, mean(before[name]))], colour="c6", marks="diamond")
        panels.append(Panel([start, *curves(results, name)], f"{name} reward", KL))
    if part == "frontier":
        best = Series(name="best policy, were letters independent", points=optimum(mean(before["true"])), colour="c6")
        panels = [Panel([best, *panel.series], panel.y_name, panel.x_name) for panel in panels]
    if part == "hacking":
        panels.append(Panel(curves(results, "true", "strength"), "true reward", "strength over the weakest, log 10"))
    return panels


def write_charts(folder: Path, before: Result, results: Mapping[str, Sequence[Result]]) -> None:
    """A file for each part that has results: `preferences-PART.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    if results.get("objectives"):
        drawn = ladder("True reward after learning from the same pairs", before, results["objectives"])
        write_whole(folder / "preferences-objectives.svg", drawn.encode())
    for part, title in TITLES.items():
        if results.get(part):
            drawn = picture(title, panels_of(part, before, results[part]))
            write_whole(folder / f"preferences-{part}.svg", drawn.encode())
