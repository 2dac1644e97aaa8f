"""STYLE rule 3: every tensor argument of the mathematics is in its docstring, by its name and with its shape."""

import ast
import inspect
import re

import pytest

from tests.house.project import ROOT, parsed

MATHEMATICS = [
    ROOT / "agentrl" / "segments.py",
    *sorted((ROOT / "trainers" / "parts").glob("*.py")),
    *sorted((ROOT / "trainers" / "algorithms").glob("*.py")),
]
SHAPED = re.compile(r"((?:\w+, )*\w+): \[")
"""`values: [K]`, or several that have one shape: `low, high: [N]`."""


def public_functions():
    for file in MATHEMATICS:
        for node in parsed(file).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield pytest.param(node, id=f"{file.relative_to(ROOT)}:{node.name}")


def tensor_arguments(function: ast.FunctionDef) -> set[str]:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return {a.arg for a in arguments if a.annotation is not None and "Tensor" in ast.unparse(a.annotation)}


def arguments(function: ast.FunctionDef) -> set[str]:
    return {a.arg for a in [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]}


def shaped_in(docstring: str) -> set[str]:
    return {name for names in SHAPED.findall(docstring) for name in names.split(", ")}


@pytest.mark.parametrize("function", list(public_functions()))
def test_every_tensor_argument_stands_in_the_docstring_with_its_shape(function):
    docstring = inspect.cleandoc(ast.get_docstring(function) or "")
    assert docstring, "no docstring"
    assert tensor_arguments(function) <= shaped_in(docstring)
    assert shaped_in(docstring) <= arguments(function), "the docstring names an argument that is not there"


def test_the_rule_reads_one_shape_for_several_and_not_what_is_returned():
    assert shaped_in("low, high: [N] float.   Returns [N]: 0 inside.   weight: [U].") == {"low", "high", "weight"}
