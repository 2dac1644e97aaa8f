"""What the checks of a run go by and what they find, and the words and numbers that they share."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean
from typing import Any, Literal

from agentrl.types import Trajectory

Severity = Literal["good", "notice", "warning"]
SEVERITIES: tuple[Severity, ...] = ("warning", "notice", "good")
"""The gravest first: the order in which findings are shown."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a check has seen."""

    check: str
    """Which check it is of: a word that stays the same."""
    severity: Severity
    title: str
    seen: str
    """One sentence, with its numbers."""
    means: str
    do: str = ""
    """What to do about it; empty where it is good."""
    episode: str = ""
    """Key of an episode that shows it; empty where none does."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What the sentences say, for report.json."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What checks go by. Anything may be empty: a run that has only begun, an evaluation without steps."""

    train: Sequence[Mapping[str, Any]] = ()
    """Records of the steps, in their order."""
    validations: Sequence[Mapping[str, Any]] = ()
    before: Mapping[str, Trajectory] = field(default_factory=dict)
    """key -> episode of the judgement before the first step."""
    after: Mapping[str, Trajectory] = field(default_factory=dict)
    """key -> episode of the last judgement, or of the evaluation."""
    learned: Mapping[str, Trajectory] = field(default_factory=dict)
    """key -> episode of the last step's own; those of one group are of one task."""
    max_turns: int = 0
    max_grad_norm: float = 0.0
    """0: not known, or not clipped."""

    @property
    def in_groups(self) -> Mapping[str, Trajectory]:
        """The episodes to look for groups in: the last step's own, or else those of the last judgement."""
        return self.learned or self.after

    def series(self, name: str) -> list[tuple[int, float]]:
        """(step, value) of a metric of the steps, finite values alone."""
        found = []
        for record in self.train:
            value = number(record.get(name))
            if math.isfinite(value):
                found.append((int(record.get("step", 0)), value))
        return found


def number(value: Any) -> float:
    """A metric's value as a float; nan for what is none, or is missing."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    return float(value)


def looping_turns(trajectory: Trajectory) -> list[int]:
    """Positions of the turns that loop: acting turns that answer an observation already seen in this episode, to the
    letter, with an action already given to it. The first of them does not count, every later one does.
    """
    seen: set[tuple[str, str]] = set()
    found = []
    for turn in trajectory.turns:
        if turn.kind != "act":
            continue
        pair = (turn.observation.text, turn.action)
        if pair in seen:
            found.append(turn.position)
        seen.add(pair)
    return found


def repeated_turns(trajectory: Trajectory) -> list[int]:
    """Positions of the turns that repeat: acting turns whose action is, to the letter, that of the one before them."""
    acts = [turn for turn in trajectory.turns if turn.kind == "act"]
    return [turn.position for last, turn in pairwise(acts) if turn.action and turn.action == last.action]


def ends_of_run(series: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Means over the first and the last fifth of a series (at least one value each); nan where it has none."""
    values = [value for _, value in series]
    if not values:
        return math.nan, math.nan
    size = max(1, len(values) // 5)
    return fmean(values[:size]), fmean(values[-size:])


def grade(value: float, notice: float, warning: float) -> Severity:
    """`good` up to `notice`, `notice` up to `warning`, `warning` above it."""
    return "warning" if value > warning else "notice" if value > notice else "good"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.01 else f"{100 * share:.1f} %"


def of(part: int, whole: int, unit: str) -> str:
    """`18 of 48 episodes (38 %)`."""
    return f"{part:,} of {whole:,} {unit} ({percent(part / whole if whole else 0)})"
