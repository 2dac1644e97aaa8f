"""The numbers of a report, once: what its page, its Markdown and its JSON all say."""

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from agentrl.eval.checkup import check_up
from agentrl.eval.checkup_evidence import Evidence, Finding, number, percent
from agentrl.eval.policy_cliff import PolicyCliff, policy_cliff
from agentrl.eval.report_charts import written
from agentrl.eval.report_data import Episodes, RunRecord, lookup
from agentrl.eval.report_episodes import Pair, examples, pairs, visible
from agentrl.eval.report_measures import MAX_FAILED_SHARE, Measured, measure, told_repeats
from agentrl.eval.statistics import paired_difference_interval
from agentrl.statistics import TOTAL, Tally, tally_by_kind
from agentrl.types import ENDS

REPORT_SCHEMA = 1
"""Of report.json."""

SAMPLED_GAIN = 0.05
"""Gain of the sampled policy from which on the greedy one's is looked at beside it."""

GREEDY = "greedy"
"""The row of a validation's tally that counts the greedy policy's episodes."""

MEASURES = (
    "episodes",
    "successes",
    "success",
    "success_interval",
    "score",
    "score_interval",
    "turns",
    "tokens",
    "invalid_rate",
    "failures",
)
"""What is told of a tally, by its names in results.json."""

Measure = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a report says of one run."""

    head: Mapping[str, Any]
    """What was run, when, on what: name, algo, env, model, seed, versions, hardware, seconds."""
    before: Mapping[str, Measure] = field(default_factory=dict)
    """task kind -> measures before the first step; `all` is every episode, `greedy` the greedy policy's."""
    after: Mapping[str, Measure] = field(default_factory=dict)
    """The same of the last judgement, or of an evaluation."""
    judged: Mapping[str, Any] = field(default_factory=dict)
    """How: split, panel, temperature, the steps of both judgements, whether on the same tasks."""
    difference: Mapping[str, Any] = field(default_factory=dict)
    """after - before on the tasks that both played: interval, and how many tasks changed sides."""
    verdict: Sequence[str] = ()
    """The headline in words."""
    findings: Sequence[Finding] = ()
    cliff: PolicyCliff | None = None
    """What the reward leaves open, by the groups of the last step or of an evaluation; None without such groups."""
    pairs: Sequence[Pair] = ()
    examples: Sequence[Pair] = ()
    curve: Sequence[Mapping[str, Any]] = ()
    """A row a judgement: step, panel, sampled and greedy measures."""
    measured: Measured = field(default_factory=Measured)
    """What the episodes of the last judgement, or of the evaluation, measure."""
    notes: Sequence[str] = ()

    @property
    def withheld(self) -> bool:
        """Did infrastructure fail so many episodes that no headline is given."""
        return any(_failed_share(side.get(TOTAL)) > MAX_FAILED_SHARE for side in (self.before, self.after))

    def as_dict(self) -> dict[str, Any]:
        """For report.json."""
        after = self.after.get(TOTAL) or {}
        return {
            "schema": REPORT_SCHEMA,
            "headline": None if self.withheld else after.get("success"),
            "withheld": self.withheld,
            **asdict(self),
        }


def summarise(record: RunRecord) -> Summary:
    """Everything that a report says of a run, pictures and single episodes apart."""
    steps = sorted(record.judged)
    last_judged = record.judged[steps[-1]] if steps else {}
    if record.is_evaluation:
        return _of_evaluation(record, last_judged)
    first, last = _ends(record.validations)
    before_played = record.judged.get(int(first["step"]), {}) if first else {}
    after_played = record.judged.get(int(last["step"]), {}) if last else {}
    before, after = _tallies(first), _tallies(last)
    same = first is not None and last is not None and first.get("panel") == last.get("panel")
    notes = list(record.notes)
    if first and last and not same:
        before, after, said = _on_common_tasks(before_played, after_played, before, after)
        notes.append(said)
        same = said == _SAME_TASKS
    found = pairs(before_played, after_played) if last is not first else []
    evidence = _evidence(record, before_played if last is not first else {}, after_played or last_judged)
    summary = Summary(
        head=head_of(record),
        before=before if last is not first else {},
        after=after,
        judged=_judged_run(record, first, last, [*after_played.values(), *before_played.values()], same),
        difference=_difference(before_played, after_played, found),
        findings=check_up(evidence),
        cliff=policy_cliff(evidence.in_groups),
        pairs=found,
        examples=examples(found, before_played, after_played),
        curve=[_point(v) for v in record.validations],
        measured=measure(after_played.values()),
        notes=notes,
    )
    return _with_verdict(summary)


def _of_evaluation(record: RunRecord, played: Episodes) -> Summary:
    """Of an evaluation, finished or going on: its counts as results.json has them, where it is there."""
    evidence = _evidence(record, {}, played)
    measured = measure(played.values(), record.results.get("usage"))
    told = record.results.get("by_kind") or {}
    if told and played:  # the same intervals as in the terminal
        known = {k: {"success_interval": told[k]["success_interval"]} for k in told if "success_interval" in told[k]}
        measured = replace(measured, by_kind={k: {**row, **known.get(k, {})} for k, row in measured.by_kind.items()})
    return _with_verdict(
        Summary(
            head=head_of(record),
            after={kind: _told(row) for kind, row in (measured.by_kind if played else told).items()},
            judged=_judged_evaluation(record, played),
            findings=check_up(evidence),
            cliff=policy_cliff(evidence.in_groups),
            measured=measured,
            notes=record.notes,
        )
    )


def head_of(record: RunRecord) -> dict[str, Any]:
    """What was run, when, how long, and on what; what is not known is None."""
    starts = [s for s in record.meta.get("starts") or [] if isinstance(s, Mapping)]
    start = starts[-1] if starts else {}
    done = int(record.train[-1]["step"]) if record.train else 0
    model = record.setting("model.name", "")
    seconds = _seconds(record)
    return {
        "name": record.name,
        "path": str(record.path),
        "kind": "evaluation" if record.is_evaluation else "training",
        "algo": None if record.is_evaluation else record.setting("algo"),
        "env": record.setting("env"),
        "model": Path(str(model)).name or None,
        "policy": record.results.get("policy") or _asked_policy(record),
        "seed": record.setting("seed", record.meta.get("seed")),
        "steps_done": done,
        "steps": record.setting("trainer.steps", done) if not record.is_evaluation else 0,
        "started": starts[0].get("time") if starts else None,
        "starts": len(starts),
        "command": [str(word) for word in start.get("command") or []],
        "commit": lookup(start, "environment.git.commit"),
        "changed": bool(lookup(start, "environment.git.changed", False)),
        "versions": dict(lookup(start, "environment.versions") or {}),
        "hardware": dict(lookup(start, "environment.hardware") or {}),
        "threads": start.get("threads"),
        "seconds": seconds,
        "going_on": record.going_on,
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _asked_policy(record: RunRecord) -> str | None:
    """Who plays, of an evaluation that is not over."""
    return lookup(record.meta, "evaluation.model") or lookup(record.meta, "evaluation.policy") or None


def _seconds(record: RunRecord) -> dict[str, float]:
    """Working time by what it went into; waiting between a stop and a resume is in none."""

    def total(records: Iterable[Mapping[str, Any]], name: str) -> float:
        return sum(v for v in (number(r.get(name)) for r in records) if math.isfinite(v))

    if record.is_evaluation:
        return {"playing": number(record.results.get("seconds", record.seconds))}
    return {
        "playing": total(record.train, "seconds/rollout"),
        "learning": total(record.train, "seconds/update"),
        "judging": total(record.validations, "seconds"),
    }


def _ends(validations: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """The judgement before the first step, and the last one; the first is None where it was not made."""
    judged = [v for v in validations if isinstance(v.get("tally"), Mapping)]
    if not judged:
        return None, None
    return (judged[0] if judged[0]["step"] == 0 else None), judged[-1]


def _tallies(validation: Mapping[str, Any] | None) -> dict[str, Measure]:
    if validation is None:
        return {}
    found = {}
    for kind, counts in validation["tally"].items():
        try:
            found[str(kind)] = _told(Tally(**counts).as_dict())
        except (TypeError, ValueError):  # of another version: what cannot be read is left out
            continue
    return found


def _told(measures: Mapping[str, Any]) -> Measure:
    return {name: measures.get(name) for name in MEASURES}


_SAME_TASKS = (
    "The first and the last judgement were not of the same panel; before and after are of the tasks that both played."
)


def _on_common_tasks(
    first: Episodes, last: Episodes, before: dict[str, Measure], after: dict[str, Measure]
) -> tuple[dict[str, Measure], dict[str, Measure], str]:
    common = {t.task.id for t in first.values()} & {t.task.id for t in last.values()}
    if not common:
        return (
            before,
            after,
            "The first and the last judgement were not of the same tasks: do not take one from the other.",
        )

    def of(episodes: Episodes) -> dict[str, Measure]:
        counts = tally_by_kind(t for t in episodes.values() if t.task.id in common)
        return {kind: _told(tally.as_dict()) for kind, tally in counts.items()}

    return of(first), of(last), _SAME_TASKS


def _point(validation: Mapping[str, Any]) -> dict[str, Any]:
    tallies = _tallies(validation if isinstance(validation.get("tally"), Mapping) else None)
    return {
        "step": validation["step"],
        "panel": validation.get("panel"),
        "sampled": tallies.get(TOTAL),
        "greedy": tallies.get(GREEDY),
        **{name: validation.get(name) for name in ("turns", "tokens", "score", "invalid_rate", "unreadable_rate")},
    }


def _judged_run(
    record: RunRecord,
    first: Mapping[str, Any] | None,
    last: Mapping[str, Any] | None,
    played: Sequence[Any],
    same: bool,
) -> dict[str, Any]:
    split = record.setting("validation.split", "auto")
    return {
        "split": next((t.task.split for t in played), split if split != "auto" else None),
        "panel": last.get("panel") if last else None,
        "temperature": record.setting("validation.temperature"),
        "before_step": first["step"] if first else None,
        "after_step": last["step"] if last else None,
        "same_tasks": same,
        "interval_by": "wilson",
        "by_pairs": last is not None and "pair_accuracy" in last and "success" not in last,
    }


def _judged_evaluation(record: RunRecord, played: Episodes) -> dict[str, Any]:
    results = record.results
    some = next(iter(played.values()), None)
    repeats = max(Counter(t.task.id for t in played.values()).values(), default=1)
    return {
        "split": results.get("split", some.task.split if some else None),
        "panel": results.get("panel", lookup(record.meta, "evaluation.panel")),
        "temperature": lookup(results, "settings.temperature", record.setting("rollout.temperature")),
        "repeats": lookup(results, "settings.repeats", repeats),
        "before_step": None,
        "after_step": 0,
        "same_tasks": False,
        "interval_by": results.get("interval_by", "wilson" if repeats == 1 else "Wilson over tasks"),
        "going_on": record.going_on,
        "planned": planned(record),
    }


def planned(record: RunRecord) -> int:
    """Episodes that an evaluation is to play in all; 0 where that is not known."""
    tasks, repeats = (lookup(record.meta, f"evaluation.{name}") for name in ("tasks", "repeats"))
    return tasks * repeats if isinstance(tasks, int) and isinstance(repeats, int) else 0


def difference_of(before: Episodes, after: Episodes) -> dict[str, Any]:
    """after - before over the tasks of which both have a scored episode, with its 95 % interval over tasks.

    Empty where they share no task. Episodes of one task are averaged first.
    """
    values: list[dict[str, list[float]]] = [{}, {}]
    for of_task, episodes in zip(values, (before, after), strict=True):
        for trajectory in episodes.values():
            if ENDS[trajectory.ended].scored:
                of_task.setdefault(trajectory.task.id, []).append(float(trajectory.outcome.success))
    tasks = len(values[0].keys() & values[1].keys())
    if not tasks:
        return {}
    mean, low, high = paired_difference_interval(*values)
    return {"tasks": tasks, "mean": mean, "low": low, "high": high, "interval_by": "over tasks"}


def _difference(before: Episodes, after: Episodes, found: Sequence[Pair]) -> dict[str, Any]:
    if not found:
        return {}
    return {**difference_of(before, after), **_sides(found)}


def sign_of_tasks(before: Episodes, after: Episodes) -> dict[str, Any]:
    """How many tasks changed sides between two judgements, and how likely chance alone makes that."""
    return _sides(pairs(before, after))


def _sides(found: Sequence[Pair]) -> dict[str, Any]:
    counts = {what: sum(pair.what == what for pair in found) for what in ("gained", "lost", "kept", "never")}
    return {**counts, "p_value": sign_test(counts["gained"], counts["lost"])}


def sign_test(gained: int, lost: int) -> float:
    """Two-sided exact sign test on the tasks that changed sides (McNemar's exact test): could it be chance?

        p = min(1, 2 * sum_{k <= min(gained, lost)} C(n, k) / 2^n)      with n = gained + lost

    Source: McNemar (1947), in its exact form. 1 where no task changed sides.
    """
    changed = gained + lost
    if not changed:
        return 1.0
    return min(1.0, 2 * sum(math.comb(changed, k) for k in range(min(gained, lost) + 1)) / 2**changed)


def _evidence(record: RunRecord, before: Episodes, after: Episodes) -> Evidence:
    return Evidence(
        train=record.train,
        validations=record.validations,
        before=before,
        after=after,
        learned=record.learned,
        max_turns=_whole(record.setting("rollout.max_turns")),
        max_grad_norm=0.0 if math.isnan(norm := number(record.setting("trainer.max_grad_norm"))) else norm,
    )


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _failed_share(measure: Measure | None) -> float:
    """Of all that was played, what infrastructure failed."""
    failures = (measure or {}).get("failures") or 0
    played = failures + ((measure or {}).get("episodes") or 0)
    return failures / played if played else 0.0


# ---- in words


def written_interval(measure: Measure) -> str:
    """`38 to 66 %`; empty of no episode."""
    if not measure.get("episodes") or not measure.get("success_interval"):
        return ""
    low, high = measure["success_interval"]
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def written_success(measure: Measure | None) -> str:
    if not measure or measure.get("success") is None:
        return "-"
    return percent(measure["success"])


def _with_verdict(summary: Summary) -> Summary:
    return replace(summary, verdict=tuple(_verdict(summary)))


def _verdict(summary: Summary) -> Iterable[str]:
    after, before = summary.after.get(TOTAL), summary.before.get(TOTAL)
    if summary.judged.get("going_on"):
        yield _progress(summary, after)
    if not after or not after.get("episodes"):
        if after and after.get("failures"):
            yield (
                f"All {after['failures']} episodes of the last judgement were ended by infrastructure failures: "
                "nothing can be said about the policy."
            )
        elif not summary.judged.get("going_on"):
            yield "Nothing was judged yet: there is no success to tell."
        return
    unfinished = summary.head["steps_done"] < (summary.head["steps"] or 0)
    if unfinished:
        yield f"The run has {summary.head['steps_done']} of {summary.head['steps']} steps behind it."
    if summary.withheld:
        yield _no_headline(summary)
        return
    if before and before.get("episodes"):
        yield from _change(summary, before, after)
    elif summary.head["kind"] == "training":
        if summary.judged.get("by_pairs"):
            yield "At the beginning the policy is its own reference and orders nothing."
        else:
            yield "Nothing was judged before the first step: what was learned cannot be told from what was there."
    else:
        yield from _measured_in_words(summary, after)
    failures = sum(m.get("failures") or 0 for m in (before, after) if m)
    if failures:
        yield (
            f"{failures} episode{'s' if failures > 1 else ''} ended by infrastructure failures, and in no mean; had "
            f"those of the last judgement all been lost, or all been won, its success would be {bounds(after)}."
        )


def _progress(summary: Summary, measure: Measure | None) -> str:
    done, of_all = played_of(measure), summary.judged.get("planned")
    return f"Going on: {done:,}{f' of {of_all:,}' if of_all else ''} episodes are over."


def played_of(measure: Measure | None) -> int:
    """Episodes that are over, those that infrastructure failed included."""
    return ((measure or {}).get("episodes") or 0) + ((measure or {}).get("failures") or 0)


def _no_headline(summary: Summary) -> str:
    sides = [side.get(TOTAL) or {} for side in (summary.after, summary.before)]
    worst = max(sides, key=_failed_share)
    which = "the last" if worst is sides[0] else "the first"
    return (
        f"No headline: infrastructure failed {worst['failures']:,} of {played_of(worst):,} episodes of {which} "
        f"judgement ({percent(_failed_share(worst))}), more than the {percent(MAX_FAILED_SHARE)} up to which what is "
        f"left stands for the panel. Had they all been lost, or all been won, its success would be {bounds(worst)}."
    )


def _measured_in_words(summary: Summary, after: Measure) -> Iterable[str]:
    """An evaluation's other numbers: the score where it is not the success, repeats, and the cost."""
    measured = summary.measured
    interval, score = after.get("score_interval"), after.get("score")
    if interval and score is not None and abs(score - after["success"]) > 1e-9:
        yield f"Mean score {written(score)}, from {written(interval[0])} to {written(interval[1])}."
    last = told_repeats(measured)
    if last is not None:
        (low, high), (low_all, high_all) = last["pass_at_k_interval"], last["pass_hat_k_interval"]
        yield (
            f"Of {last['k']} episodes of a task, at least one is won in {percent(last['pass_at_k'])} "
            f"({100 * low:.0f} to {100 * high:.0f} %), all in {percent(last['pass_hat_k'])} "
            f"({100 * low_all:.0f} to {100 * high_all:.0f} %)."
        )
    usage = measured.usage
    if usage.get("from_api"):
        each = usage.get("cost_a_success")
        yield (
            f"Cost {money(usage.get('cost'), usage)}"
            + (f", {money(each, usage)} a success." if each is not None else ".")
        )


def money(value: Any, usage: Mapping[str, Any]) -> str:
    """`0.0123 USD`; an unknown price is said to be unknown."""
    if value is None:
        return "unknown: the price is in no file of prices"
    return f"{value:,.{2 if value >= 10 else 4}f} {usage.get('currency') or ''}".strip()


def _change(summary: Summary, before: Measure, after: Measure) -> Iterable[str]:
    """What the two judgements say: by the tasks that both played, where their episodes are there, else by intervals."""
    (low, high), (low_after, high_after) = before["success_interval"], after["success_interval"]
    apart = low_after > high or high_after < low
    overlap = "The two intervals do not overlap." if apart else "The two intervals overlap."
    found = summary.difference
    if not found:
        yield overlap
        return
    points, changed = 100 * found["mean"], found["gained"] + found["lost"]
    sure = (found["low"] > 0 or found["high"] < 0) and found["p_value"] < 0.05
    if not changed:
        yield "No task changed sides."
    elif sure:
        yield f"{'Better' if points > 0 else 'Worse'} by {abs(points):.0f} points: more than chance does."
    else:
        yield f"{points:+.0f} points: that is no more than chance does. Judge on more tasks before you believe it."
    yield (
        f"{overlap} Task by task, which tells more: {found['gained']} that were lost before are won now, "
        f"{found['lost']} the other way round; {found['kept']} were won and {found['never']} lost both times."
    )
    yield (
        f"The difference on the same {found['tasks']} tasks has a 95 % interval from {100 * found['low']:+.0f} to "
        f"{100 * found['high']:+.0f} points; exact sign test p {written_p(found['p_value'])}."
    )
    yield from _greedy_beside(summary, after["success"] - before["success"])


def _greedy_beside(summary: Summary, gain: float) -> Iterable[str]:
    """Where the greedy policy gains much less than the sampled one: it samples better what it knew already."""
    measures = [side.get(GREEDY) or {} for side in (summary.before, summary.after)]
    if gain < SAMPLED_GAIN or any(not m.get("episodes") for m in measures):
        return
    first, last = (m["success"] for m in measures)
    if last - first < gain / 2:
        yield (
            f"The greedy policy went from {percent(first)} to {percent(last)}: much of the gain is that it samples "
            "more often what it already held for best."
        )


def bounds(measure: Measure) -> str:
    """Success had all failed episodes been lost, or won: `40 % or 60 %`."""
    played = measure["episodes"] + measure["failures"]
    return (
        f"{percent(measure['successes'] / played)} or {percent((measure['successes'] + measure['failures']) / played)}"
    )


def written_p(value: float) -> str:
    """A p-value after its `p`: `= 0.03`, `below 0.001`."""
    return f"= {value:.2f}" if value >= 0.01 else f"= {value:.3f}" if value >= 0.001 else "below 0.001"


def duration(seconds: float) -> str:
    """`3 min 12 s`; empty where it is not known."""
    if not math.isfinite(seconds) or seconds <= 0:
        return ""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60) if seconds >= 600 else int(seconds // 60)
    if seconds < 600:
        return f"{minutes} min {int(seconds % 60)} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def title_of(head: Mapping[str, Any]) -> str:
    """`epo on alfworld`, or `tiny on alfworld` of an evaluation."""
    who = head["algo"] if head["kind"] == "training" else head["policy"]
    return visible(f"{who or 'a policy'} on {head['env'] or 'a world'}", 200)
