"""What one judgement's episodes measure: by type and difficulty, by turns and tokens, by repeats, and their cost."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from agentrl.eval.checkup_evidence import looping_turns, repeated_turns
from agentrl.eval.report_curves import thinned
from agentrl.eval.statistics import (
    bootstrap_interval,
    mean_over_tasks,
    pass_at_k,
    pass_hat_k,
    share_interval,
    t_quantile,
    wilson_interval,
)
from agentrl.statistics import TOTAL, tally
from agentrl.types import ENDS, Trajectory
from agentrl.usage import usage_of

MAX_FAILED_SHARE = 0.10
"""Share of episodes that infrastructure failed above which there is no headline: what is left is not the panel."""
MAX_LEVELS = 6
"""Difficulties that have a row each; of more, each fifth of the scale has one."""
MAX_REASONS = 5
"""Reasons of infrastructure failures that are told, the commonest first."""
CURVE_POINTS = 60
MANY_TASKS = 300
"""Tasks above which the bootstrap of a mean says what Student's interval says, and takes a thousand times as long."""

Played = Sequence[Trajectory]
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Numbers of one judgement's episodes. Infrastructure failures are in no mean, and in every count of their own."""

    by_kind: Mapping[str, Row] = field(default_factory=dict)
    """task kind -> measures; `all` is every episode."""
    by_difficulty: Mapping[str, Row] = field(default_factory=dict)
    """The world's own difficulty, or a fifth of its scale -> measures; empty where the world tells none."""
    repeats: Sequence[Row] = ()
    """A row a k: pass@k and pass^k over the tasks that were played k times, with intervals; empty without repeats."""
    ends: Sequence[Row] = ()
    """Why episodes ended: a row a way, with its episodes and how many of them were won."""
    failures: Mapping[str, Any] = field(default_factory=dict)
    """Infrastructure: episodes, share, whether they withhold the headline, the bounds that they imply, reasons."""
    turns: Mapping[str, int] = field(default_factory=dict)
    """Acting turns of the scored episodes, and how many were unreadable, refused, repeated, looping."""
    usage: Mapping[str, Any] = field(default_factory=dict)
    """Tokens of all replies, cost, and both an episode and a success."""
    within: Mapping[str, Sequence[tuple[float, float, float, float]]] = field(default_factory=dict)
    """`turns`, `tokens` -> (x, share of episodes that were won within x, low, high)."""
    ended_within: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    """`turns`, `tokens` -> (x, share of episodes that had ended within x)."""


def measure(played: Iterable[Trajectory], usage: Mapping[str, Any] | None = None) -> Measured:
    """The numbers of a judgement.   usage: of results.json, where there is one."""
    episodes = list(played)
    scored = [t for t in episodes if ENDS[t.ended].scored]
    lengths = {"turns": [t.num_acts for t in scored], "tokens": [output_tokens(t) for t in scored]}
    return Measured(
        by_kind=by_kind(episodes),
        by_difficulty=_by_difficulty(episodes),
        repeats=_repeats(scored),
        ends=_ends(episodes),
        failures=_failures(episodes),
        turns=_turns(scored),
        usage=_usage(episodes, usage),
        within={name: _won_within(scored, sizes) for name, sizes in lengths.items() if any(sizes)},
        ended_within={name: _ended_within(sizes) for name, sizes in lengths.items() if any(sizes)},
    )


def by_kind(episodes: Played) -> dict[str, Row]:
    """task kind -> measures, in alphabetical order; the first row, `all`, is every episode."""
    kinds = sorted({t.task.kind for t in episodes} - {""})
    return {TOTAL: row_of(episodes)} | {kind: row_of([t for t in episodes if t.task.kind == kind]) for kind in kinds}


def row_of(episodes: Played) -> dict[str, Any]:
    """The measures of some episodes: as in results.json, with the score's interval and the tokens of every policy."""
    scored = [t for t in episodes if ENDS[t.ended].scored]
    scores = values_of_task((t, t.outcome.score) for t in scored)
    return tally(episodes).as_dict() | {
        "tasks": len(scores),
        "success_interval": list(success_interval(scored)),
        "score_interval": list(score_interval(scores)) if scored else None,
        "tokens": fmean(map(output_tokens, scored)) if scored else None,
    }


def success_interval(scored: Played) -> tuple[float, float]:
    """95 % interval of the success of scored episodes: Wilson's, or one over tasks where some were repeated."""
    return _share_interval(scored, [float(t.outcome.success) for t in scored])


def _share_interval(scored: Played, values: Sequence[float]) -> tuple[float, float]:
    of_task = values_of_task(zip(scored, values, strict=True))
    if len(of_task) == len(scored):
        return wilson_interval(int(sum(values)), len(scored))
    return share_interval(of_task)


def score_interval(scores: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """95 % interval of a mean score over tasks: the bootstrap, or Student's of so many tasks that both are the same.

    Scores that are successes have the interval of a share.
    """
    values = [value for of_task in scores.values() for value in of_task]
    if set(values) <= {0.0, 1.0}:
        once = len(values) == len(scores)
        return wilson_interval(int(sum(values)), len(values)) if once else share_interval(scores)
    if len(scores) <= MANY_TASKS:
        return bootstrap_interval(scores)
    mean = fmean(values)
    spread = sum((sum(of_task) - len(of_task) * mean) ** 2 for of_task in scores.values())
    error = math.sqrt(len(scores) / (len(scores) - 1) * spread) / len(values)
    half = t_quantile(0.975, len(scores) - 1) * error
    return max(min(values), mean - half), min(max(values), mean + half)


def values_of_task(pairs: Iterable[tuple[Trajectory, float]]) -> dict[str, list[float]]:
    """task id -> the values of its episodes."""
    values: dict[str, list[float]] = {}
    for trajectory, value in pairs:
        values.setdefault(trajectory.task.id, []).append(value)
    return values


def output_tokens(trajectory: Trajectory) -> int:
    """Tokens that the policy wrote: as its server counted them, or as they were sampled here."""
    return sum(turn.completion.output_tokens or len(turn.completion.token_ids) for turn in trajectory.turns)


def level_names(difficulties: Iterable[float | None]) -> Callable[[float | None], str]:
    """Difficulty -> the name of its row: itself where there are few, else the fifth of the scale that it is in.

    Empty for all where none is told, `not told` for one that is not.
    """
    told = {found for found in difficulties if found is not None}

    def name(found: float | None) -> str:
        if not told or found is None:
            return "not told" if told else ""
        if len(told) <= MAX_LEVELS:
            return f"{found:.2f}"
        low = min(4, max(0, math.floor(5 * found))) / 5
        return f"{low:.1f} to {low + 0.2:.1f}"

    return name


def _by_difficulty(episodes: Played) -> dict[str, Row]:
    level = level_names(t.task.difficulty for t in episodes)
    groups: dict[str, list[Trajectory]] = {}
    for trajectory in episodes:
        groups.setdefault(level(trajectory.task.difficulty), []).append(trajectory)
    return {name: row_of(groups[name]) for name in sorted(groups)} if any(groups) else {}


def _repeats(scored: Played) -> Sequence[Row]:
    outcomes = values_of_task((t, float(t.outcome.success)) for t in scored)
    counts = {task: (int(sum(values)), len(values)) for task, values in outcomes.items()}
    most = max((played for _, played in counts.values()), default=0)
    rows = []
    for k in _draws(most) if most > 1 else ():
        at, hat = mean_over_tasks(counts, k, pass_at_k), mean_over_tasks(counts, k, pass_hat_k)
        rows.append(
            {
                "k": k,
                "tasks": sum(played >= k for _, played in counts.values()),
                "pass_at_k": at[0],
                "pass_at_k_interval": list(at[1:]),
                "pass_hat_k": hat[0],
                "pass_hat_k_interval": list(hat[1:]),
            }
        )
    return rows


def told_repeats(measured: Measured) -> Row | None:
    """The row of the largest k that nearly all tasks were played (infrastructure apart); None without repeats."""
    most = max((row["tasks"] for row in measured.repeats), default=0)
    rows = [row for row in measured.repeats if row["tasks"] >= (1 - MAX_FAILED_SHARE) * most]
    return rows[-1] if rows and rows[-1]["k"] > 1 else None


def _draws(most: int) -> list[int]:
    """Which k are told: all up to 8, then powers of two, and the most."""
    return sorted({*range(1, min(most, 8) + 1), *(2**e for e in range(4, 20) if 2**e <= most), most})


def _ends(episodes: Played) -> list[Row]:
    counts = Counter[str](t.ended for t in episodes)
    won = Counter[str](t.ended for t in episodes if t.outcome.success)
    return [
        {
            "ended": ended,
            "episodes": counts[ended],
            "share": counts[ended] / len(episodes),
            "won": None if rule.infrastructure else won[ended],
            "infrastructure": rule.infrastructure,
        }
        for ended, rule in ENDS.items()
        if counts[ended]
    ]


def _failures(episodes: Played) -> dict[str, Any]:
    failed = [t for t in episodes if ENDS[t.ended].infrastructure]
    won = sum(t.outcome.success for t in episodes if ENDS[t.ended].scored)
    share = len(failed) / len(episodes) if episodes else 0.0
    reasons = Counter(" ".join((t.failure or t.ended).split())[:200] for t in failed)
    return {
        "episodes": len(failed),
        "share": share,
        "withheld": share > MAX_FAILED_SHARE,
        "all_failed": won / len(episodes) if episodes else None,
        "all_succeeded": (won + len(failed)) / len(episodes) if episodes else None,
        "reasons": reasons.most_common(MAX_REASONS),
        "retried": sum(t.tries > 1 for t in episodes),
    }


def _turns(scored: Played) -> dict[str, int]:
    acting = [turn for t in scored for turn in t.turns if turn.kind == "act"]
    looping, repeated = [looping_turns(t) for t in scored], [repeated_turns(t) for t in scored]
    return {
        "acting": len(acting),
        "synthesis": sum(turn.kind != "act" for t in scored for turn in t.turns),
        "unreadable": sum(not turn.readable for turn in acting),
        "refused": sum(turn.readable and not turn.valid for turn in acting),
        "repeated": sum(map(len, repeated)),
        "looping": sum(map(len, looping)),
        "episodes_with_unreadable": sum(any(not u.readable for u in t.turns) for t in scored),
        "episodes_with_refused": sum(any(u.readable and not u.valid for u in t.turns) for t in scored),
        "episodes_with_repeated": sum(map(bool, repeated)),
        "episodes_with_looping": sum(map(bool, looping)),
    }


def _usage(episodes: Played, told: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of all episodes, those that failed included: they are paid for as well."""
    used = usage_of(episodes)
    policy = (told or {}).get("policy") or {}
    from_api = bool(told) or any(t.source == "api" for t in episodes)
    used["tokens"]["output"] = sum(map(output_tokens, episodes))
    scored = [t for t in episodes if ENDS[t.ended].scored]
    won = sum(t.outcome.success for t in scored)
    cost = used["cost"] if from_api and episodes else None
    return used | {
        "from_api": from_api,
        "cost": cost,
        "currency": policy.get("currency"),
        "prices_of": policy.get("prices_of"),
        "spent": policy.get("cost") if from_api else None,
        "replayed": policy.get("replayed"),
        "calls": policy.get("calls"),
        "failed_calls": policy.get("failed"),
        "tokens_an_episode": _each(used["tokens"], len(episodes)),
        "tokens_a_success": _each(used["tokens"], won),
        "cost_an_episode": cost / len(episodes) if cost is not None and episodes else None,
        "cost_a_success": cost / won if cost is not None and won else None,
        "episodes": len(episodes),
        "successes": won,
    }


def _each(totals: Mapping[str, int], number: int) -> dict[str, float] | None:
    return {name: total / number for name, total in totals.items()} if number else None


def _won_within(scored: Played, sizes: Sequence[int]) -> list[tuple[float, float, float, float]]:
    """For sizes that won episodes have, the share of all scored ones that was won with at most so much."""
    sizes_of_won = {size for t, size in zip(scored, sizes, strict=True) if t.outcome.success}
    once = len({t.task.id for t in scored}) == len(scored)
    points = []
    for x, _ in thinned([(float(size), 0.0) for size in sorted({*sizes_of_won, max(sizes)})], CURVE_POINTS):
        won = [float(t.outcome.success and size <= x) for t, size in zip(scored, sizes, strict=True)]
        interval = wilson_interval(int(sum(won)), len(won)) if once else _share_interval(scored, won)
        points.append((x, fmean(won), *interval))
    return points


def _ended_within(sizes: Sequence[int]) -> list[tuple[float, float]]:
    ordered = sorted(sizes)
    share = {float(size): place / len(ordered) for place, size in enumerate(ordered, 1)}
    return thinned(sorted(share.items()), CURVE_POINTS)
