"""The learning curve of a run as one SVG picture: success a step, and what the validations said, with intervals."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentrl.statistics import TOTAL, wilson_interval

WIDTH, HEIGHT = 760, 340
LEFT, RIGHT, TOP, BOTTOM = 56, 20, 44, 44
TRAIN, SAMPLED, GREEDY, INK, FAINT = "#8fb8de", "#1f5fa8", "#c4532d", "#333333", "#dddddd"

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

    body = [*_axes(place, last), _line([place(*point) for point in train], TRAIN, 1.5)]
    for key, colour, shift in ((TOTAL, SAMPLED, 0.0), ("greedy", GREEDY, 4.0)):
        body += _judged(place, judged, key, colour, shift)
    legend = [
        ("a step's own episodes", TRAIN),
        ("held-out tasks, sampled", SAMPLED),
        ("held-out tasks, greedy", GREEDY),
    ]
    for number, (text, colour) in enumerate(legend):
        x = LEFT + 190 * number
        body.append(f'<rect x="{x}" y="28" width="12" height="4" fill="{colour}"/>')
        body.append(_text(x + 18, 33, text, 11))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="Helvetica, Arial, sans-serif"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
        f"{_text(LEFT, 18, title, 14)}{''.join(body)}</svg>\n"
    )


def _axes(place: Any, last: float) -> list[str]:
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        (left, y), (right, _) = place(0, share), place(last, share)
        parts.append(f'<line x1="{left}" y1="{y}" x2="{right}" y2="{y}" stroke="{FAINT}"/>')
        parts.append(_text(left - 8, y + 4, f"{100 * share:.0f} %", 11, "end"))
    for step in sorted({round(last * k / 5) for k in range(6)}):
        x, y = place(step, 0)
        parts.append(_text(x, y + 18, str(step), 11, "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "step", 11, "middle"))
    return parts


def _judged(place: Any, judged: Sequence[Mapping[str, Any]], key: str, colour: str, shift: float) -> list[str]:
    parts, points = [], []
    for record in judged:
        counts = record["tally"].get(key)
        if not counts or not counts["episodes"]:
            continue
        low, high = wilson_interval(counts["successes"], counts["episodes"])
        x, y = place(record["step"], counts["successes"] / counts["episodes"])
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
