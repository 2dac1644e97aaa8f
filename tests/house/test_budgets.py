"""STYLE of files: their size, their names, their first line, and where output may come from."""

import ast

import pytest

from tests.house.project import ROOT, SCRIPTS, SOURCES, name, parsed

MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 80
MAX_PAPER_LINES = 200
RAISED: dict[str, int] = {}
"""`file` or `file:function` -> its own budget; each with a comment that says why."""
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "base2", "new", "old", "tmp"}
MAY_PRINT = ("agentrl/cli/", "agentrl/display.py")
EVERY_FILE = [*SOURCES, *SCRIPTS]


def functions(file):
    return [node for node in ast.walk(parsed(file)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


@pytest.mark.parametrize("file", EVERY_FILE, ids=name)
def test_a_file_has_one_reason_to_exist_and_says_it_in_its_first_line(file):
    text = ast.get_docstring(parsed(file)) or ""
    assert text.splitlines() and text.splitlines()[0].strip(), "the file has no docstring"
    assert file.stem not in VAGUE, "the name does not tell what is in the file"


@pytest.mark.parametrize("file", EVERY_FILE, ids=name)
def test_files_and_functions_stay_within_their_budgets(file):
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= RAISED.get(name(file), MAX_FILE_LINES)
    for function in functions(file):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        budget = RAISED.get(f"{name(file)}:{function.name}", MAX_FUNCTION_LINES)
        assert length <= budget, f"{function.name} has {length} lines"


@pytest.mark.parametrize("file", sorted((ROOT / "trainers" / "algorithms").glob("*.py")), ids=name)
def test_a_paper_is_one_short_file(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MAX_PAPER_LINES


@pytest.mark.parametrize("file", [f for f in EVERY_FILE if f.name == "__init__.py"], ids=name)
def test_a_folder_re_exports_and_does_nothing_else(file):
    for node in parsed(file).body:
        documents = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        renames = isinstance(node, (ast.Assign, ast.AnnAssign)) and not any(
            isinstance(inner, (ast.Call, ast.Lambda, ast.comprehension)) for inner in ast.walk(node)
        )
        assert documents or renames or isinstance(node, (ast.Import, ast.ImportFrom)), f"line {node.lineno}: logic"


@pytest.mark.parametrize("file", SOURCES, ids=name)
def test_only_the_command_line_and_the_display_write_to_the_terminal(file):
    if name(file).startswith(MAY_PRINT):
        return
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("print", "sys.stdout.write", "sys.stderr.write"), f"line {node.lineno}: {called}"
