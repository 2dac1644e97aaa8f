"""Checks of a run that learns from preferences: what becomes of the sides of a pair."""

from collections.abc import Iterable

from agentrl.eval.checkup_evidence import Evidence, Finding, Severity, ends_of_run, percent

DISPLACED_NOTICE, DISPLACED_WARNING = 2.0, 10.0
"""Nats by which the summed log-prob of what is preferred falls over a run."""
LENGTH_NOTICE = 0.25
"""Mean difference of a pair's lengths, as a share of the longer side's, from which on length is what is learned."""
FIT = 0.98
"""Share of the learned pairs in order from which on little is left to learn from them."""


def displaced_likelihood(evidence: Evidence) -> Iterable[Finding]:
    """Whether what is preferred becomes less likely, as well as what is not: likelihood goes where no pair is."""
    chosen, rejected = (evidence.series(f"preference/logp_{side}") for side in ("chosen", "rejected"))
    if len(chosen) < 2 or len(rejected) < 2:
        return
    (first, last), (worse_first, worse_last) = ends_of_run(chosen), ends_of_run(rejected)
    fall = first - last
    severity: Severity = "warning" if fall > DISPLACED_WARNING else "notice" if fall > DISPLACED_NOTICE else "good"
    yield Finding(
        check="displacement",
        severity=severity,
        title="What is preferred becomes less likely" if severity != "good" else "What is preferred stays likely",
        seen=f"The log-prob of the preferred side went from {first:.1f} to {last:.1f} nats, that of the other from "
        f"{worse_first:.1f} to {worse_last:.1f}.",
        means="The gap grows by both sides falling: the policy moves to replies that are in no pair, of which the data "
        "say nothing."
        if severity != "good"
        else "The gap grows without giving up what is preferred.",
        do="Add a likelihood term (--algo rpo), lower trainer.lr, or raise beta." if severity != "good" else "",
        numbers={"first": first, "last": last, "rejected_first": worse_first, "rejected_last": worse_last},
    )


def pairs_in_order(evidence: Evidence) -> Iterable[Finding]:
    """Pairs that are learned from beside those that are held out."""
    learned = evidence.series("preference/accuracy")
    held = [v for v in evidence.validations if isinstance(v.get("pair_accuracy"), float)]
    if len(learned) < 2 or not held:
        return
    _, last = ends_of_run(learned)
    apart = last - held[-1]["pair_accuracy"]
    overfit = last >= FIT and apart > 0.1
    yield Finding(
        check="pairs",
        severity="notice" if overfit else "good",
        title="The pairs are learned by heart" if overfit else "Held-out pairs follow the learned ones",
        seen=f"{percent(last)} of the pairs that are learned from are in order at the end, and "
        f"{percent(held[-1]['pair_accuracy'])} of those that are not.",
        means="Further passes over the data make its own pairs surer and tell nothing of others." if overfit else "",
        do="Stop earlier, or bring more pairs." if overfit else "",
        numbers={"learned": last, "held_out": held[-1]["pair_accuracy"]},
    )


def length_of_pairs(evidence: Evidence) -> Iterable[Finding]:
    """Whether the preferred side is the longer one, or the shorter one, throughout."""
    gaps = [gap for _, gap in evidence.series("pairs/length_gap")]
    sizes = [len(t.turns) and t.num_tokens for t in evidence.learned.values()]
    if not gaps or not any(sizes):
        return
    gap, size = sum(gaps) / len(gaps), sum(sizes) / len(sizes)
    share = abs(gap) / size if size else 0.0
    if share < LENGTH_NOTICE:
        return
    side = "longer" if gap > 0 else "shorter"
    yield Finding(
        check="pair-length",
        severity="notice",
        title=f"The preferred side is the {side} one",
        seen=f"It has {abs(gap):.0f} tokens {'more' if gap > 0 else 'fewer'} on average, of {size:.0f}.",
        means=f"Being {side} is the easiest way to be preferred, whatever is said.",
        do="Balance the data, use an objective that weighs by length (simpo, dpo-norm, ld-dpo), and read replies.",
        numbers={"gap": gap, "tokens": size},
    )
