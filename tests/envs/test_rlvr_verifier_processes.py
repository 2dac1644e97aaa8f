"""What may take for ever is judged in workers: each costs its own limit, nothing else, and leaves nothing behind."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from agentrl.envs.rlvr import verifier_processes
from agentrl.envs.rlvr.questions import Limits, Question
from agentrl.envs.rlvr.verifier_processes import OverLimit, judged
from agentrl.envs.rlvr.verifiers_other import verifier_of
from agentrl.errors import WorldFailure
from agentrl.workers.processes import children, is_alive

SMALL = Limits(seconds=0.3, memory=0.25, workers=1)
"""For what is to run into it."""
AMPLE = Limits(seconds=20, memory=1, workers=1)
ROWS = Path(__file__).parent / "data" / "rlvr" / "math.jsonl"
HERE = "tests.envs.judgements"


@pytest.fixture(autouse=True, scope="module")
def _nothing_is_left():
    before = set(children(os.getpid()))
    yield
    verifier_processes.end_all()
    assert not [pid for pid in set(children(os.getpid())) - before if is_alive(pid)]


def math(gold, answer, *, text="", limits=AMPLE, form="boxed"):
    golds = (gold,) if isinstance(gold, str) else gold
    return verifier_of("math").verify(answer, Question(text, golds, "math", form), limits)


def all_of(*verdicts):
    async def gathered():
        return await asyncio.gather(*verdicts)

    return asyncio.run(gathered())


def over(function, limits=SMALL):
    """What it ended with, and what the next one in the same place gives."""

    async def both():
        with pytest.raises(OverLimit) as ended:
            await judged(f"{HERE}:{function}", limits)
        return str(ended.value), await judged(f"{HERE}:echo", limits, 1, "two", [3.0, None])

    return asyncio.run(both())


def test_one_operation_that_no_signal_interrupts_is_killed_at_its_processor_time():
    told, after = over("power")
    assert "killed by SIGVTALRM" in told and after == [1, "two", [3.0, None]]


def test_one_that_only_waits_is_killed_by_the_clock(monkeypatch):
    monkeypatch.setattr(verifier_processes, "PATIENCE", 1)
    told, after = over("wait", Limits(seconds=0.5, memory=0.25, workers=1))
    assert "no answer within 0.5 s" in told and after[0] == 1


def test_one_that_takes_all_memory_ends_at_its_limit():
    told, after = over("hoard", Limits(seconds=20, memory=0.25, workers=1))
    assert "MemoryError" in told or "it held" in told
    assert after[0] == 1


def test_what_a_judgement_raises_is_told():
    with pytest.raises(WorldFailure, match="ArithmeticError: no such sum"):
        asyncio.run(judged(f"{HERE}:fail", SMALL))


def test_others_are_judged_while_one_runs_into_its_limit():
    async def four():
        two = Limits(seconds=0.5, memory=0.25, workers=2)
        stuck = asyncio.create_task(judged(f"{HERE}:power", two))
        others = await asyncio.gather(*(judged(f"{HERE}:echo", two, number) for number in range(40)))
        with pytest.raises(OverLimit):
            await stuck
        return others

    assert asyncio.run(four()) == [[number] for number in range(40)]


@pytest.mark.parametrize(
    "bomb", ["9^{9^{9^9}}", "99999999!", "\\binom{999999999}{99999999}", "10^{10^{10}}", "2^{2^{40}}"]
)
def test_a_bomb_costs_its_own_limit_and_is_wrong(bomb):
    found, after = all_of(math("7", f"\\boxed{{{bomb}}}", limits=SMALL), math("7", "\\boxed{\\frac{14}{2}}"))
    assert found.correct == 0 and found.readable and "could not be verified within 0.3 s" in found.told
    assert after.correct == 1


@pytest.mark.parametrize("bomb", ["9**9**9**9", "\\frac{" * 100, "{" * 5000, "9" * 5000, "\\sqrt{" * 400 + "}" * 400])
def test_what_cannot_be_read_is_wrong(bomb):
    (found,) = all_of(math("7", f"\\boxed{{{bomb}}}"))
    assert found.correct == 0


def test_math_takes_what_means_the_same():
    same = [
        ("\\frac{1}{2}", "0.5"), ("\\frac12", "\\dfrac{2}{4}"), ("5", "x=5"), ("\\{1,2,3\\}", "3,2,1"),
        ("1000", "1,000"), ("\\sqrt{2}", "\\frac{2}{\\sqrt2}"), ("18", "\\$18"), ("18", "18 dollars"),
        ("18\\text{ meters}", "18"), ("90^\\circ", "90"), ("\\left(3,\\frac{\\pi}{2}\\right)", "(3, \\pi/2)"),
        ("(a+b)^2", "a^2+2ab+b^2"),
        ("\\text{Evelyn}", "evelyn"), ("25\\%", "25"), ("25\\%", "\\frac14"), ("[1,3)", "\\left[1, 3\\right)"),
        ("1 \\pm \\sqrt{19}", "1-\\sqrt{19}, 1+\\sqrt{19}"),
    ]  # fmt: skip
    verdicts = all_of(*(math(gold, f"so \\boxed{{{answer}}}") for gold, answer in same))
    assert [pair for pair, found in zip(same, verdicts, strict=True) if found.correct != 1] == []
    assert all(found.readable and found.formal for found in verdicts)


def test_math_refuses_what_does_not():
    other = [
        ("\\frac{1}{2}", "0.51"), ("(3,4)", "(4,3)"), ("[1,3)", "(1,3)"), ("[1,3)", "[1,3]"), ("LQSX", "XSQL"),
        ("\\left(3,\\frac{\\pi}{2}\\right)", "3"), ("7", "8"), ("x^2", "2x"), ("\\text{east}", "\\text{west}"),
        ("1,2", "1,2,3"),
    ]  # fmt: skip
    verdicts = all_of(*(math(gold, f"\\boxed{{{answer}}}") for gold, answer in other))
    assert [pair for pair, found in zip(other, verdicts, strict=True) if found.correct != 0] == []


def test_boxes_beside_each_other_are_no_set():
    found = all_of(
        math("\\{12,18\\}", "\\boxed{12}\\boxed{18}"),
        math("18", "\\boxed{12}\\boxed{18}"),
        math("12", "\\boxed{12} \\boxed{18}"),
    )
    assert [one.correct for one in found] == [0, 1, 0]


def test_no_number_is_fished_out_of_prose():
    found = all_of(
        math("7", "First I take 7.\nThen there is 9."),
        math("7", "It may be 7, or it may be 8, who knows"),
        math("7", "7"),
        math("\\sqrt{7}", "$\\sqrt7$"),
    )
    assert [(one.correct, one.readable) for one in found] == [(0, False), (0, True), (1, True), (1, True)]
    assert not any(one.formal for one in found)


def test_ten_percent_is_not_ten_unless_percent_is_asked_for():
    found = all_of(
        math("10", "\\boxed{10\\%}"),
        math("10", "\\boxed{10\\%}", text="What percentage is blue?"),
        math("0.1", "\\boxed{10\\%}"),
    )
    assert [one.correct for one in found] == [0, 1, 1]


def test_right_answers_are_one_text_and_mathematics_needs_no_main_thread():
    async def in_a_thread():
        ways = ("\\frac{14}{4}", "3.5", "\\frac72")
        return await asyncio.to_thread(all_of, *(math("\\frac{7}{2}", f"\\boxed{{{way}}}") for way in ways))

    assert {(found.correct, found.answer) for found in asyncio.run(in_a_thread())} == {(1.0, "\\frac{7}{2}")}


def test_every_gold_answer_is_the_same_as_itself_by_math_verify_too():
    golds = [json.loads(line)["answer"] for line in ROWS.read_text(encoding="utf-8").splitlines()]

    async def each():
        return [await judged("agentrl.envs.rlvr.verifiers_math:same", AMPLE, [[gold, gold]]) for gold in golds]

    assert [gold for gold, right in zip(golds, asyncio.run(each()), strict=True) if not right] == []


def test_a_pattern_that_takes_for_ever_costs_its_own_limit():
    regex = verifier_of("regex").verify
    slow = Question("", ("(a+)+b",), "regex")
    found = all_of(
        regex("a" * 40, slow, SMALL),
        regex("aaab", slow, AMPLE),
        regex(" ab\n", slow, AMPLE),
        regex("aab!", slow, AMPLE),
    )
    assert [one.correct for one in found] == [0, 1, 1, 0] and "not done within 0.3 s" in found[0].told


def test_two_event_loops_at_once_have_workers_of_their_own():
    async def outer():
        here = await judged(f"{HERE}:echo", AMPLE, "here")
        there = await asyncio.to_thread(lambda: asyncio.run(judged(f"{HERE}:echo", AMPLE, "there")))
        return [*here, *there, *await judged(f"{HERE}:echo", AMPLE, "again")]

    assert asyncio.run(outer()) == ["here", "there", "again"]
