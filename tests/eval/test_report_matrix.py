"""The page of an evaluation of several cells, and of runs compared: pairs, corrections, what is not compared."""

import csv
import io
import json
import os

import pytest

from agentrl.cli.main import main
from agentrl.errors import DataError
from agentrl.eval.report import write_report
from agentrl.eval.report_pairs import Contender, comparisons, left_out, sign_flip_test, told
from agentrl.eval.report_summary import sign_test
from agentrl.run_directory import write_json
from tests.eval.report_runs import panel, write_cells, write_evaluation


def numbers(folder):
    return json.loads((folder / "report.json").read_text())


def contender(name, outcomes, tasks="panel", **settings):
    values = {f"t{n}": [float(sign) for sign in signs] for n, signs in enumerate(outcomes)}
    return Contender(name=name, panel=tasks, outcomes=values, scores=values, **settings)


def test_a_page_of_cells_links_each_to_its_own_report_and_pairs_those_of_one_panel(tmp_path):
    cells = {"a": {"played": panel("1111110000")}, "b": {"played": panel("0000000000")}, "c": {"played": panel("1100")}}
    folder = write_cells(tmp_path / "m", cells)
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    for name in cells:
        assert f'href="./{name}/report.html"' in page and (folder / name / "report.html").is_file()
    found = numbers(folder)
    assert [cell["state"] for cell in found["cells"]] == ["over"] * 3
    (pair,) = found["comparisons"]
    assert (pair["run"], pair["against"], pair["gained"], pair["lost"]) == ("b", "a", 0, 6)
    assert pair["p_value"] == pytest.approx(sign_test(0, 6)) == pair["p_holm"]
    assert "hashes of their task panels differ" in page


def test_a_page_of_cells_is_written_while_they_go_on(tmp_path):
    on = {"played": panel("10"), "panel_of": ["task-0", "task-1", "task-2"], "over": False}
    folder = write_cells(tmp_path / "m", {"a": {"played": panel("1100")}, "b": on, "c": None}, {"d": "it has no tools"})
    page = write_report(folder).read_text(encoding="utf-8")
    assert "of 3 cells, 1 over, 1 going on, 1 not begun" in page
    assert "going on: 2 of 3" in page and "Left out: d: it has no tools" in page
    assert numbers(folder)["comparisons"] == []
    assert "Going on: 2 of 3" in (folder / "b" / "report.html").read_text(encoding="utf-8")


def test_nothing_to_report_in_any_cell_is_said(tmp_path):
    folder = write_cells(tmp_path / "m", {"a": None, "b": None})
    with pytest.raises(DataError, match="no episode of its 2 cells is over"):
        write_report(folder)


def test_a_cell_with_too_many_failures_has_no_headline_and_is_compared_with_none(tmp_path):
    cells = {"a": {"played": panel("11110000")}, "b": {"played": panel("1111ffff")}, "c": {"played": panel("10000000")}}
    folder = write_cells(tmp_path / "m", cells)
    page = write_report(folder).read_text(encoding="utf-8")
    assert "no headline: 50 % or 100 %" in page and "Compared with no other" in page
    assert [(pair["run"], pair["against"]) for pair in numbers(folder)["comparisons"]] == [("c", "a")]
    assert "no headline (50 % or 100 %)" in (folder / "report.md").read_text(encoding="utf-8")


def test_the_cells_are_rows_of_the_table_and_their_episodes_of_the_other(tmp_path):
    folder = write_cells(tmp_path / "m", {"=a": {"played": panel("10")}, "b": {"played": panel("11")}})
    write_report(folder)
    rows = list(csv.DictReader(io.StringIO((folder / "report.csv").read_text(encoding="utf-8-sig"))))
    assert [(row["cell"], row["kind"]) for row in rows] == [
        ("'=a", "all"),
        ("'=a", "easy"),
        ("'=a", "hard"),
        ("b", "all"),
        ("b", "easy"),
        ("b", "hard"),
    ]
    rows = list(csv.DictReader(io.StringIO((folder / "episodes.csv").read_text(encoding="utf-8-sig"))))
    assert [(row["cell"], row["task"]) for row in rows] == [
        ("'=a", "task-0"),
        ("'=a", "task-1"),
        ("b", "task-0"),
        ("b", "task-1"),
    ]


@pytest.mark.parametrize("folder", ["..", "../other", "/etc", "a/../../other", "", "."])
def test_a_cell_outside_of_the_folder_is_not_read(tmp_path, folder):
    write_evaluation(tmp_path / "other", panel("11"))
    root = write_cells(tmp_path / "m", {"a": {"played": panel("10")}})
    listed = json.loads((root / "matrix.json").read_text())
    listed["cells"].append({"name": "b", "folder": folder})
    write_json(root / "matrix.json", listed)
    page = write_report(root).read_text(encoding="utf-8")
    assert "names a folder outside of its own" in page
    assert not (tmp_path / "other" / "report.html").exists()


def test_a_cell_behind_a_link_that_leads_out_is_not_read(tmp_path):
    other = write_evaluation(tmp_path / "other", panel("11"))
    root = write_cells(tmp_path / "m", {"a": {"played": panel("10")}, "b": None})
    os.symlink(other, root / "b")
    assert "names a folder outside of its own" in write_report(root).read_text(encoding="utf-8")
    assert not (other / "report.html").exists()


@pytest.mark.parametrize("text", ["[]", '{"schema": 1}', '{"schema": 9, "cells": []}', "{"])
def test_a_damaged_list_of_cells_is_one_line(tmp_path, text, capsys):
    (tmp_path / "matrix.json").write_text(text)
    assert main(["report", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_several_comparisons_are_corrected_together():
    found = comparisons([contender("a", "11111111"), contender("b", "00000000"), contender("c", "11111110")])
    assert [(row["run"], row["against"]) for row in found] == [("b", "a"), ("c", "a"), ("c", "b")]
    raw = [row["p_value"] for row in found]
    assert raw == pytest.approx([2 / 2**8, 1.0, 2 / 2**7])
    assert [row["p_holm"] for row in found] == pytest.approx([3 * raw[0], 1.0, 2 * raw[2]])
    assert "after Holm's correction for 3 comparisons" in told(found[0])


def test_contenders_of_different_panels_are_never_paired():
    both = [contender("a", "11", "one"), contender("b", "00", "two"), contender("c", "11", "")]
    assert comparisons(both) == []
    assert "hashes of their task panels differ" in left_out(both)[0]


def test_repeated_episodes_are_compared_by_their_tasks_means():
    (row,) = comparisons([contender("a", ["10", "00", "11"]), contender("b", ["11", "01", "11"])])
    assert (row["gained"], row["lost"], row["kept"], row["never"]) == (2, 0, 1, 0)
    assert row["mean"] == pytest.approx(1 / 3) and row["test"] == "sign-flip test over tasks"
    assert row["p_value"] == pytest.approx(0.5, abs=0.02)  # 2 of the 4 ways to set two signs are as far from 0


def test_the_sign_flip_test_is_exact_in_the_limit_and_the_same_each_time():
    differences = [0.5, 0.25, 0.75, -0.25, 0.5, 0.5, 0.25, 0.5]
    total = abs(sum(differences))
    ways = [abs(sum(d if bits >> n & 1 else -d for n, d in enumerate(differences))) for bits in range(256)]
    exact = sum(way >= total - 1e-9 for way in ways) / 256
    assert sign_flip_test(differences) == pytest.approx(exact, abs=0.005) == sign_flip_test(differences)
    assert sign_flip_test([0.0, 0.0]) == 1.0 and sign_flip_test([1.0] * 100) < 0.001


def test_the_report_of_cells_is_not_replaced_by_a_comparison(tmp_path):
    root = write_cells(tmp_path / "m", {"a": {"played": panel("10")}})
    one, two = (write_evaluation(tmp_path / name, panel("10")) for name in ("one", "two"))
    assert main(["report", str(one), str(two), "--out", str(root)]) == 2
    assert main(["report", str(one), str(two), "--out", str(tmp_path / "both")]) == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "both" / "report.csv").read_text(encoding="utf-8-sig"))))
    assert [row["run"] for row in rows if row["kind"] == "all"] == ["one", "two"]
