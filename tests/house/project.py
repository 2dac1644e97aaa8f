"""What the tests of the house look at: the project's files, parsed once."""

import ast
import functools
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from make.check_types import rooms, source_files
from tests.programs import needs_program

ROOT = Path(__file__).resolve().parents[2]
ROOMS = rooms()
"""package -> folder: `agentrl`, the core, and `agentrl.envs` and its like."""
SOURCES = source_files()
"""Every Python file that is installed."""
SCRIPTS = sorted(file for folder in ("tests", "benchmarks", "make") for file in (ROOT / folder).rglob("*.py"))


def name(file: Path) -> str:
    """A file as it is called from the root: the id of a test case."""
    return str(file.relative_to(ROOT))


@functools.cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


@functools.cache
def settings() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def module_name(file: Path) -> str:
    """`envs/guess/__init__.py` -> `agentrl.envs.guess`."""
    package, folder = next((p, f) for p, f in ROOMS.items() if file.is_relative_to(f))
    words = [package, *file.relative_to(folder).with_suffix("").parts]
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def tracked_files() -> list[Path]:
    """Every file that is, or would be, committed."""
    git = needs_program("git")
    command = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [file for line in listed.split("\0") if line and (file := ROOT / line).is_file()]


def imported_modules(file: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import statement, relative ones resolved; `from a import b` gives `a` and `a.b`."""
    package = module_name(file).split(".")
    if file.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield node.lineno, base
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def fresh(code: str, *flags: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter."""
    return subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, **options)
