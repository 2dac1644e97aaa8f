"""Rewrites: groups of episodes become other groups, after playing and before any statistic.

Each is async and may ask its `Rehearsal` for more episodes; what it chooses follows from the run's seed, the step and
the group alone, so that it is the same on every rank (R6).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentrl.types import ENDS, Trajectory

PHRASES = {
    "knowledge": "Kinds of action that help here: {}.",
    "planning": "A plan, from its beginning: {}.",
    "solution": "What to do, from the beginning: {}.",
}
"""Tier -> how its pieces are told; a world's own tier with another name is told as it stands."""


@dataclass(frozen=True)
class Hint:
    """One step up the ladder of help."""

    tier: str
    part: int
    """How many of the tier's parts are told, from 1."""
    text: str


def ladder(tiers: Mapping[str, Sequence[str]], chosen: Sequence[str], num_parts: int) -> list[Hint]:
    """The hints in order: tier by tier as chosen, each in cumulative parts; what would repeat a hint is left out.

    tiers: tier -> its pieces.   chosen: tiers, the vaguest first.   num_parts: into how many parts a tier is cut.
    """
    hints: list[Hint] = []
    for tier in chosen:
        pieces = list(tiers.get(tier, ()))
        told = 0
        for part in range(1, num_parts + 1):
            count = -(-len(pieces) * part // num_parts)
            if count > told:
                told = count
                phrase = PHRASES.get(tier, "{}")
                hints.append(Hint(tier, part, "Hint: " + phrase.format("; ".join(pieces[:count]))))
    return hints


def none_solved(group: Sequence[Trajectory]) -> bool:
    """Did every scored rollout fail; a group without any is not said to be unsolved."""
    scored = [t for t in group if ENDS[t.ended].scored]
    return bool(scored) and not any(t.outcome.success for t in scored)
