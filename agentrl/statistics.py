"""Counts and intervals that every room shares: episodes tallied by task kind, success with its Wilson interval."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agentrl.types import ENDS, Trajectory

Z_95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""

TOTAL = "all"
"""The row of a tally that counts every episode."""


def wilson_interval(successes: int, episodes: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a share, in [0, 1]; of no episodes it is (0, 1), for nothing is known.

        (p + z^2/2n -+ z * sqrt(p (1-p) / n + z^2/4n^2)) / (1 + z^2/n)      with p = successes / n, n = episodes

    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    Raises ValueError unless 0 <= successes <= episodes.
    """
    if not 0 <= successes <= episodes:
        raise ValueError(f"{successes} successes of {episodes} episodes cannot be")
    if episodes == 0:
        return 0.0, 1.0
    share = successes / episodes
    square = z * z / episodes
    centre = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / episodes + square / (4 * episodes)) / (1 + square)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == episodes else min(1.0, centre + half)
    return low, high


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What some episodes came to. Infrastructure failures are counted, and are in no mean."""

    episodes: int = 0
    """Scored ones: infrastructure failures are not among them."""
    successes: int = 0
    score: float = 0.0
    """Sum over the scored episodes; in the world's own unit."""
    reward: float = 0.0
    """Sum of what the world paid over the scored episodes."""
    turns: int = 0
    """Of the scored episodes."""
    invalid_turns: int = 0
    """Turns that the format could not read or the world refused."""
    tokens: int = 0
    """Sampled in the scored episodes."""
    failures: int = 0
    """Episodes that ended by an infrastructure failure."""

    @property
    def success(self) -> float:
        """Share of the scored episodes that succeeded; nan where there is none."""
        return self.successes / self.episodes if self.episodes else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of `success`."""
        return wilson_interval(self.successes, self.episodes)

    def as_dict(self) -> dict[str, Any]:
        """For results.json: the counts, and the means and the interval that follow from them (None: no episode)."""
        each = 1 / self.episodes if self.episodes else math.nan

        def mean(total: float) -> float | None:
            return total * each if self.episodes else None

        return {
            "episodes": self.episodes,
            "successes": self.successes,
            "success": mean(self.successes),
            "success_interval": list(self.interval),
            "score": mean(self.score),
            "reward": mean(self.reward),
            "turns": mean(self.turns),
            "tokens": mean(self.tokens),
            "invalid_rate": self.invalid_turns / self.turns if self.turns else None,
            "failures": self.failures,
        }


def tally(trajectories: Iterable[Trajectory]) -> Tally:
    """The counts of some episodes."""
    counts: dict[str, float] = dict.fromkeys(Tally.__dataclass_fields__, 0)
    for trajectory in trajectories:
        if not ENDS[trajectory.ended].scored:
            counts["failures"] += 1
            continue
        counts["episodes"] += 1
        counts["successes"] += trajectory.outcome.success
        counts["score"] += trajectory.outcome.score
        counts["reward"] += trajectory.reward
        counts["turns"] += trajectory.num_acts
        counts["invalid_turns"] += sum(not (turn.readable and turn.valid) for turn in trajectory.turns)
        counts["tokens"] += trajectory.num_tokens
    whole = {name: int(value) for name, value in counts.items() if name not in ("score", "reward")}
    return Tally(**whole, score=float(counts["score"]), reward=float(counts["reward"]))


def tally_by_kind(trajectories: Iterable[Trajectory]) -> dict[str, Tally]:
    """task kind -> its counts, in alphabetical order; the first row, `all`, counts every episode."""
    played = list(trajectories)
    kinds = sorted({t.task.kind for t in played} - {""})
    by_kind = {kind: tally(t for t in played if t.task.kind == kind) for kind in kinds}
    return {TOTAL: tally(played), **by_kind}
