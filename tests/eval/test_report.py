"""The report of a run: its numbers, its words, its page's safety, and runs that are unfinished, damaged or compared."""

import base64
import gzip
import json
import re

import pytest

from agentrl.cli.main import main
from agentrl.errors import DataError
from agentrl.eval.report import report_line, write_comparison, write_report
from agentrl.eval.report_charts import Chart, Series, draw, written
from agentrl.eval.report_curves import metric_charts, thinned
from agentrl.eval.report_data import read_run
from agentrl.eval.report_episodes import examples, pack, pairs, visible
from agentrl.eval.report_summary import sign_test, summarise
from tests.eval.report_runs import episode, panel, train_records, write_run

HOSTILE = [
    "</script><script>document.title='run'</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% for x in y %}",
    "<!--<script>",
    "\x00\x1b[31m\u202egnp.exe\ud800",
    "&lt;b&gt; ' \" ` \\u003c",
    "javascript:alert(1)",
]


def hostile_run(folder):
    text = "\n".join(HOSTILE)
    played = [
        episode(
            f"{HOSTILE[n % 4]} {n}",
            [f"{text} {k}" for k in range(3)],
            success=n % 3 == 0,
            seen=text,
            kind=HOSTILE[n % 2],
            ended="world_failure" if n == 5 else "done",
            failure=text if n == 5 else None,
            split=HOSTILE[0],
        )
        for n in range(12)
    ]
    again = [episode(t.task.id, ["x"], success=not t.outcome.success, kind=t.task.kind) for t in played]
    settings = {"env": HOSTILE[0], "algo": HOSTILE[1], "model": {"name": HOSTILE[0]}}
    return write_run(folder, {0: again, 2: played}, train_records(2, success=0.5), settings=settings)


@pytest.fixture
def run(tmp_path):
    train = train_records(
        4, success=[0.2, 0.4, 0.6, 0.8], entropy=[1.0, 0.9, 0.8, 0.7], turns=2.0, grad_norm=0.1, unheard_of=[1, 2, 3, 4]
    )
    judged = {0: panel("0000000110"), 2: panel("0101000110"), 4: panel("1111110100")}
    return write_run(tmp_path / "run", judged, train, greedy=panel("11110"))


def test_before_and_after_carry_their_wilson_intervals(run):
    summary = summarise(read_run(run))
    assert (summary.before["all"]["successes"], summary.after["all"]["successes"]) == (2, 7)
    low, high = summary.after["all"]["success_interval"]
    assert (low, high) == (pytest.approx(0.3968, abs=1e-4), pytest.approx(0.8922, abs=1e-4))  # Wilson, 7 of 10
    assert summary.after["greedy"]["successes"] == 4
    assert summary.judged["split"] == "valid" and summary.judged["same_tasks"]


def test_the_verdict_pairs_the_tasks_and_does_not_hide_chance(run):
    summary = summarise(read_run(run))
    found = summary.difference
    assert (found["gained"], found["lost"], found["kept"], found["never"]) == (6, 1, 1, 2)
    assert found["p_value"] == pytest.approx(2 * (1 + 7) / 2**7)
    assert "no more than chance" in summary.verdict[0] and "overlap" in summary.verdict[1]


def test_the_sign_test_is_the_binomial_tail():
    assert sign_test(0, 0) == 1 and sign_test(3, 3) == 1
    assert sign_test(10, 0) == sign_test(0, 10) == pytest.approx(2 / 2**10)


def test_examples_are_one_gained_one_lost_and_one_kept():
    before = {f"0-{n}": t for n, t in enumerate(panel("01011"))}
    after = {f"4-{n}": t for n, t in enumerate(panel("10011"))}
    chosen = examples(pairs(before, after), before, after)
    assert [(p.what, p.before) for p in chosen] == [("gained", "0-0"), ("lost", "0-1"), ("kept", "0-3")]


def test_where_nothing_was_lost_a_task_that_is_lost_both_times_is_shown():
    before, after = {"0-0": episode("a", success=False)}, {"4-0": episode("a", success=False)}
    assert [p.what for p in examples(pairs(before, after), before, after)] == ["never"]


def test_infrastructure_failures_are_in_no_pair():
    assert pairs({"0-0": panel("f")[0]}, {"4-0": panel("1")[0]}) == []


def test_a_report_says_the_same_in_html_markdown_and_json(run):
    page = write_report(run).read_text(encoding="utf-8")
    markdown = (run / "report.md").read_text(encoding="utf-8")
    numbers = json.loads((run / "report.json").read_text(encoding="utf-8"))
    for text in (page, markdown):
        assert "grpo on guess" in text and "70 %" in text and "40 to 89 %" in text and "Check-up" in text
    assert numbers["after"]["all"]["success"] == pytest.approx(0.7) and numbers["schema"] == 1
    assert all(sentence in markdown for sentence in numbers["verdict"])
    assert [f["title"] for f in numbers["findings"]] == [f.title for f in summarise(read_run(run)).findings]
    assert "unheard_of" in page and "Lost before, won after" in page


def test_what_the_reward_leaves_open_is_in_all_three(tmp_path):
    learned = [episode("task-0", ["look"] * 2), episode("task-0", ["look"] * 9)]
    run = write_run(tmp_path / "run", {0: panel("10")}, train_records(1, success=0.5), learned=learned)
    page = write_report(run).read_text(encoding="utf-8")
    numbers = json.loads((run / "report.json").read_text(encoding="utf-8"))["cliff"]
    assert (numbers["solved"], numbers["tied"], numbers["spread"]["turns"]["mean"]) == (1, 1, 5.5)
    assert numbers["shifts"]["length"]["bound"]["0"] is None  # infinite, which JSON does not have
    for text in (page, (run / "report.md").read_text(encoding="utf-8")):
        assert "turns among the best" in text and "5.5 ± 3.5" in text and "50 % hard" in text
    plain = write_run(tmp_path / "plain", {0: panel("10")}, train_records(1, success=0.5))
    assert 'id="rewards"' not in write_report(plain).read_text(encoding="utf-8")


def test_every_episode_is_in_the_page_and_can_be_unpacked(run):
    page = write_report(run).read_text(encoding="utf-8")
    packed = re.findall(r'id="piece-\d+">([^<]*)<', page)
    episodes = [e for piece in packed for e in json.loads(gzip.decompress(base64.b64decode(piece)))]
    assert len(episodes) == 30 and {e["state"] for e in episodes} == {"won", "lost"}
    index = json.loads(re.search(r'id="index">([^<]*)<', page)[1])
    assert [row[0] for row in index["rows"]] == [e["key"] for e in episodes]
    assert set(re.findall(r'href="#episode-([\w-]+)"', page)) <= {e["key"] for e in episodes}


def test_hostile_text_stays_text(tmp_path):
    page = write_report(hostile_run(tmp_path / "run")).read_bytes().decode()
    assert page.count("<script") == 2 + len(re.findall(r'id="piece-', page)) == page.count("</script>")
    assert "<img" not in page and "\x00" not in page and "\x1b" not in page and "\u202e" not in page
    assert "49" not in re.findall(r"\{\{.*?\}\}", page) and "{{ 7 * 7 }}" in page
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:|//|javascript:)", page)
    assert not re.search(r"\son\w+=|\sstyle=", re.sub(r">[^<]*<", "><", page))
    assert "default-src 'none'" in page
    markdown = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "\n" not in "".join(re.findall(r"<script>", markdown)) and "<script>" not in markdown.replace("\\<", "")


def test_what_cannot_be_seen_is_shown_as_a_sign_of_itself():
    assert visible("a\x00b\x1bc\r\nd\te") == "a␀b␛c\nd\te"
    assert visible("\u202eabc\ud800") == "<U+202E>abc\ufffd"
    assert visible("x" * 5000, 10) == "x" * 10 + "… [4,990 more characters]"
    assert visible(None) == "None"


def test_what_does_not_fit_is_left_out_the_ends_of_the_run_last(monkeypatch):
    judged = {step: {f"{step}-{n}": t for n, t in enumerate(panel("10" * 40))} for step in (0, 5, 10)}
    whole = pack(judged)
    assert (whole.shown, whole.all) == (240, 240)
    half = pack(judged, ["5-3"], max_packed=sum(map(len, whole.pieces[:3])))
    assert half.shown < half.all == 240
    keys = [row[0] for row in half.index["rows"]]
    assert keys[0] == "5-3" and {row[1] for row in half.index["rows"]} <= {5, 10, 0} and keys[1] == "10-0"


def test_a_long_episode_shows_its_first_and_last_turns():
    from agentrl.eval.report_episodes import episode_to_json

    shown = episode_to_json("0-0", episode(actions=[f"a{n}" for n in range(1000)]))["turns"]
    assert len(shown) == 201 and shown[150] == {"gap": 800}
    assert (shown[149]["n"], shown[151]["n"], shown[-1]["n"]) == (150, 951, 1000)
    assert shown[-1]["s"] == "the end"


def test_a_run_of_which_a_kill_left_half_a_line_is_reported_and_says_so(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 5, "suc')
    (run / "validation" / "step-000002.jsonl.gz").write_bytes(b"\x1f\x8bnonsense")
    (run / "meta.json").write_text("[")
    (run / "config.yaml").write_text("- a\n- b\n")
    notes = summarise(read_run(run)).notes
    assert len(notes) == 4 and "1 lines" in notes[0]
    assert "grpo" not in write_report(run).read_text(encoding="utf-8")


def test_a_run_that_was_not_judged_still_has_a_report(tmp_path):
    folder = write_run(tmp_path / "run", {}, train_records(3, success=[0.1, 0.2, 0.3], loss=float("nan")))
    assert "Nothing was judged yet" in write_report(folder).read_text(encoding="utf-8")


def test_a_judgement_that_infrastructure_failed_as_a_whole_has_no_headline(tmp_path):
    folder = write_run(tmp_path / "run", {0: panel("ffff")}, train_records(1, success=0.0))
    summary = summarise(read_run(folder))
    assert "nothing can be said" in summary.verdict[0] and "%" not in summary.verdict[0]
    write_report(folder)


def test_before_and_after_of_different_panels_are_of_the_tasks_that_both_played(tmp_path):
    folder = write_run(tmp_path / "run", {0: panel("00001111"), 2: panel("1111")}, train_records(4, success=0.5))
    summary = summarise(read_run(folder))
    assert summary.before["all"]["episodes"] == summary.after["all"]["episodes"] == 4
    assert "same panel" in summary.notes[0] and "2 of 4 steps" not in summary.verdict[0]


def test_a_folder_with_nothing_in_it_is_refused(tmp_path):
    with pytest.raises(DataError, match="nothing to report yet"):
        write_report(tmp_path)
    with pytest.raises(DataError, match="there is no run directory"):
        write_report(tmp_path / "none")


def test_a_report_that_cannot_be_written_costs_no_run(run, tmp_path):
    assert report_line(run) == f"Read the report: {run / 'report.html'}"
    assert report_line(tmp_path / "none").startswith("There is no report (there is no run directory")


def test_an_evaluation_writes_its_report(tmp_path):
    assert main(["eval", "--env", "guess", "--policy", "expert", "--episodes", "4", "--out", str(tmp_path / "e")]) == 0
    page = (tmp_path / "e" / "report.html").read_text(encoding="utf-8")
    assert "expert on guess" in page and "100 %" in page and "Success on 4 tasks of valid" in page


def test_runs_are_compared_where_they_judged_the_same_tasks(tmp_path, capsys):
    train = train_records(2, success=[0.1, 0.5], turns=3.0)
    for seed, outcome in enumerate(("110000", "111100")):
        write_run(tmp_path / f"r{seed}", {0: panel("000000"), 2: panel(outcome)}, train, settings={"seed": seed})
    code = main(["report", str(tmp_path / "r0"), str(tmp_path / "r1"), "--out", str(tmp_path / "both")])
    assert code == 0 and "note:" not in capsys.readouterr().out
    (field,) = json.loads((tmp_path / "both" / "report.json").read_text())["fields"]
    (difference,) = field["differences"]
    assert (difference["gained"], difference["lost"], difference["mean"]) == (2, 0, pytest.approx(1 / 3))
    assert field["algorithms"][0]["runs"] == 2 and field["algorithms"][0]["mean"] == pytest.approx(0.5)
    assert "2 runs compared" in (tmp_path / "both" / "report.html").read_text(encoding="utf-8")


def test_runs_of_different_panels_are_not_subtracted_and_it_is_said(tmp_path):
    for name, outcome in (("a", "110000"), ("b", "1111")):
        write_run(tmp_path / name, {2: panel(outcome)}, train_records(2, success=0.5))
    page, warnings = write_comparison([tmp_path / "a", tmp_path / "b"], tmp_path / "both")
    assert "did not judge the same tasks" in warnings[0]
    fields = json.loads((tmp_path / "both" / "report.json").read_text())["fields"]
    assert [f["differences"] for f in fields] == [[], []]
    assert "did not judge the same tasks" in page.read_text(encoding="utf-8")


def test_a_comparison_replaces_no_runs_own_report(run, capsys):
    assert main(["report", str(run), str(run)]) == 2
    assert "--out FOLDER" in capsys.readouterr().err
    with pytest.raises(DataError, match="holds a run"):
        write_comparison([run, run], run)


def test_a_chart_draws_what_is_finite_and_says_what_it_shows():
    line = Series(name="a < b", points=[(0, 1.0), (5, 3.0)], band=[(0, 0.5, 1.5), (5, 2.5, 3.5)], marks="circle")
    picture = str(draw(Chart(title="x & y", series=[line]), 360, 190))
    assert 'aria-label="x &amp; y: a &lt; b from 1 to 3"' in picture
    assert picture.count("<circle") == 2 and "polygon" in picture and "style=" not in picture
    hover = json.loads(picture.split('data-chart="')[1].split('"')[0].replace("&quot;", '"').replace("&lt;", "<"))
    assert [row[0] for row in hover["at"]] == [0, 5] and hover["at"][1][2] == [["a < b", "c1", "3 (2.5 to 3.5)"]]
    assert draw(Chart(title="none", series=[Series(name="a", points=[])]), 360, 190) == ""


@pytest.mark.parametrize("values", [[0.0, 0.0], [5.0], [-3.0, 2.0], [1e-9, 2e-9], [1e12, 3e12], [7.0, 7.0]])
def test_a_chart_has_room_for_any_values(values):
    points = [(float(n), v) for n, v in enumerate(values)]
    picture = str(draw(Chart(title="t", series=[Series(name="s", points=points)]), 360, 190))
    numbers = [float(n) for pair in re.findall(r'points="([^"]+)"', picture) for n in re.split("[ ,]", pair)]
    assert all(-1 <= n <= 361 for n in numbers) and "nan" not in picture


def test_long_series_are_thinned_and_keep_their_ends():
    points = [(float(n), 0.0) for n in range(5000)]
    assert len(thinned(points)) == 400 and thinned(points)[0][0] == 0 and thinned(points)[-1][0] == 4999


def test_a_metric_that_is_zero_throughout_has_no_chart():
    assert [c.title for c in metric_charts(train_records(3, invalid_rate=0.0, entropy=1.0))] == ["Entropy"]


def test_values_are_written_as_people_read_them():
    assert [written(v) for v in (0.0, 1234.5, 0.285, 2.1e-7, float("nan"))] == ["0", "1234", "0.285", "2.1e-7", "-"]
    assert written(0.5, True) == "50 %" and written(0.005, True) == "0.5 %"


def test_a_gain_that_the_greedy_policy_does_not_share_is_called_by_its_name(tmp_path):
    judged = {0: panel("1000000000"), 1: panel("1111111110")}
    same = write_run(tmp_path / "a", judged, train_records(1, success=0.5), greedy=panel("1111111110"))
    assert "held for best" in summarise(read_run(same)).verdict[-1]
    without = write_run(tmp_path / "b", judged, train_records(1, success=0.5))
    assert "held for best" not in " ".join(summarise(read_run(without)).verdict)
