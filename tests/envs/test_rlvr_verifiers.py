"""Verifiers of the single-turn world that are done at once: by tables, and by what must hold for any number."""

import asyncio
import inspect
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrl import registry
from agentrl.envs.rlvr.extraction import last_boxed, last_hashes, numbers, one_number
from agentrl.envs.rlvr.questions import Limits, Question
from agentrl.envs.rlvr.verifiers_other import verifier_of
from agentrl.errors import ConfigError, WorldFailure


def verdict(verifier, gold, answer, *, form="hashes", text="", strict=False, row=None):
    golds = (gold,) if isinstance(gold, str) else gold
    question = Question(text, golds, verifier, form, place="rows.jsonl, line 1", row=row or {})
    found = verifier_of(verifier).verify(answer, question, Limits(strict=strict))
    return asyncio.run(found) if inspect.isawaitable(found) else found


@pytest.mark.parametrize(
    ("text", "boxed"),
    [
        ("\\boxed{7}", "7"),
        ("first \\boxed{1}, then \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{a{b}c} and \\boxed{cut {off", None),
        ("$\\boxed 5$", "5"),
        ("\\fbox{3}", "3"),
        ("\\boxedx{3}", None),
        ("\\boxed{}", ""),
        ("none", None),
    ],
)
def test_the_last_box_is_read_with_its_braces(text, boxed):
    assert last_boxed(text) == boxed


def test_what_stands_behind_the_last_hashes_is_read_to_the_end_of_its_line():
    assert last_hashes("#### 3\nno, #### 4 apples\nbye") == "4 apples"
    assert last_hashes("####") is None and last_hashes("### 3") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18),
        ("1,234,567.50", Fraction("1234567.5")),
        ("$1,000", 1000),
        ("\\$18.00 a day", 18),
        ("-7", -7),
        ("\u22127", -7),
        ("x = -3/4", Fraction(-3, 4)),
        ("\\frac{3}{4}", Fraction(3, 4)),
        ("-\\dfrac34", Fraction(-3, 4)),
        ("1 3/4", Fraction(7, 4)),
        ("2\\frac12", Fraction(5, 2)),
        ("13,\\!800", 13800),
        ("1{,}000", 1000),
        (".5", Fraction(1, 2)),
        ("6.02e3", 6020),
        ("18cm", 18),
        ("18.", 18),
        ("3 and 4", None),
        ("1,00,000", None),
        ("1.2.3", None),
        ("1/0", None),
        ("\\frac{1}{0}", None),
        ("1e999999999", None),
        ("9" * 5000, None),
        ("twelve", None),
        ("", None),
    ],
)
def test_a_number_is_read_as_it_is_written(text, value):
    found = one_number(text)
    assert (found.value if found else None) == value


@given(st.fractions(min_value=-(10**12), max_value=10**12, max_denominator=10**6))
def test_equal_fractions_verify_however_they_are_written(value):
    gold = str(value)
    ways = [gold, f"{value.numerator}/{value.denominator}", f"{3 * value.numerator}/{3 * value.denominator}"]
    sign, above = "-" if value < 0 else "", abs(value.numerator)
    ways += [f"{sign}\\frac{{{above}}}{{{value.denominator}}}", f"{100 * value.numerator}/{value.denominator}%"]
    if value.denominator == 1:
        ways += [f"{value.numerator:,}", f"{value.numerator}.00", f"${value.numerator} dollars"]
    for way in ways:
        for answer, form in ((f"so it is\n#### {way}", "hashes"), (f"\\boxed{{{way}}}", "boxed"), (way, "plain")):
            found = verdict("numeric", gold, answer, form=form)
            assert found.correct == 1 and found.readable, answer


@given(st.fractions(max_denominator=1000), st.fractions(max_denominator=1000))
def test_different_fractions_do_not_verify(one, other):
    found = verdict("numeric", str(one), f"#### {other}")
    assert found.correct == float(one == other) and found.answer == str(other)


@given(st.text(max_size=80), st.sampled_from(["numeric", "exact", "choice"]), st.booleans())
def test_no_answer_breaks_a_verifier(text, verifier, strict):
    found = verdict(verifier, "B" if verifier == "choice" else "7", text, strict=strict)
    assert found.correct in (0, 1) and (found.readable or not found.correct)
    assert all(number.value.denominator for number in numbers(text))


@pytest.mark.parametrize("verifier", ["numeric", "exact", "choice"])
@pytest.mark.parametrize(
    "text",
    [
        "1," + "111," * 25_000 + "111_",
        "1" * 100_000 + "_",
        "1" + " " * 100_000 + "x",
        "answer is" + " " * 100_000 + "x",
        "A)" + "*" * 100_000 + "\nx",
        "\\boxed{" * 20_000,
        "\\frac{1}{" * 20_000,
        "####" * 25_000,
        "1/" * 50_000,
    ],
    ids=range(9),
)
def test_no_text_takes_long(text, verifier):
    """One that took as many steps as the square of its length would take minutes."""
    assert verdict(verifier, "B" if verifier == "choice" else "7", text, form="plain").correct == 0


@pytest.mark.parametrize(
    ("answer", "correct", "readable", "formal"),
    [
        ("#### 18", 1, True, True),
        ("2 + 16 = 18\n#### $18.00", 1, True, True),
        ("\\boxed{18}", 1, True, False),
        ("The answer is 18.", 1, True, False),
        ("18", 1, True, False),
        ("#### 17\n#### 18", 1, True, True),
        ("18\n#### 17", 0, True, True),
        ("#### 17 or 18", 0, False, False),
        ("#### none", 0, False, False),
        ("####", 0, False, False),
        ("no idea", 0, False, False),
    ],
)
def test_the_number_in_the_mark_counts_and_else_the_last_one(answer, correct, readable, formal):
    found = verdict("numeric", "18", answer)
    assert (found.correct, found.readable, found.formal) == (correct, readable, formal)


def test_only_the_form_that_was_asked_for_counts_where_that_is_wanted():
    assert verdict("numeric", "18", "#### 18", strict=True).correct == 1
    for answer in ("\\boxed{18}", "18", "The answer is 18."):
        assert not verdict("numeric", "18", answer, strict=True).readable
    assert verdict("numeric", "18", "18", form="plain", strict=True).correct == 1
    assert not verdict("numeric", "18", "It is 18 or 19.", form="plain", strict=True).readable


@pytest.mark.parametrize(
    ("gold", "answer", "text", "correct"),
    [
        ("10", "#### 10%", "What percent is it?", 1),
        ("10", "#### 10%", "How many apples?", 0),
        ("0.1", "#### 10%", "How many apples?", 1),
        ("10%", "#### 10", "How many apples?", 1),
        ("10%", "#### 0.1", "How many apples?", 1),
        ("10%", "#### 1", "How many apples?", 0),
    ],
)
def test_percent_is_a_hundredth_and_a_unit_only_where_it_is_asked_for(gold, answer, text, correct):
    assert verdict("numeric", gold, answer, text=text).correct == correct


@pytest.mark.parametrize(
    ("gold", "answer", "correct"),
    [
        ("Paris", "  Paris ", 1),
        ("New  York", "New York", 1),
        ("Paris", "paris", 0),
        ("Paris", "It is Paris", 0),
        ("Paris", "It is \\boxed{Paris}", 1),
        (("Paris", "Lutetia"), "Lutetia", 1),
    ],
)
def test_exact_is_letter_for_letter(gold, answer, correct):
    assert verdict("exact", gold, answer, form="plain").correct == correct


@pytest.mark.parametrize(
    ("gold", "answer", "letter"),
    [
        ("C", "C", "C"),
        ("C", "(c)", "C"),
        ("C", "C. Rome", "C"),
        ("C", "I think the answer is (C), since A is wrong.", "C"),
        ("C", "Answer: **B**", "B"),
        ("C", "\\boxed{\\text{(C)}}", "C"),
        ("C", "rome.", "C"),
        ("Rome", "C", "C"),
        ("C", "E", ""),
        ("C", "all of them", ""),
    ],
)
def test_a_choice_is_a_letter_or_an_options_words(gold, answer, letter):
    found = verdict("choice", gold, answer, form="plain", row={"choices": ["Oslo", "Bern", "Rome", "Paris"]})
    assert found.answer == letter and found.readable is bool(letter) and found.correct == (letter == "C")


def test_a_function_of_ones_own_is_a_verifier():
    even = "tests.envs.judgements:even"
    assert verdict(even, "", "4").correct == 1 and verdict(even, "", "5").correct == 0
    assert verifier_of(even).rule(Question("", (), even)) == "Answer with an even number."
    half = verdict("tests.envs.judgements:graded", "seven", "sieben", form="plain", row={"answer": "seven"})
    assert half.correct == 0.5 and half.components == {"length": 6.0}
    with pytest.raises(WorldFailure, match="raising on rows.jsonl, line 1: ZeroDivisionError: division by zero"):
        verdict("tests.envs.judgements:raising", "", "4")
    with pytest.raises(WorldFailure, match="returned 7.0; it must be from 0 to 1"):
        verdict("tests.envs.judgements:too_much", "", "4")
    with pytest.raises(ConfigError, match="it must be a function of an answer and a row"):
        verifier_of("math:pi")


def test_every_registered_verifier_is_one():
    for name in registry.TABLES["verifier"]:
        assert verifier_of(name).rule(Question("", ("1",), name, row={"answer": "1"})), name
