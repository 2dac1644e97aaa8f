"""The check-up of a run, in words: what is seen, what it means, what to do, and an episode that shows it.

A check is a pure function from `Evidence` to findings; one that has nothing to go by finds nothing. To add one, write
the function and name it in `CHECKS`. Every threshold is a constant here and stands in docs/report.md.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any, Literal

from agentrl.statistics import wilson_interval
from agentrl.types import ENDS, Trajectory

Severity = Literal["good", "notice", "warning"]
SEVERITIES: tuple[Severity, ...] = ("warning", "notice", "good")
"""The gravest first: the order in which findings are shown."""

CUT_NOTICE, CUT_WARNING = 0.25, 0.60
"""Share of episodes that end at the turn limit."""
OVERLONG_NOTICE, OVERLONG_WARNING = 0.02, 0.10
"""Share of episodes that end at the context or token limit."""
UNREADABLE_NOTICE, UNREADABLE_WARNING = 0.02, 0.10
REFUSED_NOTICE, REFUSED_WARNING = 0.05, 0.20
"""Shares of the acting turns."""
LOOPING_NOTICE, LOOPING_WARNING = 0.10, 0.30
"""Share of the acting turns that loop."""
ENTROPY_NOTICE, ENTROPY_WARNING, ENTROPY_RISE = 0.5, 0.2, 2.0
"""Entropy at the end of a run, as a share of that at its beginning."""
SIGNAL_NOTICE, SIGNAL_WARNING = 0.5, 0.2
"""Share of groups whose members differ, at the end of a run."""
SOLVED = 0.9
"""Success of the played episodes from which on a group without signal is one that succeeds."""
DRIFT_NOTICE, DRIFT_WARNING = 1.5, 2.0
"""By how much turns or tokens an episode grow, or shrink, over a run."""
SAMPLER_NOTICE, SAMPLER_WARNING = 1e-3, 1e-1
"""Mean |old - sampled|, in nats a token."""
FAILURES_WARNING = 0.05
"""Share of episodes that infrastructure failed."""
CLIPPED_NOTICE, SPIKE = 0.5, 10.0
"""Share of steps whose gradient was clipped; a gradient's norm as a multiple of the median one."""
SKIPPED_WARNING = 0.2
"""Share of steps that changed nothing."""
WIDE_INTERVAL = 0.20
"""Width of the 95 % interval of the last judgement."""


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


def check_up(evidence: Evidence) -> list[Finding]:
    """Every finding of every check, the gravest first."""
    found = [finding for check in CHECKS for finding in check(evidence)]
    return sorted(found, key=lambda f: SEVERITIES.index(f.severity))


def percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.01 else f"{100 * share:.1f} %"


def of(part: int, whole: int, unit: str) -> str:
    """`18 of 48 episodes (38 %)`."""
    return f"{part:,} of {whole:,} {unit} ({percent(part / whole if whole else 0)})"


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


def entropy(evidence: Evidence) -> Iterable[Finding]:
    """Whether the policy still explores, over the run and by turn."""
    series = evidence.series("entropy")
    first, last = ends_of_run(series)
    if len(series) < 2 or not first > 0:
        return
    ratio = last / first
    falls = [
        (*ends_of_run(evidence.series(name)), name)
        for name in sorted({name for record in evidence.train for name in record if name.startswith("entropy/turn_")})
    ]
    ratios = [(end / start, name) for start, end, name in falls if start > 0]
    where = ""
    if ratios and min(ratios)[0] < 1:
        lowest, name = min(ratios)
        position = int(name.rpartition("_")[2]) + 1
        where = f"; most of all at turn {position}, to {percent(lowest)} of what it was"
    severity: Severity = (
        "warning" if ratio < ENTROPY_WARNING else "notice" if ratio < ENTROPY_NOTICE or ratio > ENTROPY_RISE else "good"
    )
    rises = ratio > ENTROPY_RISE
    yield Finding(
        check="entropy",
        severity=severity,
        title="Entropy rises" if rises else "Entropy collapses" if severity != "good" else "Entropy holds",
        seen=f"The entropy of the policy went from {first:.3f} to {last:.3f} nats a token{where}.",
        means="The policy becomes more random as it learns: it may be unlearning."
        if rises
        else "A policy that is nearly certain plays a task the same way each time: groups lose their signal, and what "
        "has not been found by now will not be."
        if severity != "good"
        else "The policy still tries more than one way.",
        do="Lower trainer.lr or the coefficient of the entropy bonus."
        if rises
        else "Use an entropy term (--algo epo, or the part entropy-bonus), a lower trainer.lr, or stop here."
        if severity != "good"
        else "",
        numbers={"first": first, "last": last, "ratio": ratio},
    )


def groups_without_signal(evidence: Evidence) -> Iterable[Finding]:
    """Groups in which all succeed or all fail: a comparison within them teaches nothing."""
    series = evidence.series("advantage/groups_with_signal")
    if not series:
        return
    first, last = ends_of_run(series)
    severity: Severity = "warning" if last < SIGNAL_WARNING else "notice" if last < SIGNAL_NOTICE else "good"
    solved = ends_of_run(evidence.series("success"))[1] >= SOLVED
    if solved and severity == "warning":
        severity = "notice"
    groups: dict[str, list[str]] = {}
    for key, trajectory in evidence.learned.items():
        if ENDS[trajectory.ended].in_statistics:
            groups.setdefault(trajectory.group, []).append(key)
    alike = [keys for keys in groups.values() if len({evidence.learned[key].outcome.score for key in keys}) == 1]
    yield Finding(
        check="groups",
        severity=severity,
        title="Groups without signal" if severity != "good" else "Groups have signal",
        seen=f"{percent(last)} of the groups had members that differ at the end of the run ({percent(first)} at its "
        "beginning).",
        means="Nearly every episode that is played succeeds: these tasks have little left to teach."
        if severity != "good" and solved
        else "Where all members of a group succeed, or all fail, there is nothing to compare: most of the playing "
        "teaches nothing."
        if severity != "good"
        else "Most of what is played can be learned from.",
        do="Stop here, or play harder tasks."
        if severity != "good" and solved
        else "Play easier tasks or warm the model up, play larger groups (rollout.group_size), or drop such groups "
        "(the part signal)."
        if severity != "good"
        else "",
        episode=alike[0][0] if alike and severity != "good" else "",
        numbers={"first": first, "last": last},
    )


def length_drift(evidence: Evidence) -> Iterable[Finding]:
    """Episodes and replies that grow or shrink over the run, beside what becomes of success."""
    success = ends_of_run(evidence.series("success"))
    worse = success[1] < success[0] - 0.02
    drifted = False
    for name, unit in (("turns", "turns"), ("tokens", "sampled tokens")):
        series = evidence.series(name)
        first, last = ends_of_run(series)
        if len(series) < 2 or not first > 0 or not last > 0:
            continue
        ratio = max(last / first, first / last)
        severity = grade(ratio, DRIFT_NOTICE, DRIFT_WARNING)
        if severity == "good" or (last < first and not worse):
            continue
        drifted, grows = True, last > first
        yield Finding(
            check=f"{name}-drift",
            severity=severity if worse else "notice",
            title=f"Episodes {'grow' if grows else 'shrink'} in {name}",
            seen=f"An episode had {first:.1f} {unit} at the beginning of the run and has {last:.1f} at its end, "
            f"while success of the played episodes went from {percent(success[0])} to {percent(success[1])}.",
            means="Longer and no better is what a reward that does not mind length, or a policy that goes in circles, "
            "looks like."
            if grows
            else "Shorter and worse: it gives up early, or ends an episode before the task is done.",
            do="Read a long episode; see the looping turns; discounted returns (the part discounted) favour short ways."
            if grows
            else "Read a short lost episode, and look for what ended it.",
            episode=_longest(evidence.after) if grows else "",
            numbers={"first": first, "last": last},
        )
    turns = ends_of_run(evidence.series("turns"))
    if not drifted and len(evidence.series("turns")) >= 2:
        yield Finding(
            check="length-drift",
            severity="good",
            title="Lengths are in order",
            seen=f"An episode had {turns[0]:.1f} turns at the beginning of the run and has {turns[1]:.1f} at its end.",
            means="Shorter ways with no less success are found."
            if turns[1] < 0.9 * turns[0]
            else "Episodes do not grow without a reason.",
            numbers={"first": turns[0], "last": turns[1]},
        )


def sampler_and_trainer(evidence: Evidence) -> Iterable[Finding]:
    """How far the log-probs of the engine that samples are from the trainer's, for the same weights."""
    series = evidence.series("sampler_difference/mean")
    if not series:
        return
    step, largest = max(series, key=lambda entry: entry[1])
    severity = grade(largest, SAMPLER_NOTICE, SAMPLER_WARNING)
    yield Finding(
        check="sampler-difference",
        severity=severity,
        title="Sampler and trainer differ" if severity != "good" else "Sampler and trainer agree",
        seen=f"The log-probs of the sampler and of the trainer differ by {largest:.1e} nats a token at most "
        f"(mean of step {step}).",
        means="What is trained on is not quite what was sampled: gradients are biased by it."
        if severity != "good"
        else "What is trained on is what was sampled.",
        do="With another engine or a low precision, add the part engine-correction; with the own sampler in float32, "
        "this is a fault: report it."
        if severity != "good"
        else "",
        numbers={"largest": largest, "step": step},
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


def gradients(evidence: Evidence) -> Iterable[Finding]:
    """Spikes of the gradient's norm, how often it is clipped, and updates without a finite one."""
    present = [r for r in evidence.train if "grad_norm" in r]
    series = evidence.series("grad_norm")
    if not present:
        return
    lost = len(present) - len(series)
    middle = median(value for _, value in series) if series else 0.0
    spikes = [(step, value) for step, value in series if value > SPIKE * middle > 0]
    clipped = sum(value > evidence.max_grad_norm for _, value in series) if evidence.max_grad_norm else 0
    often = bool(series) and clipped > CLIPPED_NOTICE * len(series)
    severity: Severity = "warning" if lost else "notice" if spikes or often else "good"
    parts = [f"The gradient's norm was {middle:.3g} in the middle"]
    if spikes:
        step, value = max(spikes, key=lambda entry: entry[1])
        parts.append(f"more than {SPIKE:.0f} times that in {len(spikes)} steps (most in step {step}: {value:.3g})")
    if evidence.max_grad_norm:
        parts.append(f"and was clipped to {evidence.max_grad_norm:g} in {of(clipped, len(series), 'steps')}")
    if lost:
        parts.append(f"and was not finite in {lost}")
    yield Finding(
        check="gradients",
        severity=severity,
        title="Gradients are not finite"
        if lost
        else "Gradient spikes"
        if spikes
        else "Gradients are mostly clipped"
        if often
        else "Gradients are calm",
        seen=", ".join(parts) + ".",
        means="Updates without a finite gradient are left out: something overflows."
        if lost
        else "A few batches push much harder than the others; clipping holds them, what they teach is doubtful."
        if spikes
        else "Where nearly every step is clipped, trainer.max_grad_norm sets the pace, and trainer.lr says little."
        if often
        else "No step pushes much harder than the others.",
        do="Lower trainer.lr, or take float32."
        if lost
        else "Look at those steps' curves; a lower trainer.lr or larger batches make it calmer."
        if spikes
        else "This is common with small models; if the curve is unsteady, lower trainer.lr."
        if often
        else "",
        numbers={"median": middle, "spikes": len(spikes), "clipped": clipped, "not_finite": lost},
    )


def skipped_updates(evidence: Evidence) -> Iterable[Finding]:
    """Steps that had nothing to learn from."""
    if not evidence.train:
        return
    skipped = [int(r.get("step", 0)) for r in evidence.train if number(r.get("skipped_updates")) > 0]
    severity: Severity = grade(len(skipped) / len(evidence.train), 0.0, SKIPPED_WARNING)
    yield Finding(
        check="skipped",
        severity=severity,
        title="Steps that changed nothing" if skipped else "Every step learned",
        seen=f"{of(len(skipped), len(evidence.train), 'steps')} had nothing to learn from and changed no weight.",
        means="Every group was without signal, was dropped, or failed." if skipped else "No step was in vain.",
        do="See the groups without signal; play more tasks a step (rollout.tasks_per_step)." if skipped else "",
        numbers={"skipped": len(skipped), "steps": len(evidence.train)},
    )


def how_sure(evidence: Evidence) -> Iterable[Finding]:
    """How wide the interval of the last judgement is."""
    scored = [t for t in evidence.after.values() if ENDS[t.ended].scored]
    if not scored:
        return
    won = sum(t.outcome.success for t in scored)
    low, high = wilson_interval(won, len(scored))
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


CHECKS: tuple[Callable[[Evidence], Iterable[Finding]], ...] = (
    why_episodes_ended,
    invalid_turns,
    loops,
    entropy,
    groups_without_signal,
    length_drift,
    sampler_and_trainer,
    infrastructure,
    gradients,
    skipped_updates,
    how_sure,
)
"""Every check, in the order in which findings of one severity are shown."""


def _most(keys: Sequence[str]) -> str:
    """The key that is there most often, the first of equals; empty where there is none."""
    return Counter(keys).most_common(1)[0][0] if keys else ""


def _longest(episodes: Mapping[str, Trajectory]) -> str:
    return max(episodes, key=lambda key: len(episodes[key].turns), default="")


def _short(text: str, most: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
