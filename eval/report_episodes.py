"""Episodes as a page holds them: lean, shown safely, packed in pieces that are unpacked when they are looked at."""

import base64
import gzip
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.eval.checkup_evidence import looping_turns, repeated_turns
from agentrl.eval.report_data import Episodes
from agentrl.eval.report_measures import level_names, output_tokens
from agentrl.types import ENDS, Trajectory, Turn
from agentrl.usage import usage_of

MAX_TEXT = 4_000
"""Characters of one text that a page shows; how many more there are is said."""
MAX_TURNS = 200
"""Turns of one episode that a page shows: the first and the last ones."""
LAST_TURNS = 50
MAX_ADMISSIBLE = 100
"""Admissible actions of a turn that a page shows."""
LEARNED = -1
"""Stands for the step of an episode that was learned from, not judged."""
MAX_PACKED = 16_000_000
"""Bytes of all packed episodes of a page."""
PIECE = 40
"""Episodes that are unpacked together."""

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
"""What has no picture, or turns the picture of what follows round: controls, marks of direction, half characters."""


def visible(text: Any, most: int = MAX_TEXT) -> str:
    """A text as it can be shown: cut after `most` characters, what cannot be seen as a picture of itself.

    Line breaks and tabs stay; of CR LF the LF does. The result can be written as UTF-8.
    """
    whole = str(text)
    more = len(whole) - most
    shown = _UNSEEN.sub(_picture, whole[:most].replace("\r\n", "\n"))
    return f"{shown}… [{more:,} more characters]" if more > 0 else shown


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\ufffd" if 0xD800 <= code <= 0xDFFF else f"<U+{code:04X}>"


def state_of(trajectory: Trajectory) -> str:
    """`won`, `lost`, or `failed` where the infrastructure ended it."""
    if not ENDS[trajectory.ended].scored:
        return "failed"
    return "won" if trajectory.outcome.success else "lost"


def shown_turns(trajectory: Trajectory) -> list[Turn | None]:
    """The turns that a page shows; None stands for those between that it leaves out."""
    turns = trajectory.turns
    if len(turns) <= MAX_TURNS:
        return list(turns)
    return [*turns[: MAX_TURNS - LAST_TURNS], None, *turns[-LAST_TURNS:]]


def episode_to_json(key: str, trajectory: Trajectory) -> dict[str, Any]:
    """An episode for reading: what was seen first, and a turn's reply, action, and what it brought.

    A turn is {"n": number from 1, "a": action, "s": what was seen after it, "w": reward}, and where it applies "t":
    what was thought apart from the reply, "r": the reply where it says more than the action, "x": why it is marked
    (unreadable, refused, loops, repeats), "k": kind, "p": report, "c": admissible actions, "i": number of images, "u":
    what the reply used, in words. {"gap": n} stands for n turns left out.
    """
    loops = dict.fromkeys(repeated_turns(trajectory), "repeats")
    loops |= dict.fromkeys(looping_turns(trajectory), "loops")
    turns = shown_turns(trajectory)
    rows: list[dict[str, Any]] = []
    for place, turn in enumerate(turns):
        if turn is None:
            rows.append({"gap": len(trajectory.turns) - MAX_TURNS})
            continue
        rows.append(_turn_to_json(turn, _seen_after(trajectory, turns, place), loops.get(turn.position, "")))
    first = trajectory.turns[0].observation if trajectory.turns else trajectory.final_observation
    return {
        "key": key,
        "task": visible(trajectory.task.id, 300),
        "kind": visible(trajectory.task.kind, 100),
        "state": state_of(trajectory),
        "ended": trajectory.ended,
        "score": trajectory.outcome.score,
        "reward": trajectory.reward,
        "used": _used(trajectory),
        "num_turns": len(trajectory.turns),
        "failure": visible(trajectory.failure, 1_000) if trajectory.failure else "",
        "first": visible(first.transcript) if first is not None else "",
        "turns": rows,
    }


def _seen_after(trajectory: Trajectory, turns: Sequence[Turn | None], place: int) -> str:
    """What an action brought: the next turn's observation, or the final one."""
    turn = turns[place]
    assert turn is not None
    after = turn.position + 1
    if after < len(trajectory.turns):
        following = trajectory.turns[after]
        return visible(following.observation.text) if turn.kind == "act" else ""
    return visible(trajectory.final_observation.text) if trajectory.final_observation is not None else ""


def _used(trajectory: Trajectory) -> str:
    """Tokens and cost of an episode, in words; an unknown price is said to be unknown."""
    used = usage_of([trajectory])
    tokens = used["tokens"]
    parts = [f"{output_tokens(trajectory):,} tokens written"]
    if tokens["reasoning"]:
        parts.append(f"{tokens['reasoning']:,} of them reasoning")
    if tokens["input"]:
        cached = f" ({tokens['cached']:,} cached)" if tokens["cached"] else ""
        parts.append(f"{tokens['input']:,} read{cached}")
    if trajectory.source == "api" and trajectory.turns:
        parts.append("cost unknown" if used["cost"] is None else f"cost {used['cost']:.4f}")
    if used["waited_seconds"] >= 0.1:
        parts.append(f"waited {used['waited_seconds']:.1f} s")
    if trajectory.tries > 1:
        parts.append(f"try {trajectory.tries}")
    return ", ".join(parts)


def _turn_to_json(turn: Turn, after: str, circles: str) -> dict[str, Any]:
    did = turn.action if turn.kind == "act" else "(writes a synthesis)"
    row: dict[str, Any] = {"n": turn.position + 1, "a": visible(did), "s": after, "w": round(turn.reward, 4)}
    marks = [
        word
        for word, holds in (
            ("unreadable", not turn.readable),
            ("refused", turn.readable and not turn.valid),
            (circles, circles),
        )
        if holds
    ]
    if marks:
        row["x"] = marks
    completion = turn.completion
    if completion.reasoning.strip():
        row["t"] = visible(completion.reasoning)
    if completion.text.strip() != turn.action.strip() and completion.text.strip() != (turn.report or "").strip():
        row["r"] = visible(completion.text)
    if turn.kind != "act":
        row["k"] = turn.kind
    if turn.report is not None:
        row["p"] = visible(turn.report)
    if turn.observation.admissible:
        row["c"] = visible(" · ".join(turn.observation.admissible[:MAX_ADMISSIBLE]), 2_000)
    if turn.observation.images:
        row["i"] = len(turn.observation.images)
    if completion.prompt_tokens:
        written = completion.output_tokens or len(completion.token_ids)
        row["u"] = f"{completion.prompt_tokens:,} read, {written:,} written"
        if completion.cost is not None:
            row["u"] += f", cost {completion.cost:.4g}"
    return row


@dataclass(frozen=True, kw_only=True)
class Packed:
    """The episodes of a page: an index that is read at once, pieces that are unpacked when they are looked at."""

    index: Mapping[str, Any]
    """As JSON: names of kinds and ends, and a row an episode."""
    pieces: Sequence[str]
    """Base64 of gzip of a JSON list of episodes."""
    shown: int
    all: int


def pack(
    judged: Mapping[int, Episodes],
    first: Iterable[str] = (),
    learned: Episodes | None = None,
    max_packed: int = MAX_PACKED,
) -> Packed:
    """Every judged episode that fits, those named first before all others, then the last judgement, then the first.

    learned: episodes that a step learned from; only those named are packed, as of step -1.
    A row of the index: key, step, task, kind, state, end, turns, reward, unreadable or refused turns, looping turns,
    repeating turns, difficulty, score, tokens written; kind, state, end and difficulty are places in the index' lists
    of names, rows stand in the order of the pieces.
    """
    episodes = {key: (step, t) for step, of_step in judged.items() for key, t in of_step.items()}
    steps = sorted(judged)
    order = list(dict.fromkeys([*steps[-1:], *steps[:1], *reversed(steps)]))
    named = list(first)
    episodes |= {key: (LEARNED, learned[key]) for key in named if learned and key in learned}
    keys = dict.fromkeys([*(key for key in named if key in episodes), *(k for step in order for k in judged[step])])
    names: dict[str, list[str]] = {"kinds": [], "states": [], "ends": [], "levels": []}
    levels = level_names(t.task.difficulty for _, t in episodes.values())
    rows, pieces, lean, size = [], [], [], 0
    for key in keys:
        step, trajectory = episodes[key]
        episode = episode_to_json(key, trajectory)
        lean.append((episode, _row(step, trajectory, episode, names, levels)))
        if len(lean) == PIECE:
            piece = _piece([episode for episode, _ in lean])
            if size + len(piece) > max_packed:
                lean = []
                break
            pieces.append(piece)
            rows += [row for _, row in lean]
            size, lean = size + len(piece), []
    if lean:
        piece = _piece([episode for episode, _ in lean])
        if size + len(piece) <= max_packed:
            pieces.append(piece)
            rows += [row for _, row in lean]
    steps = ([LEARNED] if any(row[1] == LEARNED for row in rows) else []) + steps
    index = {**names, "steps": steps, "piece": PIECE, "rows": rows}
    return Packed(index=index, pieces=pieces, shown=len(rows), all=len(episodes))


def _row(
    step: int,
    trajectory: Trajectory,
    episode: Mapping[str, Any],
    names: dict[str, list[str]],
    levels: Callable[[float | None], str],
) -> list[Any]:
    def place(name: str, value: str) -> int:
        if value not in names[name]:
            names[name].append(value)
        return names[name].index(value)

    marks = [mark for turn in episode["turns"] for mark in turn.get("x", ())]
    return [
        episode["key"],
        step,
        episode["task"],
        place("kinds", episode["kind"]),
        place("states", episode["state"]),
        place("ends", episode["ended"]),
        len(trajectory.turns),
        round(trajectory.reward, 4),
        len(marks) - marks.count("loops") - marks.count("repeats"),
        marks.count("loops"),
        marks.count("repeats"),
        place("levels", levels(trajectory.task.difficulty)),
        round(trajectory.outcome.score, 4),
        output_tokens(trajectory),
    ]


def _piece(episodes: Sequence[Mapping[str, Any]]) -> str:
    text = json.dumps(episodes, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 4, mtime=0)).decode()


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One task, played before training and after."""

    what: str
    """`gained`, `lost`, `kept` or `never`."""
    before: str
    """Key of the episode."""
    after: str


def pairs(before: Episodes, after: Episodes) -> list[Pair]:
    """Every task that both judged, once: scored episodes alone, in the order of the later panel."""
    earlier: dict[str, str] = {}
    for key, trajectory in before.items():
        if ENDS[trajectory.ended].scored:
            earlier.setdefault(trajectory.task.id, key)
    found = []
    for key, trajectory in after.items():
        first = earlier.pop(trajectory.task.id, None) if ENDS[trajectory.ended].scored else None
        if first is not None:
            won = (before[first].outcome.success, trajectory.outcome.success)
            what = {(False, True): "gained", (True, False): "lost", (True, True): "kept"}.get(won, "never")
            found.append(Pair(what=what, before=first, after=key))
    return found


def examples(found: Sequence[Pair], before: Episodes, after: Episodes) -> list[Pair]:
    """The pairs to show: one that was gained, one that is lost now, one that was won both times; where they exist.

    Of each sort the one that is read quickest, but not in a glance: at least four turns where there is such a one.
    Where nothing was lost that had been won, one that is lost both times.
    """

    def length(pair: Pair) -> tuple[bool, int, str]:
        turns = len(before[pair.before].turns) + len(after[pair.after].turns)
        return len(after[pair.after].turns) < 4, turns, pair.after

    chosen = []
    for sorts in (("gained",), ("lost", "never"), ("kept",)):
        for sort in sorts:
            candidates = [pair for pair in found if pair.what == sort]
            if candidates:
                chosen.append(min(candidates, key=length))
                break
    return chosen
