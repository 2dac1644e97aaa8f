"""Pictures of a report as inline SVG, drawn here: curves with their bands, intervals as strips, shares as bars.

Colours are classes of the page's style sheet, so that light and dark mode need no second picture; what is read on
hovering stands beside the lines as JSON in an attribute, and as the picture's own description for who cannot see it.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a chart."""

    name: str
    points: Sequence[Point]
    """(x, y), x rising."""
    colour: str = "c1"
    """A class of the style sheet: c1 to c6, or faint."""
    band: Sequence[tuple[float, float, float]] = ()
    """(x, low, high), x rising."""
    marks: str = ""
    """Shape of a point: circle, diamond, or none."""
    bars: bool = False
    """Draw the band as a bar at each point: for points that no line joins."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture with its words."""

    title: str
    series: Sequence[Series]
    percent: bool = False
    """Values are shares, shown in per cent."""
    whole: bool = False
    """The axis goes from 0 to 1, whatever the values are."""
    note: str = ""
    """What it says, in a sentence."""
    x_name: str = "step"


LEFT, RIGHT, TOP, BOTTOM = 46.0, 14.0, 10.0, 22.0


def draw(chart: Chart, width: int, height: int) -> Markup:
    """The chart as an SVG element; empty where it has no point."""
    series = [s for s in chart.series if s.points]
    if not series:
        return Markup("")
    x_low, x_high = _x_range(series)
    low, high, ticks = _y_range(chart, series)

    def place(x: float, y: float) -> Point:
        right = LEFT + (width - LEFT - RIGHT) * ((x - x_low) / (x_high - x_low))
        down = TOP + (height - TOP - BOTTOM) * (1 - (y - low) / (high - low))
        return round(right, 1), round(down, 1)

    parts = [f'<rect class="plot" x="{LEFT:g}" y="{TOP:g}" width="{width - LEFT - RIGHT:g}"']
    parts[0] += f' height="{height - TOP - BOTTOM:g}"/>'
    for tick in ticks:
        (left, y), (right, _) = place(x_low, tick), place(x_high, tick)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(_text(left - 7, y + 3.5, written(tick, chart.percent), "end"))
    for tick in _steps(x_low, x_high, max(2, width // 110)):
        x, y = place(tick, low)
        parts.append(_text(x, y + 16, f"{tick:,.0f}" if tick >= 1000 else f"{tick:g}", "middle"))
    parts.append(_text(LEFT - 7, height - BOTTOM + 16, chart.x_name, "end"))
    for one in series:
        parts += _band(one, place)
    for one in series:
        parts += _line(one, place)
    parts.append(f'<line class="cursor" x1="0" x2="0" y1="{TOP:g}" y2="{height - BOTTOM:g}"/>')
    data = escape(json.dumps(_hover(chart, series, place)), quote=True)
    told = escape(f"{chart.title}: {'; '.join(_told(one, chart) for one in series)}", quote=True)
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{told}" data-chart="{data}">'
        f"{''.join(parts)}</svg>"
    )


def written(value: float, percent: bool = False) -> str:
    """A value as an axis or a table shows it."""
    if not math.isfinite(value):
        return "-"
    if percent:
        return f"{100 * value:.{0 if abs(100 * value - round(100 * value)) < 0.05 else 1}f} %"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 10_000 or size < 0.001:
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")
    digits = max(0, 2 - math.floor(math.log10(size)))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _x_range(series: Sequence[Series]) -> Point:
    xs = [x for one in series for x, _ in one.points]
    low, high = min(xs), max(xs)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _y_range(chart: Chart, series: Sequence[Series]) -> tuple[float, float, list[float]]:
    """The range that is drawn, and its ticks: all of 0 to 1 where that is asked for, else from 0 where that is near."""
    if chart.whole:
        return 0.0, 1.0, [0.0, 0.25, 0.5, 0.75, 1.0]
    values = [y for one in series for _, y in one.points]
    low, high = min(values), max(values)
    if low > 0 and low < 0.6 * high:
        low = 0.0
    if high == low:
        room = abs(high) / 2 or 1.0
        low, high = (0.0, high + room) if high >= 0 else (low - room, 0.0)
    ticks = _steps(low, high, 4)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else high - low
    if ticks and ticks[0] > low:
        ticks.insert(0, ticks[0] - step)
    if ticks and ticks[-1] < high:
        ticks.append(ticks[-1] + step)
    return ticks[0], ticks[-1], ticks


def _steps(low: float, high: float, most: int) -> list[float]:
    """Round numbers from low to high, about `most` of them."""
    raw = (high - low) / max(1, most)
    size = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next((m * size for m in (1, 2, 5, 10) if m * size >= raw), raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)][:50]


def _band(one: Series, place: Callable[[float, float], Point]) -> list[str]:
    if not one.band:
        return []
    if one.bars or len(one.band) == 1:
        ends = [(place(x, low), place(x, high)) for x, low, high in one.band]
        return [
            f'<line class="bar {one.colour}" x1="{x}" x2="{x}" y1="{bottom}" y2="{top}"/>'
            for (x, bottom), (_, top) in ends
        ]
    edge = [place(x, high) for x, _, high in one.band] + [place(x, low) for x, low, _ in reversed(one.band)]
    return [f'<polygon class="band {one.colour}" points="{_points(edge)}"/>']


def _line(one: Series, place: Callable[[float, float], Point]) -> list[str]:
    placed = [place(x, y) for x, y in one.points]
    parts = []
    if len(placed) > 1 and not one.bars:
        parts.append(f'<polyline class="line {one.colour}" points="{_points(placed)}"/>')
    if one.marks or len(placed) == 1:
        for x, y in placed:
            if one.marks == "diamond":
                parts.append(f'<path class="mark {one.colour}" d="M{x} {round(y - 5, 1)}l5 5l-5 5l-5 -5z"/>')
            else:
                parts.append(f'<circle class="mark {one.colour}" cx="{x}" cy="{y}" r="3.5"/>')
    return parts


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _hover(chart: Chart, series: Sequence[Series], place: Callable[[float, float], Point]) -> Mapping[str, object]:
    """What the page shows beside the cursor: for each x its place, and a line of text a series."""
    rows: dict[float, list[list[str]]] = {}
    for one in series:
        intervals = {x: (low, high) for x, low, high in one.band}
        for x, y in one.points:
            text = f"{100 * y:.1f} %" if chart.percent else written(y)
            if x in intervals:
                low, high = (written(end, chart.percent) for end in intervals[x])
                text += f" ({low} to {high})"
            rows.setdefault(x, []).append([one.name, one.colour, text])
    return {"x": chart.x_name, "at": [[x, place(x, 0)[0], rows[x]] for x in sorted(rows)]}


def _told(one: Series, chart: Chart) -> str:
    first, last = one.points[0][1], one.points[-1][1]
    return f"{one.name} from {written(first, chart.percent)} to {written(last, chart.percent)}"


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def interval_strip(rows: Sequence[tuple[str, float, float, float]], width: int = 220) -> Markup:
    """Points with their intervals on one axis from 0 to 1, one above the other.   rows: (colour, value, low, high)."""
    height = 10 + 14 * len(rows)
    parts = [f'<line class="grid" x1="{x}" x2="{x}" y1="1" y2="{height - 1}"/>' for x in _fractions(width)]
    for number, (colour, value, low, high) in enumerate(rows):
        y = 12 + 14 * number
        x, left, right = (round(5 + (width - 10) * share, 1) for share in (value, low, high))
        parts.append(f'<line class="bar {colour}" x1="{left}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="mark {colour}" cx="{x}" cy="{y}" r="4"/>')
    return Markup(f'<svg class="strip" viewBox="0 0 {width} {height}" aria-hidden="true">{"".join(parts)}</svg>')


def _fractions(width: int) -> list[float]:
    return [5 + (width - 10) * share for share in (0, 0.25, 0.5, 0.75, 1)]


def stacked_bar(shares: Sequence[tuple[str, float]], width: int = 600, height: int = 22) -> Markup:
    """Shares of a whole, side by side.   shares: (class, share); those of 0 are left out."""
    parts, x = [], 0.0
    for colour, share in shares:
        if share > 0:
            part = width * share
            parts.append(
                f'<rect class="{colour}" x="{x:.1f}" y="0" width="{max(part - 1.5, 0.5):.1f}" height="{height}"/>'
            )
            x += part
    return Markup(
        f'<svg class="stack" viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )
