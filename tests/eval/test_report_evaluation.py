"""The report of an evaluation: what it measures, when it has no headline, its tables, and one that is going on."""

import csv
import io
import json
import re

import pytest

from agentrl.eval.report import write_report
from agentrl.eval.report_csv import cell
from agentrl.eval.report_data import read_run
from agentrl.eval.report_measures import measure
from agentrl.eval.report_summary import summarise
from tests.eval.report_runs import episode, panel, write_evaluation

PRICED = {"prompt_tokens": 100, "cached_tokens": 40, "output_tokens": 10, "reasoning_tokens": 4, "cost": 0.25}


def page_of(folder):
    return write_report(folder).read_text(encoding="utf-8")


def repeated(outcomes):
    """task-0, task-1, ... each with an episode a sign of its outcomes."""
    return [
        episode(f"task-{n}", success=sign == "1", ended="world_failure" if sign == "f" else "done", rollout=rollout)
        for n, signs in enumerate(outcomes)
        for rollout, sign in enumerate(signs)
    ]


def test_repeats_give_pass_at_k_and_pass_hat_k_with_intervals():
    rows = measure(repeated(["1100", "1111", "0000"])).repeats
    assert [row["k"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["pass_at_k"] == rows[0]["pass_hat_k"] == pytest.approx(0.5)  # (2/4 + 1 + 0) / 3
    assert rows[1]["pass_at_k"] == pytest.approx((1 - 1 / 6 + 1 + 0) / 3)
    assert rows[1]["pass_hat_k"] == pytest.approx((1 / 6 + 1 + 0) / 3)
    for row in rows:
        for name in ("pass_at_k", "pass_hat_k"):
            low, high = row[f"{name}_interval"]
            assert 0 <= low <= row[name] <= high <= 1 and low < high


def test_a_task_that_infrastructure_cut_short_counts_up_to_its_own_repeats():
    rows = measure(repeated(["11f", "101", "000"])).repeats
    assert [(row["k"], row["tasks"]) for row in rows] == [(1, 3), (2, 3), (3, 2)]


def test_one_episode_a_task_has_no_pass_at_k():
    assert not measure(panel("1010")).repeats


def test_difficulties_have_rows_and_many_of_them_fifths():
    few = measure([episode(f"t{n}", difficulty=n / 4, success=n < 2) for n in range(5)]).by_difficulty
    assert list(few) == ["0.00", "0.25", "0.50", "0.75", "1.00"] and few["0.25"]["success"] == 1
    many = measure([episode(f"t{n}", difficulty=n / 10) for n in range(11)]).by_difficulty
    assert {name: row["episodes"] for name, row in many.items()} == {
        "0.0 to 0.2": 2,
        "0.2 to 0.4": 2,
        "0.4 to 0.6": 2,
        "0.6 to 0.8": 2,
        "0.8 to 1.0": 3,
    }
    assert measure(panel("11")).by_difficulty == {}
    mixed = measure([episode("a", difficulty=0.5), episode("b")]).by_difficulty
    assert list(mixed) == ["0.50", "not told"]


def test_success_within_turns_rises_to_the_success_and_counts_no_failure():
    played = [episode("a", ["x"] * 2), episode("b", ["x"] * 5), episode("c", ["x"] * 9, success=False)]
    measured = measure([*played, episode("d", ["x"], success=False, ended="policy_failure")])
    assert [(x, y) for x, y, _, _ in measured.within["turns"]] == [(2, 1 / 3), (5, 2 / 3), (9, 2 / 3)]
    assert list(measured.ended_within["turns"]) == [(2, 1 / 3), (5, 2 / 3), (9, 1.0)]
    assert [x for x, _, _, _ in measured.within["tokens"]] == [4, 10, 18]


def test_repeated_turns_are_those_of_the_action_before_and_looping_ones_of_an_observation_too():
    turns = measure([episode("a", ["go", "go", "look", "go"], texts=["here", "there", "here", "here"])]).turns
    assert (turns["acting"], turns["repeated"], turns["looping"]) == (4, 1, 1)
    assert (turns["episodes_with_repeated"], turns["episodes_with_looping"], turns["refused"]) == (1, 1, 0)


def test_more_infrastructure_failures_than_the_stated_share_leave_no_headline(tmp_path):
    folder = write_evaluation(tmp_path / "e", panel("1111100ff"))
    summary = summarise(read_run(folder))
    assert summary.withheld and summary.as_dict()["headline"] is None
    assert summary.verdict[0].startswith("No headline: infrastructure failed 2 of 9 episodes")
    assert "its success would be 56 % or 78 %" in summary.verdict[0]
    page = page_of(folder)
    assert "no headline: 56 % or 78 %" in page and '<p class="big">71 %' not in page
    assert not re.search(r'class="total".{0,200}<b>71 %', page, re.DOTALL)
    assert "no headline" in (folder / "report.md").read_text(encoding="utf-8").lower()


def test_at_the_stated_share_there_is_a_headline_and_the_bounds_stand_beside_it(tmp_path):
    folder = write_evaluation(tmp_path / "e", panel("111110000f"))
    summary = summarise(read_run(folder))
    assert not summary.withheld and summary.as_dict()["headline"] == pytest.approx(5 / 9)
    failures = summary.measured.failures
    assert (failures["all_failed"], failures["all_succeeded"]) == (0.5, 0.6)
    assert "success would be 50 % had they all failed, 60 % had they all succeeded" in page_of(folder)


def test_usage_and_cost_are_told_in_all_an_episode_and_a_success(tmp_path):
    played = [episode(f"t{n}", success=n == 0, used=PRICED) for n in range(2)]  # two turns each
    usage = {"policy": {"cost": 1.25, "currency": "USD", "prices_of": "2025-10-01", "failed": {"429": 3}}}
    folder = write_evaluation(tmp_path / "e", played, usage=usage)
    used = summarise(read_run(folder)).measured.usage
    assert used["tokens"] == {"input": 400, "cached": 160, "output": 40, "reasoning": 16}
    assert (used["cost"], used["cost_an_episode"], used["cost_a_success"]) == (1.0, 0.5, 1.0)
    page = page_of(folder)
    assert "Cost 1.0000 USD, 1.0000 USD a success." in page and "By prices of 2025-10-01." in page
    assert "Calls without a reply: 3 times 429." in page


def test_an_unknown_price_is_said_to_be_unknown_and_never_nothing(tmp_path):
    played = [episode(f"t{n}", used={**PRICED, "cost": None}) for n in range(2)]
    folder = write_evaluation(tmp_path / "e", played, usage={"policy": {"cost": None}})
    used = summarise(read_run(folder)).measured.usage
    assert (used["cost"], used["cost_an_episode"], used["cost_a_success"]) == (None, None, None)
    page = page_of(folder)
    assert "The cost is unknown" in page and "It is not 0." in page
    (row, _) = csv.DictReader(io.StringIO((folder / "episodes.csv").read_text(encoding="utf-8-sig")))
    assert (row["cost"], row["output_tokens"]) == ("", "20")


def test_a_score_that_says_more_than_success_has_its_own_interval(tmp_path):
    played = [episode(f"t{n}", success=n > 7, score=n / 10) for n in range(10)]
    folder = write_evaluation(tmp_path / "e", played)
    row = summarise(read_run(folder)).measured.by_kind["all"]
    low, high = row["score_interval"]
    assert row["score"] == pytest.approx(0.45) and 0.1 < low < 0.4 < 0.5 < high < 0.8
    assert "Mean score 0.45, from" in page_of(folder)


def test_an_evaluation_that_is_going_on_tells_how_far_it_is(tmp_path):
    names = [f"task-{n}" for n in range(8)]
    folder = write_evaluation(tmp_path / "e", panel("110"), panel_of=names, over=False)
    with (folder / "played.jsonl").open("a") as file:
        file.write('{"cut')
    summary = summarise(read_run(folder))
    assert summary.verdict[0] == "Going on: 3 of 8 episodes are over."
    assert summary.judged["going_on"] and summary.after["all"]["successes"] == 2
    assert "1 lines of played.jsonl are damaged" in " ".join(summary.notes)
    assert "Going on: 3 of 8" in page_of(folder)


def test_one_that_has_only_begun_has_a_report_too(tmp_path):
    folder = write_evaluation(tmp_path / "e", [], panel_of=["a", "b"], over=False)
    assert "Going on: 0 of 2 episodes are over." in page_of(folder)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        (" \t=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("\r\n=1", "'=1"),
        ("\uff1d1", "'\uff1d1"),
        ("a=1", "a=1"),
        (-2.5, "-2.5"),
        (None, ""),
        (float("nan"), ""),
        (True, "1"),
        ("a\x00b\ud800", "a\u2400b\ufffd"),
    ],
)
def test_no_cell_of_a_table_is_taken_for_a_formula(text, written):
    assert cell(text) == written


def test_the_tables_hold_a_row_a_type_and_a_row_an_episode(tmp_path):
    played = [
        episode('=cmd("a"),\n"b"', kind="@easy", difficulty=0.5),
        episode("b", ["x", "x"], success=False, ended="turn_limit"),
        episode("c", ended="world_failure", failure="=gone"),
    ]
    folder = write_evaluation(tmp_path / "e", played)
    write_report(folder)
    rows = list(csv.DictReader(io.StringIO((folder / "report.csv").read_text(encoding="utf-8-sig"))))
    assert [(row["by"], row["name"], row["episodes"]) for row in rows[:2]] == [
        ("all", "", "2"),
        ("kind", "'@easy", "1"),
    ]
    assert rows[0]["success"] == "0.5" and rows[-2]["by"] == "difficulty"
    rows = list(csv.DictReader(io.StringIO((folder / "episodes.csv").read_text(encoding="utf-8-sig"))))
    assert [row["task"] for row in rows] == ['\'=cmd("a"), "b"', "b", "c"]
    assert [row["outcome"] for row in rows] == ["won", "lost", "failed"]
    assert (rows[1]["repeated"], rows[2]["failure"], rows[2]["success"]) == ("1", "'=gone", "")


def test_numbers_are_the_same_on_the_page_and_beside_it(tmp_path):
    folder = write_evaluation(tmp_path / "e", repeated(["11", "10", "00"]), repeats=2)
    page = page_of(folder)
    told = json.loads((folder / "report.json").read_text())
    assert told["headline"] == 0.5 and told["measured"]["repeats"][1]["pass_at_k"] == pytest.approx(2 / 3)
    said = "Of 2 episodes of a task, at least one is won in 67 %"
    assert said in page and said in (folder / "report.md").read_text(encoding="utf-8")


def test_thoughts_reports_syntheses_and_use_of_a_turn_are_kept_for_reading():
    from agentrl.eval.report_episodes import episode_to_json

    trajectory = episode("a", ["look", "notes so far", "take"], used={**PRICED, "reasoning": "the lamp, surely"})
    trajectory.turns[1].kind, trajectory.turns[1].action, trajectory.turns[1].report = "summarise", "", "a room, a lamp"
    told = episode_to_json("0-0", trajectory)
    assert told["turns"][0]["t"] == "the lamp, surely" and told["turns"][0]["u"] == "100 read, 10 written, cost 0.25"
    assert told["turns"][1]["k"] == "summarise" and told["turns"][1]["p"] == "a room, a lamp"
    assert told["turns"][1]["r"] == "notes so far"
    assert told["used"] == "30 tokens written, 12 of them reasoning, 300 read (120 cached), cost 0.7500"


def test_the_check_up_counts_repeats_by_their_tasks_as_the_headline_does(tmp_path):
    folder = write_evaluation(tmp_path / "e", repeated(["1111"] * 6 + ["0000"] * 6), repeats=4)
    summary = summarise(read_run(folder))
    (finding,) = [f for f in summary.findings if f.check == "panel-size"]
    assert [finding.numbers["low"], finding.numbers["high"]] == summary.measured.by_kind["all"]["success_interval"]
    assert finding.numbers["high"] - finding.numbers["low"] > 0.4  # 12 tasks, not 48 episodes
