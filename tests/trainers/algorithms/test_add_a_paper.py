"""The worked example of docs/add_a_paper.md: short, and held by the same tests as the papers that are here."""

import json

import pytest

from agentrl.registry import load
from make.docs import DOCS
from tests.golden import compare
from tests.house.pages import blocks
from tests.trainers.algorithms import test_every_algorithm as properties

MAX_LINES = 60
NAME = "my_paper:MY_PAPER"


@pytest.fixture(scope="module")
def page():
    return list(blocks(DOCS / "add_a_paper.md"))


@pytest.fixture(scope="module", autouse=True)
def example(page, tmp_path_factory):
    """The file as the page has it, where Python finds it."""
    folder = tmp_path_factory.mktemp("beside")
    file = next(block for block in page if block.marks == "module=my_paper.py")
    (folder / "my_paper.py").write_text(file.text)
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(folder)
        yield file


def test_the_example_is_short(example):
    assert len(example.text.splitlines()) <= MAX_LINES


@pytest.mark.parametrize(
    "holds",
    [
        properties.test_its_gradient_is_the_same_for_any_cut_any_packing_any_layout_and_any_order,
        properties.test_nothing_is_ever_nan,
        properties.test_its_state_saved_and_loaded_gives_the_same_next_steps,
    ],
    ids=["cuts and order", "never nan", "state"],
)
def test_what_holds_of_every_algorithm_holds_of_it(holds):
    holds(NAME)


def test_its_tilt_matters():
    assert load("algorithm", NAME).modifiers == (load("part", "my_paper:TILT"),)
    trajectories = properties.episodes(NAME, properties.Play(4))
    tilted, plain = (properties.gradient(name, trajectories) for name in (NAME, "grpo"))
    assert (tilted - plain).norm() > 1e-3 * plain.norm() > 0


def test_its_golden_file_and_runner_do_what_the_page_says(page, tmp_path, monkeypatch):
    runner = next(block for block in page if "tests.golden.check" in block.text)
    content = next(block for block in page if block.language == "json").text
    (tmp_path / "their_runner.py").write_text(runner.text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(compare.RUNNERS, "tilted_turns", load("part", "their_runner:tilted_turns"))
    file = tmp_path / "tilted_turns.json"
    file.write_text(content)
    (result,) = compare.compare(file)
    assert result.passed and result.difference == 0.0
    changed = json.loads(content)
    changed["cases"][0]["params"]["tilt"] = 0.6
    file.write_text(json.dumps(changed))
    assert not compare.compare(file)[0].passed
