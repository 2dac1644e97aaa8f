"""The tables of the study of preferences, as Markdown, from the results of its runs."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentrl.eval.statistics import bootstrap_interval, paired_difference_interval

Result = Mapping[str, Any]


def mean(of_task: Mapping[str, Sequence[float]]) -> float:
    """Over all replies; 0 of none."""
    values = [value for own in of_task.values() for value in own]
    return statistics.fmean(values) if values else 0.0


def together(results: Iterable[Result], name: str) -> dict[str, list[float]]:
    """Prompt -> the values of every seed."""
    found: dict[str, list[float]] = {}
    for result in results:
        for task, values in result[name].items():
            found.setdefault(task, []).extend(values)
    return found


def by_label(results: Iterable[Result]) -> dict[tuple[str, float | None], list[Result]]:
    """(label, strength) -> its seeds."""
    found: dict[tuple[str, float | None], list[Result]] = {}
    for result in results:
        found.setdefault((result["label"], result["strength"]), []).append(result)
    return found


def with_seeds(results: Sequence[Result], name: str, digits: int = 3) -> str:
    """`0.913 (0.905, 0.915, 0.919)`: the mean, and each seed's own."""
    own = [mean(result[name]) for result in results]
    seeds = f" ({', '.join(f'{value:.{digits}f}' for value in own)})" if len(own) > 1 else ""
    return f"{statistics.fmean(own):.{digits}f}{seeds}"


def objectives_table(before: Result, results: Sequence[Result]) -> str:
    """A row an objective: true reward, its gain with 95 % over prompts, divergence, pairs in order."""
    low, high = bootstrap_interval(before["true"])
    lines = [
        f"True reward before: {mean(before['true']):.3f} [{low:.3f}, {high:.3f}].",
        "",
        "| | true reward | gain [95 %] | KL to the base, nats | pairs in order, % |",
        "|---|---|---|---|---|",
    ]
    for (label, _), runs in by_label(results).items():
        gain = paired_difference_interval(before["true"], together(runs, "true"))
        lines.append(
            f"| `{label}` | {with_seeds(runs, 'true')} | {gain[0]:+.3f} [{gain[1]:+.3f}, {gain[2]:+.3f}] | "
            f"{with_seeds(runs, 'kl', 2)} | {100 * mean(together(runs, 'in_order')):.0f} |"
        )
    notes = dict.fromkeys(f"- `{r['label']}`: {r['note']}." for r in results if r["note"])
    return "\n".join([*lines, "", *notes])


def strengths_table(before: Result, results: Sequence[Result]) -> str:
    """A row a strength of a method: both rewards and the divergence, seeds in brackets."""
    lines = [
        f"Before: true {mean(before['true']):.3f}, proxy {mean(before['proxy']):.3f}.",
        "",
        "| | strength | true reward | [95 %] | proxy | KL to the base, nats |",
        "|---|---|---|---|---|---|",
    ]
    for (label, strength), runs in sorted(by_label(results).items(), key=lambda item: (item[0][0], item[0][1] or 0)):
        low, high = bootstrap_interval(together(runs, "true"))
        lines.append(
            f"| `{label}` | {strength:g} | {with_seeds(runs, 'true')} | [{low:.3f}, {high:.3f}] | "
            f"{with_seeds(runs, 'proxy')} | {with_seeds(runs, 'kl', 2)} |"
        )
    return "\n".join(lines)
