"""Checks of the steps of a run: what the policy, its groups, its lengths and its gradients become as it learns."""

from collections.abc import Iterable, Mapping
from statistics import median

from agentrl.eval.checkup_evidence import Evidence, Finding, Severity, ends_of_run, grade, number, of, percent
from agentrl.types import ENDS, Trajectory

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
CLIPPED_NOTICE, SPIKE = 0.5, 10.0
"""Share of steps whose gradient was clipped; a gradient's norm as a multiple of the median one."""
SKIPPED_WARNING = 0.2
"""Share of steps that changed nothing."""


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


def _longest(episodes: Mapping[str, Trajectory]) -> str:
    return max(episodes, key=lambda key: len(episodes[key].turns), default="")
