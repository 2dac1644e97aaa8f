"""The index of papers holds every paper, every golden file, and what both say of themselves."""

import dataclasses
import json

import pytest

from agentrl import registry
from make import papers
from make.docs import DOCS
from tests.golden.compare import RUNNERS
from tests.golden.subjects import SUBJECTS
from tests.golden.verdicts import FOLDER, bound_of, files, recorded
from tests.house.pages import blocks, commands

PAGE = DOCS / "papers.md"
NO_PAPER = {"algorithm": {"sft"}, "curriculum": {"uniform", "replay"}}


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text(encoding="utf-8")


def test_every_algorithm_and_curriculum_of_a_paper_has_an_entry(page):
    for kind, without in NO_PAPER.items():
        for name in registry.TABLES[kind]:
            assert (f"\n### {name}\n" in page) is (name not in without), name
            assert (f"| [`{name}`](#{name}) |" in page) is (name not in without), name


def test_every_entry_says_where_its_equations_come_from(page):
    for entry in page.partition("## Algorithms")[2].partition("## Parts that are papers")[0].split("\n### ")[1:]:
        name = entry.partition("\n")[0]
        told = "**Source, and what is ours.**" in entry and "```text" in entry
        assert told or "Equations and source: [" in entry or name in ("stages", "dynamic-sampling"), name


def test_every_entry_has_its_command():
    every = [command for block in blocks(PAGE) if block.language == "bash" for command in commands(block.text)]
    run = [command for command in every if command.startswith("agentrl")]
    assert len(run) == len(papers.papers())
    assert all(paper.command in run for paper in papers.papers())


def test_every_golden_file_is_in_the_index(page):
    content = {name: json.loads(path.read_text()).get("algo", path.name) for name, path in files().items()}
    assert content == {name: verdict.algo for name, verdict in recorded().items()}, "run: make docs"
    for name in content:
        assert f"\n| `{name}` | " in page


def test_every_runner_says_which_names_its_file_holds():
    assert set(SUBJECTS) == {*RUNNERS, "agents.json"}
    for algo, subject in SUBJECTS.items():
        assert any(dataclasses.astuple(subject)), algo
        assert set(subject.algorithms) <= set(registry.TABLES["algorithm"]), algo
        assert set(subject.curricula) <= set(registry.TABLES["curriculum"]), algo
        assert set(subject.parts) <= set(registry.TABLES["part"]), algo
        assert all(callable(registry.load("part", function)) for function in subject.functions), algo


def test_a_bound_leaves_room_for_another_machine_and_stays_below_the_tolerance():
    assert bound_of(0.0, 1e-9) == bound_of(2e-13, 1e-9) == 1e-12
    assert bound_of(5e-13, 1e-9) == 1e-9
    assert bound_of(7e-8, 1e-7) == 1e-7
    assert bound_of(3e-7, 1e-7) == 3e-7, "beyond the tolerance it says so"


def test_a_docstring_is_cut_into_equations_their_meaning_and_their_source():
    text = papers.text_of(
        "NAME: what it is (TEAM, arXiv 2501.00001).\n\n    A = B\n    B = C\n\n"
        "C is 1 <where> it is. Released, C is 2.\nHere it is not.\n\nMore of that."
    )
    assert text.title == "NAME: what it is."
    assert text.equations == ("A = B\nB = C",)
    assert text.meaning == "C is 1 <where> it is."
    assert text.source == "Released, C is 2. Here it is not.\n\nMore of that."
    assert papers.prose("a <b> `<c>` * d") == r"a \<b> `<c>` \* d"


def test_a_year_is_read_from_the_number_or_as_it_is_written():
    assert [papers.year_of(text) for text in ("T. arXiv 1707.06347.", "Journal 8, 1992.", "?")] == ["2017", "1992", ""]


def test_the_record_of_verdicts_lies_beside_the_golden_files_not_among_them():
    assert not list(FOLDER.rglob("*verdict*.json"))
