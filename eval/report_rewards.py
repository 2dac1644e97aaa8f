"""What a report shows of the policy cliff: its numbers as rows of words, the same for the page and for Markdown."""

import math
from collections.abc import Sequence

from agentrl.eval.checkup_evidence import of, percent
from agentrl.eval.policy_cliff import MARGIN_EDGES, PERTURBATION, REWEIGHTED, SMALL_MARGIN, PolicyCliff, Spread

Rows = Sequence[tuple[str, str]]
"""(what, its value)."""


def reward_rows(cliff: PolicyCliff | None) -> Rows:
    """What the reward leaves open, a row a number; no rows where nothing is known."""
    if cliff is None:
        return ()
    rows = [
        ("groups with a success", of(cliff.solved, cliff.groups, "groups")),
        ("best reward reached in several ways", of(cliff.tied, cliff.solved, "groups")),
    ]
    if cliff.tied:
        rows.append(("ways at the best reward", f"{cliff.strategies:.2f} (effective number, where several)"))
        names = {"invalid": "share of invalid turns"}
        rows += [(f"{names.get(name, name)} among the best", _spread(name, s)) for name, s in cliff.spread.items()]
    rows.append(("best way before the second best", _margins(cliff)))
    for name, shift in cliff.shifts.items():
        told = ", ".join(_moved(alpha, value, shift.bound[alpha]) for alpha, value in shift.total_variation.items())
        rows.append((f"a term of ±{PERTURBATION:g} for {name}", f"changes the best in {percent(shift.flips)}; {told}"))
    if cliff.components is not None:
        rows += _components(cliff)
    return rows


def _spread(name: str, spread: Spread) -> str:
    written = percent if name == "invalid" else "{:.1f}".format
    return f"{written(spread.mean)} ± {written(spread.deviation)}; they differ in {percent(spread.undecided)} of these"


def _moved(alpha: str, value: float, bound: float) -> str:
    if alpha == "0":
        return f"{percent(value)} hard"
    return f"{percent(value)} at alpha {alpha}" + (f" (at most {percent(bound)})" if bound < 1 else "")


def _margins(cliff: PolicyCliff) -> str:
    names = ["nothing", *(f"up to {edge:g}" for edge in MARGIN_EDGES[1:]), f"over {MARGIN_EDGES[-1]:g}"]
    told = ", ".join(f"{name} in {count}" for name, count in zip(names, cliff.margins, strict=True) if count)
    if math.isnan(cliff.small_margin):
        return "no group has two ways"
    return f"by {told}; {percent(cliff.small_margin)} are at most {SMALL_MARGIN:g}"


def _components(cliff: PolicyCliff) -> Rows:
    conflict = cliff.components
    assert conflict is not None
    rows = [
        (
            f"part {name}",
            f"weight {weight:g}, {percent(conflict.share[name])} of the advantage; a weight {percent(REWEIGHTED)} "
            f"higher or lower changes the order of {percent(conflict.flips[name])} of the pairs",
        )
        for name, weight in conflict.weights.items()
    ]
    for pair, share in conflict.disagreement.items():
        value = conflict.correlation[pair]
        said = "" if math.isnan(value) else f"; correlation {value:.2f}"
        rows.append((f"{pair} against each other", f"{percent(share)} of the responses{said}"))
    return rows
