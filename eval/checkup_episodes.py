"""Checks of the episodes that judged the policy: how they end, what their turns do, and whether they are enough."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from agentrl.eval.checkup_evidence import Evidence, Finding, Severity, grade, looping_turns, number, of, percent
from agentrl.eval.report_measures import success_interval
from agentrl.types import ENDS

CUT_NOTICE, CUT_WARNING = 0.25, 0.60
"""Share of episodes that end at the turn limit."""
OVERLONG_NOTICE, OVERLONG_WARNING = 0.02, 0.10
"""Share of episodes that end at the context or token limit."""
UNREADABLE_NOTICE, UNREADABLE_WARNING = 0.02, 0.10
REFUSED_NOTICE, REFUSED_WARNING = 0.05, 0.20
"""Shares of the acting turns."""
LOOPING_NOTICE, LOOPING_WARNING = 0.10, 0.30
"""Share of the acting turns that loop."""
FAILURES_WARNING = 0.05
"""Share of episodes that infrastructure failed."""
WIDE_INTERVAL = 0.20
"""Width of the 95 % interval of the last judgement."""


def why_episodes_ended(evidence: Evidence) -> Iterable[Finding]:
    """Episodes that were cut by a limit: of turns, of context, of tokens."""
    scored = {key: t for key, t in evidence.after.items() if ENDS[t.ended].scored}
    if not scored:
        return
    cut = [key for key, t in scored.items() if t.ended == "turn_limit"]
    overlong = [key for key, t in scored.items() if t.ended in ("context_limit", "token_limit")]
    share, limit = len(cut) / len(scored), f" of {evidence.max_turns}" if evidence.max_turns else ""
    earlier = [t for t in evidence.before.values() if ENDS[t.ended].scored]
    was = ""
    if earlier:
        was = f"; before training it was {percent(sum(t.ended == 'turn_limit' for t in earlier) / len(earlier))}"
    severity = grade(share, CUT_NOTICE, CUT_WARNING)
    yield Finding(
        check="turn-limit",
        severity=severity,
        title="Episodes cut at the turn limit" if severity != "good" else "Episodes end by themselves",
        seen=f"{of(len(cut), len(scored), 'episodes')} were cut at the turn limit{limit}{was}.",
        means="A cut episode counts as it stands, which is nearly always as lost: the agent goes in circles, or the "
        "limit is too low for these tasks."
        if severity != "good"
        else "The turn limit is not what holds success back.",
        do="Read one: if it was on its way, raise rollout.max_turns; if it goes in circles, see the looping turns."
        if severity != "good"
        else "",
        episode=cut[0] if cut else "",
        numbers={"share": share, "episodes": len(scored)},
    )
    share = len(overlong) / len(scored)
    if overlong:
        yield Finding(
            check="overlong",
            severity=grade(share, OVERLONG_NOTICE, OVERLONG_WARNING),
            title="Episodes that outgrow the context",
            seen=f"{of(len(overlong), len(scored), 'episodes')} ended because no further token fitted.",
            means="They count as lost, and by default carry no loss: the run does not learn from its longest episodes.",
            do="Raise rollout.max_context, or use a memory that keeps less in view (--memory window).",
            episode=overlong[0],
            numbers={"share": share},
        )


def invalid_turns(evidence: Evidence) -> Iterable[Finding]:
    """Replies that hold no action, and actions that the world refuses."""
    acting = [(key, turn) for key, t in evidence.after.items() for turn in t.turns if turn.kind == "act"]
    if not acting:
        return
    unreadable = [key for key, turn in acting if not turn.readable]
    refused = [key for key, turn in acting if turn.readable and not turn.valid]
    share = len(unreadable) / len(acting)
    severity = grade(share, UNREADABLE_NOTICE, UNREADABLE_WARNING)
    yield Finding(
        check="unreadable",
        severity=severity,
        title="Replies without a readable action" if severity != "good" else "Replies can be read",
        seen=f"{of(len(unreadable), len(acting), 'turns')} held no action that the format could read.",
        means="Each costs a turn and does nothing; the model has not learned, or is losing, the form of a reply."
        if severity != "good"
        else "The model keeps to the form that it is asked for.",
        do="Read one. Too short a rollout.max_new_tokens cuts replies; a warm start (--algo sft) teaches the form; "
        "rollout.constrain=admissible forbids all else where the world lists its actions."
        if severity != "good"
        else "",
        episode=_most(unreadable),
        numbers={"share": share, "turns": len(acting)},
    )
    share = len(refused) / len(acting)
    severity = grade(share, REFUSED_NOTICE, REFUSED_WARNING)
    yield Finding(
        check="refused",
        severity=severity,
        title="Actions that the world refuses" if severity != "good" else "Actions are accepted",
        seen=f"{of(len(refused), len(acting), 'turns')} held an action that the world did not accept.",
        means="The agent asks for what cannot be done where it is; each such turn is lost."
        if severity != "good"
        else "What the agent does can be done.",
        do="Show the admissible actions, keep to them (rollout.constrain=admissible), or charge for refusals "
        "(the part invalid-action-penalty)."
        if severity != "good"
        else "",
        episode=_most(refused),
        numbers={"share": share},
    )


def loops(evidence: Evidence) -> Iterable[Finding]:
    """Turns that give an observation the action that it was given before."""
    acting = sum(turn.kind == "act" for t in evidence.after.values() for turn in t.turns)
    if not acting:
        return
    looping = {key: len(looping_turns(t)) for key, t in evidence.after.items()}
    total, episodes = sum(looping.values()), sum(n > 0 for n in looping.values())
    share = total / acting
    severity = grade(share, LOOPING_NOTICE, LOOPING_WARNING)
    yield Finding(
        check="looping",
        severity=severity,
        title="Going in circles" if severity != "good" else "Few turns go in circles",
        seen=f"{of(total, acting, 'turns')} repeat an action on an observation seen before, "
        f"in {of(episodes, len(looping), 'episodes')}.",
        means="The same situation gets the same answer again: such an episode rarely gets out by itself."
        if severity != "good"
        else "The agent seldom repeats itself.",
        do="See that the memory shows the earlier turns (--memory full); raise the temperature or an entropy bonus; "
        "rollout.patience ends an episode that is stuck."
        if severity != "good"
        else "",
        episode=max(looping, key=lambda key: looping[key]) if total else "",
        numbers={"share": share, "episodes": episodes},
    )


def infrastructure(evidence: Evidence) -> Iterable[Finding]:
    """Episodes that a world, a process or a server failed, and those that needed another try."""
    records = [*evidence.train, *evidence.validations]
    if records:
        episodes, failures, retried = (
            int(sum(v for v in (number(r.get(name)) for r in records) if math.isfinite(v)))
            for name in ("episodes", "infrastructure_failures", "retried")
        )
    else:
        played = evidence.after.values()
        episodes, failures = len(played), sum(ENDS[t.ended].infrastructure for t in played)
        retried = sum(t.tries > 1 for t in played)
    if not episodes:
        return
    last = evidence.after
    failed = [key for key, t in last.items() if ENDS[t.ended].infrastructure]
    severity: Severity = "good" if not failures else grade(failures / episodes, 0.0, FAILURES_WARNING)
    if failed and len(failed) > FAILURES_WARNING * len(last):
        severity = "warning"
    bounds = ""
    if failed:
        won = sum(t.outcome.success for t in last.values() if ENDS[t.ended].scored)
        low, high = won / len(last), (won + len(failed)) / len(last)
        bounds = f" Had they all been lost, or all been won, success would be {percent(low)} or {percent(high)}."
    first = next((str(last[key].failure) for key in failed if last[key].failure), "")
    yield Finding(
        check="infrastructure",
        severity=severity,
        title="Infrastructure failures" if failures else "No infrastructure failure",
        seen=f"{of(failures, episodes, 'episodes')} were ended by the world, its process or the policy's server; "
        f"{retried:,} needed more than one try.{f' The first: {_short(first)}' if first else ''}",
        means="They are in no mean and teach nothing." + bounds if failures else "Every episode that was begun counts.",
        do="Read the reason in the episode; too short a rollout.step_seconds or reset_seconds, or too little memory "
        "for rollout.workers, are the usual ones."
        if failures
        else "",
        episode=failed[0] if failed else "",
        numbers={"episodes": episodes, "failures": failures, "retried": retried},
    )


def how_sure(evidence: Evidence) -> Iterable[Finding]:
    """How wide the interval of the last judgement is."""
    scored = [t for t in evidence.after.values() if ENDS[t.ended].scored]
    if not scored:
        return
    won = sum(t.outcome.success for t in scored)
    low, high = success_interval(scored)
    wide = high - low > WIDE_INTERVAL
    yield Finding(
        check="panel-size",
        severity="notice" if wide else "good",
        title="Few episodes to judge by" if wide else "Enough episodes to judge by",
        seen=f"The last judgement is of {len(scored)} episodes: {percent(won / len(scored))}, and its 95 % interval "
        f"goes from {percent(low)} to {percent(high)}.",
        means="Differences of less than that are within what chance does."
        if wide
        else "Differences larger than that are seen.",
        do="Judge on more tasks: validation.final_tasks, or agentrl eval on the whole split." if wide else "",
        numbers={"low": low, "high": high, "episodes": len(scored)},
    )


def _most(keys: Sequence[str]) -> str:
    """The key that is there most often, the first of equals; empty where there is none."""
    return Counter(keys).most_common(1)[0][0] if keys else ""


def _short(text: str, most: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
