"""Paired comparisons of policies that judged the same tasks: the difference, its interval, its test, and Holm's."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import fmean
from typing import Any

from agentrl.eval.checkup_evidence import percent
from agentrl.eval.report_charts import written
from agentrl.eval.report_data import Episodes
from agentrl.eval.report_measures import MAX_FAILED_SHARE, values_of_task
from agentrl.eval.report_summary import sign_test, written_p
from agentrl.eval.statistics import holm, paired_difference_interval
from agentrl.seeds import seed_of
from agentrl.types import ENDS

FLIPS = 20_000
"""Draws of the test for repeated episodes."""
SMALL_P = 0.05
EXACT = "exact sign test (McNemar's)"
RANDOMISED = "sign-flip test over tasks"

Values = Mapping[str, Sequence[float]]
"""task id -> a value an episode."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """What of a run or a cell is compared: its outcomes task by task."""

    name: str
    panel: str
    """Hash of the tasks that were judged; empty: nothing was judged whole, and nothing is compared."""
    outcomes: Values = field(default_factory=dict)
    scores: Values = field(default_factory=dict)
    withheld: bool = False
    """So many infrastructure failures that there is no headline."""


def contender(name: str, panel: str, episodes: Episodes, withheld: bool) -> Contender:
    """A contender by its scored episodes."""
    scored = [t for t in episodes.values() if ENDS[t.ended].scored]
    return Contender(
        name=name,
        panel=panel,
        outcomes=values_of_task((t, float(t.outcome.success)) for t in scored),
        scores=values_of_task((t, t.outcome.score) for t in scored),
        withheld=withheld,
    )


def comparisons(contenders: Sequence[Contender]) -> list[dict[str, Any]]:
    """Every two of one panel, paired by task, the later less the earlier; `p_holm` is corrected for all of a panel.

    Not compared are contenders of different panels, with too many infrastructure failures, or without a common task.
    """
    found: list[dict[str, Any]] = []
    for panel in dict.fromkeys(c.panel for c in contenders if c.panel):
        fit = [c for c in contenders if c.panel == panel and not c.withheld and c.outcomes]
        rows = [row for first, second in combinations(fit, 2) if (row := paired(first, second))]
        for row, corrected in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
            found.append({**row, "panel": panel, "p_holm": corrected, "tests": len(rows)})
    return found


def paired(first: Contender, second: Contender) -> dict[str, Any]:
    """second - first on the tasks of which both have a scored episode; empty where there is none.

    mean, low, high: of success, with its interval over tasks.   score: the same of the score.   gained, lost: tasks on
    which the second does better, worse; kept, never: the same, with and without a success.
    """
    shared = [task for task in sorted(first.outcomes) if task in second.outcomes]
    if not shared:
        return {}
    sides = [{task: fmean(side.outcomes[task]) for task in shared} for side in (first, second)]
    differences = [sides[1][task] - sides[0][task] for task in shared]
    gained, lost = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    mean, low, high = paired_difference_interval(first.outcomes, second.outcomes)
    score = paired_difference_interval(first.scores, second.scores)
    once = all(len(side.outcomes[task]) == 1 for side in (first, second) for task in shared)
    return {
        "run": second.name,
        "against": first.name,
        "tasks": len(shared),
        "mean": mean,
        "low": low,
        "high": high,
        "interval_by": "over tasks",
        "score": dict(zip(("mean", "low", "high"), score, strict=True)),
        "gained": gained,
        "lost": lost,
        "kept": sum(d == 0 and sides[0][task] > 0 for d, task in zip(differences, shared, strict=True)),
        "never": sum(d == 0 and sides[0][task] == 0 for d, task in zip(differences, shared, strict=True)),
        "p_value": sign_test(gained, lost) if once else sign_flip_test(differences),
        "test": EXACT if once else RANDOMISED,
    }


def sign_flip_test(differences: Sequence[float], *, seed: int = 0, flips: int = FLIPS) -> float:
    """Two-sided randomisation test of paired differences, one a task: could their mean be this far from 0 by chance?

        p = (1 + #{|sum_i s_i d_i| >= |sum_i d_i|}) / (1 + flips)      s_i = +1 or -1, drawn with equal chance

    Source: Fisher (1935), "The Design of Experiments", section 21. 1 where all differences are 0.
    """
    import numpy as np

    values = np.array([d for d in differences if d], dtype=np.float64)
    if not len(values):
        return 1.0
    generator = np.random.default_rng(seed_of(seed, "sign flips"))
    as_far, at_once = 0, max(1, 2_000_000 // len(values))
    for begin in range(0, flips, at_once):
        signs = generator.integers(0, 2, size=(min(at_once, flips - begin), len(values)), dtype=np.int8) * 2 - 1
        as_far += int((np.abs(signs @ values) >= abs(values.sum()) - 1e-9).sum())
    return (1 + as_far) / (1 + flips)


def left_out(contenders: Sequence[Contender]) -> list[str]:
    """Which contenders are compared with no other, and why."""
    said = []
    failed = [c.name for c in contenders if c.withheld]
    if failed:
        said.append(
            f"Compared with no other, for infrastructure failed more than {percent(MAX_FAILED_SHARE)} of their "
            f"episodes: {', '.join(failed)}."
        )
    panels = dict.fromkeys(c.panel for c in contenders if c.panel)
    if len(panels) > 1:
        said.append(
            "Not all judged the same tasks (hashes of their task panels differ): only those of one panel are compared."
        )
    return said


def told(row: Mapping[str, Any]) -> str:
    """A comparison in a sentence."""
    p = f"{row['test']} p {written_p(row['p_value'])}"
    if row["tests"] > 1:
        p += f", {written_p(row['p_holm'])} after Holm's correction for {row['tests']} comparisons"
    if row["test"] == EXACT:
        sides = f"{row['gained']} tasks won that the other lost, {row['lost']} the other way round"
    else:
        sides = f"better on {row['gained']} tasks, worse on {row['lost']}"
    return (
        f"{row['run']} against {row['against']}, on the same {row['tasks']} tasks: {100 * row['mean']:+.0f} points, "
        f"95 % interval {100 * row['low']:+.0f} to {100 * row['high']:+.0f}; {sides} ({p})."
    )


def pair_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A comparison a row of a page's table, the surest first."""
    return [
        {
            "pair": f"{row['run']} against {row['against']}",
            "points": f"{100 * row['mean']:+.1f}",
            "interval": f"{100 * row['low']:+.0f} to {100 * row['high']:+.0f}",
            "score": _score(row["score"]) if abs(row["score"]["mean"] - row["mean"]) > 1e-9 else "",
            "sides": f"{row['gained']} : {row['lost']}",
            "tasks": row["tasks"],
            "p": p_alone(row["p_value"]),
            "p_holm": p_alone(row["p_holm"]),
            "p_holm_value": row["p_holm"],
            "sure": row["p_holm"] < SMALL_P and (row["low"] > 0 or row["high"] < 0),
            "test": row["test"],
        }
        for row in sorted(rows, key=lambda row: (row["p_holm"], -abs(row["mean"])))
    ]


def _score(score: Mapping[str, float]) -> str:
    if math.isnan(score["mean"]):
        return ""
    return f"{'+' if score['mean'] > 0 else ''}{written(score['mean'])}"


def p_alone(value: float) -> str:
    """`0.03`, or `< 0.001`."""
    return written_p(value).replace("= ", "").replace("below ", "< ")


def pairs_note(rows: Sequence[Mapping[str, Any]]) -> str:
    """What stands under the table of comparisons."""
    tests = sorted({row["test"] for row in rows})
    most = max((row["tests"] for row in rows), default=0)
    corrected = (
        f" p (Holm) is corrected for the {most} comparisons of a panel made at once: only it says how likely any of "
        "them is a false find."
        if most > 1
        else ""
    )
    return (
        "Points of success, the first less the second, paired task by task; 95 % intervals over "
        f"tasks; p by the {' or the '.join(tests)}. Bold: more than chance does, at 5 %.{corrected}"
    )
