"""The check-up: what it sees in episodes and metrics made by hand, and where its thresholds are."""

import math

import pytest

from agentrl.eval.checkup import check_up
from agentrl.eval.checkup_evidence import SEVERITIES, Evidence, ends_of_run, looping_turns
from tests.eval.report_runs import episode, panel, train_records


def found(evidence, check):
    return next((f for f in check_up(evidence) if f.check == check), None)


def keyed(episodes, step=6):
    return {f"{step}-{number}": t for number, t in enumerate(episodes)}


def test_a_turn_loops_where_an_observation_gets_the_action_that_it_had_before():
    texts = ["hall", "kitchen", "hall", "hall", "hall"]
    actions = ["go", "back", "wait", "go", "go"]
    assert looping_turns(episode(actions=actions, texts=texts)) == [3, 4]
    assert looping_turns(episode(actions=["go"] * 5, texts=[str(n) for n in range(5)])) == []


def test_a_turn_that_writes_a_summary_does_not_loop():
    looping = episode(actions=["note", "note"], texts=["hall", "hall"])
    for turn in looping.turns:
        turn.kind = "summarise"
    assert looping_turns(looping) == []


@pytest.mark.parametrize(("cut", "severity"), [(2, "good"), (3, "notice"), (6, "notice"), (7, "warning")])
def test_episodes_cut_at_the_turn_limit_are_graded_by_their_share(cut, severity):
    after = [episode(f"t{n}", ended="turn_limit" if n < cut else "done", success=n >= cut) for n in range(10)]
    finding = found(Evidence(after=keyed(after), max_turns=30), "turn-limit")
    assert finding.severity == severity and f"{cut} of 10 episodes ({10 * cut} %)" in finding.seen
    assert finding.episode == "6-0" and "limit of 30" in finding.seen
    assert bool(finding.do) == (severity != "good")


def test_unreadable_and_refused_turns_are_told_apart():
    after = [episode("a", ["x"] * 8), episode("b", ["y"], readable=False), episode("c", ["z"], valid=False)]
    evidence = Evidence(after=keyed(after))
    unreadable, refused = found(evidence, "unreadable"), found(evidence, "refused")
    assert unreadable.numbers["share"] == refused.numbers["share"] == 0.1
    assert (unreadable.episode, refused.episode) == ("6-1", "6-2")
    assert (unreadable.severity, refused.severity) == ("notice", "notice")


def test_the_episode_of_a_loop_is_the_one_that_loops_most():
    after = [episode("a", ["x"] * 3, texts=["hall"] * 3), episode("b", ["x"] * 6, texts=["hall"] * 6)]
    finding = found(Evidence(after=keyed(after)), "looping")
    assert finding.severity == "warning" and finding.episode == "6-1"
    assert finding.numbers["share"] == pytest.approx(7 / 9)


@pytest.mark.parametrize(
    ("last", "severity", "title"),
    [(0.9, "good", "holds"), (0.4, "notice", "collapses"), (0.1, "warning", "collapses"), (2.5, "notice", "rises")],
)
def test_entropy_is_judged_by_what_is_left_of_it(last, severity, title):
    train = train_records(5, entropy=[1.0, 0.8, 0.7, 0.6, last], entropy__turn_00=[1.0, 1, 1, 1, last / 2])
    finding = found(Evidence(train=train), "entropy")
    assert finding.severity == severity and title in finding.title
    assert "at turn 1, to" in finding.seen or last > 2


def test_groups_without_signal_are_worse_where_all_fail_than_where_all_succeed():
    signal = {"advantage__groups_with_signal": [0.9, 0.5, 0.3, 0.2, 0.1]}
    lost = found(Evidence(train=train_records(5, success=0.1, **signal)), "groups")
    solved = found(Evidence(train=train_records(5, success=0.95, **signal)), "groups")
    assert (lost.severity, solved.severity) == ("warning", "notice")
    assert "little left to teach" in solved.means and "nothing to compare" in lost.means


def test_a_group_without_signal_is_shown_by_one_of_its_episodes():
    learned = {"t5-0": episode("a"), "t5-1": episode("a"), "t5-2": episode("b"), "t5-3": episode("b", success=False)}
    train = train_records(5, advantage__groups_with_signal=0.1, success=0.2)
    assert found(Evidence(train=train, learned=learned), "groups").episode == "t5-0"


def test_shorter_episodes_are_a_finding_only_where_success_falls():
    turns = [20.0, 18, 15, 12, 8]
    assert (
        found(Evidence(train=train_records(5, turns=turns, success=[0.2, 0.3, 0.4, 0.5, 0.6])), "turns-drift") is None
    )
    worse = found(Evidence(train=train_records(5, turns=turns, success=[0.6, 0.5, 0.4, 0.3, 0.2])), "turns-drift")
    assert worse.severity == "warning" and "shrink" in worse.title


def test_a_difference_of_sampler_and_trainer_is_graded():
    for value, severity in ((1e-7, "good"), (5e-3, "notice"), (0.5, "warning")):
        train = train_records(2, sampler_difference__mean=[1e-8, value])
        assert found(Evidence(train=train), "sampler-difference").severity == severity


def test_infrastructure_failures_come_with_the_bounds_that_they_imply():
    after = panel("1100f0f0")
    after[4].failure = "the world hung </script>"
    finding = found(Evidence(after=keyed(after)), "infrastructure")
    assert finding.severity == "warning" and finding.episode == "6-4"
    assert "25 % or 50 %" in finding.means and "the world hung" in finding.seen


def test_gradients_that_spike_are_clipped_or_are_not_finite_are_found():
    calm = train_records(9, grad_norm=0.1)
    assert found(Evidence(train=calm, max_grad_norm=1.0), "gradients").severity == "good"
    spiked = found(Evidence(train=train_records(9, grad_norm=[0.1] * 8 + [2.0])), "gradients")
    assert spiked.severity == "notice" and "step 9" in spiked.seen
    clipped = found(Evidence(train=calm, max_grad_norm=0.05), "gradients")
    assert clipped.severity == "notice" and clipped.numbers["clipped"] == 9
    lost = found(Evidence(train=train_records(2, grad_norm=[0.1, None])), "gradients")
    assert lost.severity == "warning" and lost.numbers["not_finite"] == 1


def test_skipped_updates_are_counted():
    train = train_records(4, success=0.5)
    train[1]["skipped_updates"] = 1.0
    finding = found(Evidence(train=train), "skipped")
    assert finding.severity == "warning" and "1 of 4 steps (25 %)" in finding.seen


def test_a_wide_interval_asks_for_more_tasks():
    assert found(Evidence(after=keyed(panel("1010"))), "panel-size").severity == "notice"
    assert found(Evidence(after=keyed(panel("10" * 100))), "panel-size").severity == "good"


def test_nothing_to_go_by_is_no_finding():
    assert check_up(Evidence()) == []
    assert check_up(Evidence(train=[{"kind": "train", "step": 1, "entropy": "high", "turns": None}])) != []


def test_the_gravest_findings_stand_first():
    order = [SEVERITIES.index(f.severity) for f in check_up(Evidence(after=keyed(panel("0f0f10"))))]
    assert order == sorted(order) and len(order) > 3


def test_the_ends_of_a_run_are_its_first_and_last_fifth():
    assert ends_of_run([(n, float(n)) for n in range(10)]) == (0.5, 8.5)
    assert ends_of_run([(0, 3.0)]) == (3.0, 3.0)
    assert all(math.isnan(v) for v in ends_of_run([]))
