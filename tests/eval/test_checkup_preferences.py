"""Checks of runs on preferences: displaced likelihood, pairs learned by heart, length as the preference."""

import pytest

from agentrl.eval.checkup import check_up
from agentrl.eval.checkup_evidence import Evidence
from tests.eval.report_runs import episode


def steps(**series):
    """Records of the steps, from lists of equal length."""
    rows = zip(*series.values(), strict=True)
    names = [name.replace("__", "/") for name in series]
    return [{"step": step, **dict(zip(names, row, strict=True))} for step, row in enumerate(rows)]


def found(check, **evidence):
    return [finding for finding in check_up(Evidence(**evidence)) if finding.check == check]


@pytest.mark.parametrize(("end", "severity"), [(-19.0, "good"), (-25.0, "notice"), (-60.0, "warning")])
def test_a_preferred_side_that_falls_is_told_by_how_much(end, severity):
    train = steps(preference__logp_chosen=[-20.0, end], preference__logp_rejected=[-20.0, end - 30])
    (finding,) = found("displacement", train=train)
    assert finding.severity == severity and f"from -20.0 to {end:.1f} nats" in finding.seen
    assert ("--algo rpo" in finding.do) == (severity != "good")


@pytest.mark.parametrize(("held", "severity"), [(0.95, "good"), (0.6, "notice")])
def test_pairs_that_are_learned_by_heart_are_told_from_those_that_generalise(held, severity):
    train = steps(preference__accuracy=[0.5, 1.0])
    (finding,) = found("pairs", train=train, validations=[{"step": 2, "pair_accuracy": held}])
    assert finding.severity == severity and finding.numbers == {"learned": 1.0, "held_out": held}


@pytest.mark.parametrize(("gap", "side"), [(3.0, "longer"), (-3.0, "shorter"), (0.1, "")])
def test_a_preference_for_length_is_named(gap, side):
    train, learned = steps(pairs__length_gap=[gap, gap]), {"a": episode(), "b": episode()}
    told = found("pair-length", train=train, learned=learned)
    assert [finding.title for finding in told] == ([f"The preferred side is the {side} one"] if side else [])


def test_a_run_without_preferences_has_none_of_these():
    train = steps(loss=[1.0, 0.5])
    assert not any(found(check, train=train) for check in ("displacement", "pairs", "pair-length"))
