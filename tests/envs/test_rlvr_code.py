"""Programs as answers: how rows with tests are read, what of a reply is the program, how it is judged."""

import asyncio
import json
from pathlib import Path

import pytest

import agentrl.sandbox.isolation as ways
from agentrl.cli.main import main
from agentrl.envs import rlvr
from agentrl.envs.rlvr import code
from agentrl.envs.rlvr.code import UNIT_TESTS, question
from agentrl.envs.rlvr.programs import preamble, program_of
from agentrl.envs.rlvr.questions import Limits
from agentrl.envs.rlvr.readers import Row
from agentrl.errors import ConfigError, DataError
from agentrl.sandbox import CallTests, ExchangeTests, available
from tests.envs.episodes import play
from tests.programs import needs_program

HUMANEVAL = Path(__file__).parent / "data" / "rlvr" / "humaneval.jsonl"
ROWS = [json.loads(line) for line in HUMANEVAL.read_text(encoding="utf-8").splitlines()]
MULTIPLE = {
    "name": "ours_1_area",
    "prompt": 'def area(side: int) -> int:\n    """\n\tArea of a square.\n\t"""\n',
    "entry_point": "area",
    "test": "def check(candidate):\n    assert candidate(3) == 9\n    assert candidate(0) == 0\n\n"
    "def test_check():\n    check(area)\n\ntest_check()\n",
    "reference": "",
}
ASSERTS = {
    "text": "Write a function that doubles each number of a list.",
    "code": "def twice(numbers):\n    return [2 * n for n in numbers]",
    "test_setup_code": "import math",
    "test_list": [
        "assert twice([1, 2]) == [2, 4]",
        "assert sum(twice([1, 2])) == 6",
        "assert twice([math.inf]) == [math.inf]",
    ],
}
READS = {
    "question": "Print the sum of two numbers.",
    "input_output": json.dumps({"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}),
    "solutions": json.dumps(["a, b = map(int, input().split())\nprint(a + b)"]),
}
CALLS = {
    "question": "Two numbers that add up to a target.",
    "input_output": {"fn_name": "pair", "inputs": [[[1, 2, 3], 5]], "outputs": [[2, 3]]},
    "starter_code": "class Solution:\n    def pair(self, numbers, target):\n        ",
    "solutions": ["class Solution:\n    def pair(self, numbers, target):\n        return [2, 3]"],
}


@pytest.fixture(autouse=True, scope="module")
def _sandboxed():
    if available()[0] is None:
        needs_program("bwrap")


def judged(answer, asked, **limits):
    return asyncio.run(UNIT_TESTS.verify(answer, asked, Limits(seconds=5.0, **limits)))


@pytest.mark.parametrize("row", [*ROWS, ASSERTS, READS, CALLS], ids=lambda r: r.get("task_id", "")[10:] or "ours")
def test_the_rows_own_solution_is_right_and_an_empty_program_is_not(row):
    asked = question(Row("file, line 1", row))
    right, wrong = judged(UNIT_TESTS.solution(asked), asked), judged("```python\npass\n```", asked)
    assert right.correct == 1 and right.components == {"tests": 1.0} and right.formal, right.told
    assert wrong.correct == 0 and wrong.components["tests"] < 1 and wrong.readable


def test_a_part_of_the_tests_is_told_and_earns_nothing():
    verdict = judged("def twice(numbers): return [2, 4]", question(Row("file, line 1", ASSERTS)))
    assert verdict.correct == 0 and verdict.told == "2 of 3 tests passed."
    assert verdict.components == {"tests": pytest.approx(2 / 3)} and not verdict.formal


def test_a_row_without_a_solution_has_no_expert():
    asked = question(Row("file, line 1", MULTIPLE))
    assert UNIT_TESTS.solution(asked) is None and len(code.tests_of(asked).checks) == 2
    assert judged("    return side * side", asked).correct == 1


def test_tests_are_told_apart():
    kinds = [type(code.tests_of(question(Row("", row)))) for row in (ROWS[0], ASSERTS, READS, CALLS)]
    assert kinds == [CallTests, CallTests, ExchangeTests, CallTests]
    assert code.tests_of(question(Row("", CALLS))).names == ("candidate=Solution().pair",)
    assert question(Row("", ASSERTS)).text.endswith("assert twice([1, 2]) == [2, 4]")


PROMPT = 'import math\n\ndef helper(x):\n    return x\n\ndef f(x):\n    """Half."""\n'


@pytest.mark.parametrize(
    "reply",
    [
        "    return helper(x) / 2",
        "return helper(x) / 2",
        "return helper(x) / 2\nThat is half of it.",
        "y = x\n    return helper(y) / 2",
        "for y in [x]:\n        return helper(y) / 2",
        "for y in [x]:\n    return helper(y) / 2",
        "```python\ndef f(x):\n    return helper(x) / 2\n```",
        "```python\n    return helper(x) / 2\n```",
        "First\n```python\nprint(1)\n```\n```py\ndef f(x): return helper(x) / 2\n```\n```python\nprint(f(2))\n```",
        "Here it is:\n```python\ndef f(x): return math.floor(x) / 2",
        "def f(x):\n    return x / 2",
        "~~~python\ndef f(x):\n    return x / 2\n~~~",
        "    def g(y):\n        return y / 2\n    return g(x)\n\n\nprint(f(3))\nassert False",
        "    return later(x)\n\ndef later(x):\n    return x / 2",
    ],
)
def test_the_program_in_a_reply(reply):
    program, _ = program_of(reply, PROMPT, "f")
    known = {}
    exec(program, known)
    assert known["f"](3) in (1.5, 1)


def test_what_belongs_to_a_prompt_stays():
    assert preamble(PROMPT, "f") == "import math\ndef helper(x):\n    return x\n"
    assert preamble("def f(:", "f") == ""
    assert program_of("print(1)") == ("print(1)\n", False)
    assert program_of("```bash\nls\n```\n```python\nprint(2)\n```") == ("print(2)\n", True)


def test_only_a_block_counts_where_the_form_is_strict():
    asked = question(Row("file, line 1", MULTIPLE))
    assert not judged("    return side * side", asked, strict=True).readable
    assert judged("```python\n    return side * side\n```", asked, strict=True).correct == 1
    assert not judged(" \n", asked).readable


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "def f(): pass", "entry_point": "f", "test": "assert f()"},
        {"prompt": "def f(): pass", "entry_point": "f", "test": "def check(candidate:"},
        {"text": "Do.", "test_list": []},
        {"test_list": ["assert f() == 1"]},
        {"question": "Do.", "inputs": ["1"], "outputs": []},
        {"question": "Do.", "input_output": "no JSON"},
    ],
)
def test_tests_that_cannot_be_read_name_their_place(row):
    with pytest.raises(DataError, match="data: file, line 7 has"):
        question(Row("file, line 7", row))


def test_the_world_plays_them():
    config = rlvr.Config(data=str(HUMANEVAL), split="test")
    tasks = rlvr.tasks("test", config)
    assert [task.id for task in tasks] == [row["task_id"] for row in ROWS]
    _, (result,), outcome = play(rlvr.Env(config), tasks[0], rlvr.solution(tasks[0]))
    assert result.reward == 1 and outcome.success and outcome.components["tests"] == 1
    assert "```python" in rlvr.world.brief(tasks[0], config).instructions


def test_without_a_sandbox_the_data_are_refused_before_anything_is_played(monkeypatch, capsys):
    monkeypatch.setattr(ways, "_found", lambda: (None, "bubblewrap: bwrap is not installed"))
    with pytest.raises(ConfigError, match="apt-get install"):
        rlvr.tasks("valid", rlvr.Config(data=str(HUMANEVAL), split="test", num_valid=4))
    words = ["eval", "--env", "rlvr", "--data", str(HUMANEVAL), "--policy", "expert"]
    words += ["--format", "action", "--set", "env_settings.split=test"]
    assert main(words) == 2 and "--unsafe-local-exec" in capsys.readouterr().err
    assert main([*words, "--unsafe-local-exec", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert "unsafe_local_exec: true" in said.out and said.err.startswith("warning: a model's programs run here as you")
