"""Reads what the source says of a registered name, without importing it: by its file's syntax tree."""

import ast
import functools
import importlib.util
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path


def first_line(path: str) -> str:
    """The first sentence of the documentation of `module` or `module:attribute`; says so where there is no source.

    Of a module, and of a class in a module whose docstring begins with the module's name, it is the module's. Of
    another class or function it is its own; of a value, the text under it, or that of the function that it binds.
    """
    module_name, _, attribute = path.partition(":")
    tree = _tree(module_name)
    if tree is None:
        return "(its source cannot be read)"
    text = ast.get_docstring(tree) or ""
    own = module_name.rpartition(".")[2].replace("_", "-") + ":"
    if text.lower().replace("_", "-").startswith(own):  # `guess: a number is hidden`
        text = text[len(own) :].lstrip()
        named = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    else:
        named = set()
    if attribute and attribute not in named:
        text = _of_attribute(tree, attribute) or text
    line = " ".join(text.split("\n\n")[0].split())
    sentence, dot, _ = line.partition(". ")
    return sentence + ("." if dot and not sentence.endswith(".") else "")


def _spec(module_name: str) -> ModuleSpec | None:
    """Where a module stands; of its parents only the first is imported, since a world's package loads the world."""
    parts = module_name.split(".")
    spec = importlib.util.find_spec(".".join(parts[:2]))
    for end in range(3, len(parts) + 1):
        if spec is None:
            return None
        spec = PathFinder.find_spec(".".join(parts[:end]), spec.submodule_search_locations)
    return spec


@functools.cache
def _tree(module_name: str) -> ast.Module | None:
    try:
        spec = _spec(module_name)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    try:
        return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None


def _of_attribute(tree: ast.Module, name: str) -> str:
    for statement, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and statement.name == name:
            return ast.get_docstring(statement) or ""
        value = _assigned(statement, name)
        if value is None:
            continue
        if (
            isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            return following.value.value
        if isinstance(value, ast.Call):
            for keyword in value.keywords:
                if keyword.arg == "bind" and isinstance(keyword.value, ast.Name):
                    return _of_attribute(tree, keyword.value.id)
        return ""
    return ""


def _assigned(statement: ast.stmt, name: str) -> ast.expr | None:
    """The value that a statement gives to a name, or None."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    else:
        return None
    if any(isinstance(target, ast.Name) and target.id == name for target in targets):
        return statement.value
    return None
