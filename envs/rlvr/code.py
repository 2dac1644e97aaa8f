"""Questions that programs answer: rows with unit tests, or with inputs and outputs; judged in the sandbox.

Rows are taken as their data sets write them:
HumanEval   prompt, entry_point, test (`def check(candidate): ...`), canonical_solution; MultiPL-E's MBPP likewise
MBPP        text or prompt, test_list (asserts), test_setup_code or test_imports, code
APPS, TACO  question, input_output ({"inputs", "outputs", and "fn_name" where a function is called}), solutions
or inputs and outputs as columns of their own.
"""

import ast
import json
import math
from collections.abc import Sequence
from typing import Any

from agentrl.envs.rlvr.programs import preamble, program_of
from agentrl.envs.rlvr.questions import Limits, Question, Verdict, Verifier
from agentrl.envs.rlvr.readers import Row
from agentrl.errors import DataError
from agentrl.sandbox import CallTests, Exchange, ExchangeTests, Tests, find_isolation, judge_soon
from agentrl.sandbox import Limits as SandboxLimits

VERIFIER = "unit-tests"
PATIENCE = 5.0
"""How many times as long by the clock as on the processor a run may take."""
_TEXTS = ("prompt", "text", "question", "problem", "description")
_BLOCK = "```python\n{}\n```"


def question(row: Row) -> Question:
    """A row with tests as a question.   Raises DataError with the row's place."""
    columns = row.columns
    try:
        if "test_list" in columns:
            return _of_asserts(row)
        if "test" in columns:
            return _of_check(row)
        return _of_exchanges(row)
    except (KeyError, TypeError, ValueError, SyntaxError) as error:
        raise DataError(f"data: {row.place} has tests that cannot be read: {type(error).__name__}: {error}") from error


def _of_check(row: Row) -> Question:
    """HumanEval's form. A check that holds asserts alone is split into them; one of any other kind is one test."""
    columns = row.columns
    prompt, entry = str(columns["prompt"]), str(columns["entry_point"])
    tree = ast.parse(str(columns["test"]))
    check = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "check"), None)
    if check is None:
        raise DataError(f"data: {row.place} has a test without `def check(candidate)`")
    others: list[ast.stmt] = [
        n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom, ast.Assign, ast.ClassDef))
    ]
    others += [n for n in tree.body if isinstance(n, ast.FunctionDef) and not n.name.startswith(("check", "test_"))]
    setup = preamble(prompt, entry) + "".join(f"{ast.unparse(node)}\n" for node in others)
    body = check.body
    name = check.args.args[0].arg
    if all(isinstance(statement, ast.Assert) for statement in body):
        checks = [ast.unparse(statement) for statement in body]
    else:
        setup += f"{ast.unparse(check)}\n"
        checks = [f"check({name})"]
    solution = str(columns.get("canonical_solution") or columns.get("reference") or "")
    names = [f"{name}={entry}", entry]
    tests = {"setup": setup, "names": names, "checks": checks, "prompt": prompt, "entry": entry}
    return _question(row, prompt, tests, program_of(solution, prompt, entry)[0] if solution.strip() else "")


def _of_asserts(row: Row) -> Question:
    """MBPP's own form: asserts that call a function by its name, which the question then has to say."""
    columns = row.columns
    setup = columns.get("test_setup_code") or columns.get("test_imports") or ""
    setup = setup if isinstance(setup, str) else "\n".join(setup)
    checks = [str(check) for check in columns["test_list"]]
    names = sorted(_called(checks) - _defined(setup))
    if not checks or not names:
        raise DataError(f"data: {row.place} has a test_list without an assert that calls a function")
    text = f"{_text(row)}\n\nThe program must pass tests such as:\n{checks[0]}"
    tests = {"setup": setup, "names": names, "checks": checks, "prompt": "", "entry": names[0]}
    return _question(row, text, tests, str(columns.get("code") or ""))


def _called(checks: Sequence[str]) -> set[str]:
    """Names that checks call and that nobody has defined: the program's functions."""
    import builtins

    trees = [ast.parse(check) for check in checks]
    called = {
        node.func.id
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return {name for name in called if not hasattr(builtins, name)}


def _defined(setup: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(setup)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def _of_exchanges(row: Row) -> Question:
    """Inputs and outputs: texts for a program that reads and prints, or arguments and results of a named function."""
    columns = row.columns
    given: Any = columns.get("input_output", columns)
    given = json.loads(given) if isinstance(given, str) else given
    inputs, outputs, entry = given["inputs"], given["outputs"], str(given.get("fn_name") or "")
    if not inputs or len(inputs) != len(outputs):
        raise DataError(f"data: {row.place} has {len(inputs)} inputs and {len(outputs)} outputs")
    tests: dict[str, Any]
    if entry:
        inside = "class Solution" in str(columns.get("starter_code") or "")
        name = f"candidate=Solution().{entry}" if inside else f"candidate={entry}"
        checks = [f"assert candidate(*{list(i)!r}) == {o!r}" for i, o in zip(inputs, outputs, strict=True)]
        tests = {"setup": "", "names": [name], "checks": checks, "prompt": "", "entry": "Solution" if inside else entry}
    else:
        texts = [[_as_text(i), _as_text(o)] for i, o in zip(inputs, outputs, strict=True)]
        tests = {"exchanges": texts}
    starter = str(columns.get("starter_code") or "").strip()
    text = f"{_text(row)}\n\nBegin with:\n{starter}" if starter else _text(row)
    solutions = columns.get("solutions") or columns.get("solution") or columns.get("code") or ""
    solutions = json.loads(solutions) if isinstance(solutions, str) and solutions.startswith("[") else solutions
    first = solutions if isinstance(solutions, str) else next(iter(solutions), "")
    return _question(row, text, tests, str(first))


def _as_text(value: Any) -> str:
    """What a program reads or prints: a text, or the lines of one."""
    return value if isinstance(value, str) else "\n".join(map(str, value))


def _text(row: Row) -> str:
    found = next((row.columns[name] for name in _TEXTS if row.columns.get(name)), None)
    if not isinstance(found, str) or not found.strip():
        raise DataError(f"data: {row.place} has tests but no question: none of the columns {', '.join(_TEXTS)}")
    return found.strip()


def _question(row: Row, text: str, tests: dict[str, Any], solution: str) -> Question:
    answers = (solution,) if solution.strip() else ()
    return Question(text, answers, VERIFIER, place=row.place, row=tests)


def tests_of(asked: Question) -> Tests:
    """The tests of a question, as the sandbox takes them."""
    row = asked.row
    if "exchanges" in row:
        return ExchangeTests(tuple(Exchange(given, expected) for given, expected in row["exchanges"]))
    return CallTests(tuple(row["checks"]), tuple(row["names"]), row["setup"])


async def verify(answer: str, asked: Question, limits: Limits) -> Verdict:
    """Run the program of an answer with the question's tests: right where all are passed.

    The component `tests` is the share that was passed. Raises ConfigError where no program can be kept in.
    """
    program, in_block = program_of(answer, asked.row.get("prompt", ""), asked.row.get("entry", ""))
    if not answer.strip() or (limits.strict and not in_block):
        return Verdict(0.0, readable=False, formal=False, components={"tests": 0.0})
    allowed = SandboxLimits(
        cpu_seconds=max(1, math.ceil(limits.seconds)),
        wall_seconds=PATIENCE * limits.seconds,
        memory=max(64, int(1024 * limits.memory)),
    )
    way = find_isolation(unsafe=limits.unsafe)
    found = await judge_soon(program, tests_of(asked), allowed, way)
    told = "" if found.right else f"{found.passed} of {found.total} tests passed."
    share = {"tests": found.passed / max(found.total, 1)}
    return Verdict(float(found.right), answer=program.strip(), formal=in_block, told=told, components=share)


def _rule(asked: Question) -> str:
    if "exchanges" in asked.row:
        return "Write a Python program that reads standard input and prints the answer, in one ```python block."
    return "Write the whole Python program, in one ```python block."


UNIT_TESTS = Verifier(
    verify=verify,
    rule=_rule,
    solution=lambda asked: _BLOCK.format(asked.gold.rstrip()) if asked.gold else None,
    complaint=lambda asked: "",
)
"""A program that passes all of its tests, run in the sandbox."""
