"""Our parts against numbers that others computed."""

import json
from pathlib import Path

import pytest

from tests.golden import __main__ as command
from tests.golden.compare import RUNNERS, compare
from tests.golden.verdicts import recorded

FOLDER = Path(__file__).parents[2] / "golden"
FILES = sorted(FOLDER.rglob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_golden_case_is_reproduced(path):
    results = compare(path)
    assert results
    assert [result for result in results if not result.passed] == []
    name = str(path.relative_to(FOLDER))
    assert name in recorded(), "run: make docs"
    verdict = recorded()[name]
    assert verdict.cases == len(results), "run: make docs"
    assert max(result.difference for result in results) <= verdict.difference, "run: make docs"


def test_there_is_a_golden_file_for_everything_that_can_be_run():
    found = {json.loads(path.read_text())["algo"] for path in FILES if path.name != "agents.json"}
    assert found == set(RUNNERS)


def test_the_command_prints_each_case_and_fails_on_a_wrong_number(tmp_path, capsys):
    content = json.loads((FOLDER / "agents" / "epo_beta.json").read_text())
    content["cases"] = content["cases"][:2]
    path = tmp_path / "epo_beta.json"
    path.write_text(json.dumps(content))
    assert command.main([str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("epo_beta  total_150  ")
    content["cases"][1]["outputs"]["beta"][3] *= 1 + 1e-6
    path.write_text(json.dumps(content))
    assert command.main([str(path)]) == 1
    assert "BEYOND" in capsys.readouterr().out.splitlines()[1]


def test_the_command_names_what_no_part_reproduces(tmp_path, capsys):
    path = tmp_path / "other.json"
    path.write_text('{"algo": "alchemy", "cases": []}')
    assert command.main([str(path)]) == 2
    assert "alchemy" in capsys.readouterr().err
