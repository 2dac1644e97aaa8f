"""Shares of successes as SVG pictures: the learning curve of a run, and success by anything that comes in stages."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentrl.statistics import TOTAL, wilson_interval

WIDTH, HEIGHT = 760, 340
LEFT, RIGHT, TOP, BOTTOM = 56, 20, 44, 44
TRAIN, SAMPLED, GREEDY, INK, FAINT = "#8fb8de", "#1f5fa8", "#c4532d", "#333333", "#dddddd"
COLOURS = (SAMPLED, GREEDY, "#4c8c4a", "#8a6bb1", "#b08a2e", "#777777")

Point = tuple[float, float]


def draw_curve(records: Iterable[Mapping[str, Any]], title: str) -> str:
    """The records of metrics.jsonl as an SVG document that needs nothing else.

    Pale line: success of each step's own episodes. Dark points with bars: the validation panel, sampled, with 95 %
    Wilson intervals; the other colour: the greedy policy, where it was judged.
    """
    rows = list(records)
    train = [(float(r["step"]), float(r["success"])) for r in rows if r.get("kind") == "train" and "success" in r]
    judged = [r for r in rows if r.get("kind") == "validation" and r.get("tally")]
    last = max([1.0, *(step for step, _ in train), *(float(r["step"]) for r in judged)])

    def place(step: float, share: float) -> Point:
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / last
        return round(x, 1), round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - share), 1)

    steps = sorted({round(last * k / 5) for k in range(6)})
    body = _axes(place, last, [(step, str(step)) for step in steps], "step")
    body.append(_line([place(*point) for point in train], TRAIN, 1.5))
    for key, colour, shift in ((TOTAL, SAMPLED, 0.0), ("greedy", GREEDY, 4.0)):
        body += _judged(place, judged, key, colour, shift)
    legend = [
        ("a step's own episodes", TRAIN),
        ("held-out tasks, sampled", SAMPLED),
        ("held-out tasks, greedy", GREEDY),
    ]
    return _picture(title, [*body, *_legend(legend, 190)])


def draw_shares(
    lines: Mapping[str, Sequence[tuple[int, int]]], stages: Sequence[str], title: str, stages_name: str
) -> str:
    """Lines of shares over stages that stand at equal distances, as an SVG document; with 95 % Wilson intervals.

    lines: name -> (successes, episodes) for each stage; six of them have colours of their own.
    """
    last = max(1, len(stages) - 1)

    def place(stage: float, share: float) -> Point:
        x = LEFT + 20 + (WIDTH - LEFT - RIGHT - 40) * stage / last
        return round(x, 1), round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - share), 1)

    body = _axes(place, last, list(enumerate(stages)), stages_name)
    legend = []
    for number, (name, counts) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        legend.append((name, colour))
        body += _shares(place, list(enumerate(counts)), colour, 3.0 * number)
    return _picture(title, [*body, *_legend(legend, 120)])


def _legend(entries: Sequence[tuple[str, str]], width: int) -> list[str]:
    parts = []
    for number, (text, colour) in enumerate(entries):
        x = LEFT + width * number
        parts.append(f'<rect x="{x}" y="28" width="12" height="4" fill="{colour}"/>')
        parts.append(_text(x + 18, 33, text, 11))
    return parts


def _picture(title: str, body: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="Helvetica, Arial, sans-serif"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
        f"{_text(LEFT, 18, title, 14)}{''.join(body)}</svg>\n"
    )


def _axes(place: Any, last: float, ticks: Sequence[tuple[float, str]], name: str) -> list[str]:
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        (left, y), (right, _) = place(0, share), place(last, share)
        parts.append(f'<line x1="{left}" y1="{y}" x2="{right}" y2="{y}" stroke="{FAINT}"/>')
        parts.append(_text(left - 8, y + 4, f"{100 * share:.0f} %", 11, "end"))
    for where, text in ticks:
        x, y = place(where, 0)
        parts.append(_text(x, y + 18, text, 11, "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, name, 11, "middle"))
    return parts


def _judged(place: Any, judged: Sequence[Mapping[str, Any]], key: str, colour: str, shift: float) -> list[str]:
    counted = [(float(record["step"]), record["tally"].get(key)) for record in judged]
    counts = [(step, (c["successes"], c["episodes"])) for step, c in counted if c and c["episodes"]]
    return _shares(place, counts, colour, shift)


def _shares(place: Any, counts: Iterable[tuple[float, tuple[int, int]]], colour: str, shift: float) -> list[str]:
    """A line through shares of successes, each with its interval.   counts: (where, (successes, episodes))."""
    parts, points = [], []
    for where, (successes, episodes) in counts:
        low, high = wilson_interval(successes, episodes)
        x, y = place(where, successes / episodes)
        points.append((x + shift, y))
        (_, top), (_, bottom) = place(0, high), place(0, low)
        parts.append(f'<line x1="{x + shift}" y1="{top}" x2="{x + shift}" y2="{bottom}" stroke="{colour}"/>')
        parts.append(f'<circle cx="{x + shift}" cy="{y}" r="4" fill="{colour}"/>')
    return [_line(points, colour, 2.0), *parts]


def _line(points: Sequence[Point], colour: str, width: float) -> str:
    where = " ".join(f"{x},{y}" for x, y in points)
    return f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, size: int, anchor: str = "start") -> str:
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{INK}" text-anchor="{anchor}">{safe}</text>'
