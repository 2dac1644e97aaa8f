"""Reads the fenced blocks of a documentation page and runs them, as a reader would, in a folder of their own.

What stands behind the language in a fence's first line says how a block is taken:

    ```bash                     every command is run and must end with 0
    ```bash dry-run             needs a GPU, a hub, a server or long: `agentrl train` and `agentrl eval` get
                                `--dry-run`, and of `agentrl play` the configuration is resolved and checked; of
                                `agentrl view` the arguments are read
    ```bash norun REASON        only make, pip, apt-get, git and cd; of `make TARGET`, the target is looked up
    ```console                  `$ command`, and below it what it prints; `...` stands for any number of lines
    ```python                   run as a script
    ```python file=NAME         written to that file, for the commands below it, and run
    ```python module=NAME       written to that file and imported, not run as a script
    ```python norun REASON      parsed, and its imports of agentrl are looked up

A page's blocks are run in order, in one folder, so that a later one finds what an earlier one wrote.
"""

import ast
import contextlib
import importlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
TESTED = ("bash", "console", "python")
UNTESTED = ("", "text", "yaml", "json", "toml", "mermaid")
SET_UP = ("make", "pip", "apt-get", "git", "cd", "python3", "source", "sudo")
FENCE = re.compile(r"^```(.*)$")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    line: int
    language: str
    marks: str
    text: str


class Wrong(AssertionError):
    """A block of a page that does not do what the page says."""


def blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of a page, in order.   Raises Wrong for a fence that is never closed."""
    start, info, lines = 0, "", []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = FENCE.match(line)
        if fence is None:
            lines.append(line)
        elif start:
            language, _, marks = info.partition(" ")
            yield Block(start, language, marks.strip(), "\n".join(lines) + "\n")
            start = 0
        else:
            start, info, lines = number, fence[1].strip(), []
    if start:
        raise Wrong(f"line {start}: the block is never closed")


def commands(text: str) -> list[str]:
    """The commands of a shell block: comments gone, continued lines joined, here-documents kept whole."""
    found: list[str] = []
    end = ""
    for line in text.splitlines():
        if end:
            found[-1] += f"\n{line}"
            end = "" if line.strip() == end else end
        elif found and found[-1].endswith("\\"):
            found[-1] = found[-1][:-1].rstrip() + " " + line.strip()
        elif line.strip() and not line.lstrip().startswith("#"):
            found.append(line.strip())
        else:
            continue
        here = re.search(r"<<-?\s*'?(\w+)'?", line) if not end else None
        end = here[1] if here else end
    return found


def exchanges(text: str) -> list[tuple[str, list[str]]]:
    """(command, lines it prints) of a console block."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found and found[-1][0].endswith("\\") and not found[-1][1]:
            found[-1] = (found[-1][0][:-1].rstrip() + " " + line.strip(), [])
        elif found:
            found[-1][1].append(line)
    return [(commands(command)[0], lines) for command, lines in found]


def take(block: Block, folder: Path) -> None:
    """Do with a block what its fence says.   Raises Wrong with the block's line."""
    mark, _, reason = block.marks.partition(" ")
    try:
        if block.language == "python":
            _take_python(block, mark, reason, folder)
        elif block.language == "console":
            for command, lines in exchanges(block.text):
                _compare(command, lines, run(command, folder, dry_run=mark == "dry-run"))
        elif block.language == "bash" and mark == "norun":
            _look_up(block, reason)
        elif block.language == "bash" and mark in ("", "dry-run"):
            for command in commands(block.text):
                run(command, folder, dry_run=mark == "dry-run")
        elif block.language not in UNTESTED or block.marks:
            raise Wrong(f"unknown fence {block.language} {block.marks}")
    except Wrong as wrong:
        raise Wrong(f"line {block.line}: {wrong}") from None


def run(command: str, folder: Path, dry_run: bool = False) -> str:
    """What a command prints. `agentrl ...` alone runs in this process, anything else in a shell."""
    words = shlex.split(command, comments=True) if "<<" not in command else ["cat"]
    settings = {}
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        name, _, settings[name] = words.pop(0).partition("=")
    is_agentrl = words[0] == "agentrl"
    if dry_run and is_agentrl and words[1] in ("train", "eval") and "--dry-run" not in words:
        words.append("--dry-run")
    if dry_run and is_agentrl and words[1] in ("play", "view"):
        return _configure(words[1], words[2:])
    if is_agentrl and not any(re.fullmatch(r"[|&;]+|\d?[<>].*", word) for word in words):
        return _in_process(words[1:], settings, folder)
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode:
        raise Wrong(f"`{command}` ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}")
    return done.stdout


def _configure(verb: str, words: list[str]) -> str:
    """`--dry-run` for a verb that has none: its arguments are read, their configuration resolved and checked."""
    from agentrl import api
    from agentrl.cli.parser import Parser
    from agentrl.errors import AgentRLError

    module = importlib.import_module(f"agentrl.cli.{verb}")
    parser = Parser(prog=f"agentrl {verb}")
    module.add_arguments(parser)
    try:
        told = parser.parse_args(words)
        if verb != "view":
            api.check(module.configuration(told)[0])
    except AgentRLError as error:
        raise Wrong(f"`agentrl {verb} {shlex.join(words)}`: {error}") from None
    return ""


def _in_process(words: list[str], settings: dict[str, str], folder: Path) -> str:
    from agentrl.cli.main import main

    out, err, here = io.StringIO(), io.StringIO(), Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), patch.dict(os.environ, settings):
            try:
                code = main(words)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        os.chdir(here)
    if code:
        said = f"{out.getvalue()[-2500:]}{err.getvalue()[-2000:]}"
        raise Wrong(f"`agentrl {shlex.join(words)}` ended with {code}: {said}")
    return out.getvalue()


def _compare(command: str, expected: list[str], printed: str) -> None:
    """Expected lines are what was printed, one below the other; `...` skips lines; spaces at an end do not count."""
    lines = iter(line.rstrip() for line in printed.splitlines())
    skip = False
    for want in (line.rstrip() for line in expected):
        if want == "...":
            skip = True
            continue
        got = next((line for line in lines if not skip or line == want), None)
        if got != want:
            raise Wrong(f"`{command}` prints {got!r} where the page has {want!r}; all of it:\n{printed}")
        skip = False


def _look_up(block: Block, reason: str) -> None:
    if not reason:
        raise Wrong("norun needs a reason")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for command in commands(block.text):
        words = [word for word in shlex.split(command, comments=True) if not re.fullmatch(r"[A-Z_]+=.*", word)]
        if Path(words[0]).name not in SET_UP:
            raise Wrong(f"`{command}` can be run, or taken through --dry-run")
        if words[0] == "make" and not {word for word in words[1:] if word[0] != "-"} <= targets:
            raise Wrong(f"`{command}`: the Makefile has no such target")


def _take_python(block: Block, mark: str, reason: str, folder: Path) -> None:
    if mark == "norun":
        if not reason:
            raise Wrong("norun needs a reason")
        _look_up_imports(block.text)
        return
    kind, _, file_name = mark.partition("=")
    if mark and kind not in ("file", "module"):
        raise Wrong(f"unknown fence python {block.marks}")
    file = folder / (file_name or f"line_{block.line}.py")
    file.write_text(block.text, encoding="utf-8")
    words = ["-c", f"import {file.stem}"] if kind == "module" else [file.name]
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise Wrong(f"the snippet ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}")


def _look_up_imports(text: str) -> None:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("agentrl"):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if not hasattr(module, alias.name):
                    raise Wrong(f"{node.module} has no {alias.name}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("agentrl"):
                    importlib.import_module(alias.name)
