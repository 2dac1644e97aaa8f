"""Checks of the reward: what it leaves open, and whether its parts agree. The numbers are those of policy_cliff."""

from collections.abc import Iterable, Mapping

from agentrl.eval.checkup_evidence import Evidence, Finding, Severity, of, percent
from agentrl.eval.policy_cliff import (
    HELD_OUT,
    PERTURBATION,
    REWEIGHTED,
    Conflict,
    PolicyCliff,
    best_of,
    groups_of,
    policy_cliff,
    tied_strategies,
)
from agentrl.types import Trajectory

TIED_NOTICE = 0.5
"""Share of the groups with a success whose best reward is reached in several ways."""
SPREAD_NOTICE, INVALID_NOTICE = 0.25, 0.05
"""Deviation of turns or tokens among the tied, as a share of their mean; deviation of the share of invalid turns."""
DISAGREE_NOTICE, FLIPS_WARNING = 0.25, 0.10
"""Share of responses that one part raises and another lowers; of pairs whose order a part's weight changes."""


def what_the_reward_leaves_open(evidence: Evidence) -> Iterable[Finding]:
    """Groups whose best reward is reached in several ways that differ in length or in form."""
    episodes = evidence.in_groups
    found = policy_cliff(episodes)
    if found is None or all(t.source == "logged" for t in episodes.values()):  # scores of preferences are no rewards
        return
    share, wide = found.tied / found.solved, _widest(found)
    severity: Severity = "notice" if share > TIED_NOTICE and wide else "good"
    differ = f"; they differ most in {wide}" if wide else ""
    shift = found.shifts["length"].flips
    yield Finding(
        check="reward-ties",
        severity=severity,
        title="The reward leaves the way open" if severity != "good" else "The reward leaves little open",
        seen=f"{of(found.tied, found.solved, 'groups with a success')} reached their best reward in several ways"
        + (f" ({found.strategies:.1f} on average){differ}" if found.tied else "")
        + f". A term of {PERTURBATION:g} for tokens, or against them, would change which are best in {percent(shift)}.",
        means="The reward does not say which of these ways to prefer: chance, another seed or any small term decides "
        "what is learned."
        if severity != "good"
        else "Few groups have several best ways, or the ways hardly differ.",
        do="If the ways are as good as each other, leave it. If not, let the reward say so: the part discounted for "
        "short ways, the part invalid-action-penalty for clean ones. A term of entropy or KL makes the choice gradual."
        if severity != "good"
        else "",
        episode=_longest_tied(episodes) if found.tied else "",
        numbers={"share": share, "groups": found.solved, "strategies": found.strategies, "flips": shift},
    )


def parts_of_the_score(evidence: Evidence) -> Iterable[Finding]:
    """Components of the score that pull against each other within a group."""
    found = policy_cliff(evidence.in_groups)
    conflict = found.components if found else None
    if conflict is None:
        return
    pair, share = max(conflict.disagreement.items(), key=lambda entry: entry[1])
    name, flips = max(conflict.flips.items(), key=lambda entry: entry[1])
    severity: Severity = "warning" if flips > FLIPS_WARNING else "notice" if share > DISAGREE_NOTICE else "good"
    yield Finding(
        check="reward-parts",
        severity=severity,
        title="Parts of the score pull against each other" if severity != "good" else "Parts of the score agree",
        seen=f"{percent(share)} of the responses are raised by one of {pair} and lowered by the other; changing the "
        f"weight of {name} by {percent(REWEIGHTED)} changes the order of {percent(flips)} of the pairs in a group.",
        means="Which response is learned from hangs on weights that were chosen by hand."
        if severity != "good"
        else "The order of responses does not hang on the exact weights.",
        do="Give what must win more weight, by a clear distance; the advantage decomposed gives each part statistics "
        "of its own."
        if severity != "good"
        else "",
        episode=_pulled_apart(evidence, conflict) if severity != "good" else "",
        numbers={"disagreement": share, "flips": flips},
    )


def _widest(found: PolicyCliff) -> str:
    """In which held-out metric tied responses differ most, in words; empty where they hardly do."""
    told = {
        name: spread.deviation / (spread.mean * SPREAD_NOTICE) if spread.mean else 0.0
        for name, spread in found.spread.items()
        if name != "invalid"
    }
    if "invalid" in found.spread:
        told["invalid"] = found.spread["invalid"].deviation / INVALID_NOTICE
    name = max(told, key=lambda key: told[key], default="")
    if not name or told[name] <= 1:
        return ""
    spread = found.spread[name]
    if name == "invalid":
        return f"the share of invalid turns ({percent(spread.mean)} ± {percent(spread.deviation)})"
    return f"{name} ({spread.mean:.1f} ± {spread.deviation:.1f})"


def _longest_tied(episodes: Mapping[str, Trajectory]) -> str:
    """Of the best responses of tied groups, the one that takes most turns above its group's shortest."""
    found = []
    for group in groups_of(episodes):
        if group.success and len(tied_strategies(group.rewards, group.strategies)) > 1:
            turns = {group.keys[at]: HELD_OUT["turns"](episodes[group.keys[at]]) for at in best_of(group.rewards)}
            key = max(turns, key=lambda key: turns[key])
            found.append((turns[key] - min(turns.values()), key))
    return max(found, key=lambda entry: entry[0])[1] if found else ""


def _pulled_apart(evidence: Evidence, conflict: Conflict) -> str:
    """The response on which two components disagree most."""
    episodes = evidence.in_groups
    found = ("", 0.0)
    for group in groups_of(episodes):
        told = [{k: w * episodes[key].outcome.components[k] for k, w in conflict.weights.items()} for key in group.keys]
        means = {name: sum(values[name] for values in told) / len(told) for name in conflict.weights}
        for key, values in zip(group.keys, told, strict=True):
            advantages = [values[name] - means[name] for name in means]
            pull = min(max(advantages), -min(advantages))
            if pull > found[1]:
                found = (key, pull)
    return found[0]
