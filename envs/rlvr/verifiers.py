"""Verifiers that are done at once: exact text, numbers, choices. What is asked for may be marked (`Form`)."""

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from agentrl.envs.rlvr.extraction import Number, Said, last_number, one_number, said
from agentrl.envs.rlvr.questions import Limits, Question, Verdict, Verifier

MARKS = {"boxed": "\\boxed{{{}}}", "hashes": "#### {}", "plain": "{}"}
"""Form -> how an answer is written in it."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MAX_OPTION = 500
"""Characters of a text that is looked at for an option as a whole; a longer one has to say `the answer is C`."""
_PERCENT = re.compile(r"%|\bper\s?cent", re.IGNORECASE)
_NAMED = re.compile(r"answer\s{0,5}(?:is|:)\s{0,5}:?\s{0,5}[*_$]{0,5}\(?([A-Za-z])\)?(?![A-Za-z])", re.IGNORECASE)
_LETTER = re.compile(r"[*_$\s]*(?:\\text\s*\{)?\(?([A-Za-z])\)?\}?(?:[.:)][^\n]*)?[*_$\s]*")

UNREADABLE = Verdict(0.0, readable=False, formal=False)
"""There was no answer in it."""


def rule_of(what: str) -> Callable[[Question], str]:
    """How an answer is marked, told to the agent.   what: the answer, as `the number alone`."""

    def rule(question: Question) -> str:
        if question.form == "boxed":
            return f"Put the final answer, {what}, into \\boxed{{}}."
        if question.form == "hashes":
            return f"End with a line of #### and the final answer, {what}."
        return f"Answer with {what}."

    return rule


def marked(question: Question, answer: str) -> str:
    """An answer in the form that the question asks for."""
    return MARKS[question.form].format(answer)


def gold_solution(question: Question) -> str | None:
    """The canonical right answer, in the form that is asked for."""
    return marked(question, question.gold) if question.gold else None


def plain_text(text: str) -> str:
    """One space between words, none at the ends."""
    return " ".join(text.split())


def verify_exact(answer: str, question: Question, limits: Limits) -> Verdict:
    """Is it letter for letter one of the right answers, white space aside."""
    found = said(answer, question.form, limits.strict)
    if found is None:
        return UNREADABLE
    text = plain_text(found.text)
    right = text in {plain_text(gold) for gold in question.answers}
    return Verdict(float(right), answer=text, formal=found.form == question.form)


def asked_number(answer: str, question: Question, limits: Limits) -> tuple[Number, Said] | None:
    """The number that answers: the one in the mark, else the last of the reply; None: none, or several in the mark."""
    found = said(answer, question.form, limits.strict)
    if found is None:
        return None
    read = last_number if found.form == "plain" and not limits.strict else one_number
    number = read(found.text)
    return (number, found) if number is not None else None


def same_number(gold: Number, given: Number, asked_in_percent: bool) -> bool:
    """Is it the same: 12% is 0.12; and also 12, where the question asks for percent, as graders of GSM8K have it."""
    values = {given.value / 100 if given.percent else given.value}
    if asked_in_percent:
        values.add(given.value)
    golds = {gold.value / 100 if gold.percent else gold.value}
    if gold.percent:
        golds.add(gold.value)
    return bool(golds & values)


def asks_for_percent(question: Question) -> bool:
    """Does the question speak of percent."""
    return bool(_PERCENT.search(question.text))


def verify_numeric(answer: str, question: Question, limits: Limits) -> Verdict:
    """Is it the same number, exactly: 0.5, 1/2, \\frac12 and 50% are."""
    found = asked_number(answer, question, limits)
    if found is None:
        return UNREADABLE
    number, where = found
    golds = [gold for gold in map(one_number, question.answers) if gold is not None]
    right = any(same_number(gold, number, asks_for_percent(question)) for gold in golds)
    formal = where.form == question.form and (where.form != "plain" or one_number(where.text) is not None)
    return Verdict(float(right), answer=written_number(number), formal=formal)


def written_number(number: Number) -> str:
    """A number in its one form: `3`, `-1/2`, `12%`."""
    return f"{Fraction(number.value)}{'%' if number.percent else ''}"


def _numeric_complaint(question: Question) -> str:
    for answer in question.answers:
        if one_number(answer) is None:
            return f"has the answer {answer[:60]!r}, which is no number: use verifier math or exact"
    return "" if question.answers else "has no answer"


def options_of(row: Mapping[str, Any]) -> list[str]:
    """The options of a choice, in order; empty where the row lists none."""
    found = row.get("choices", row.get("options"))
    if isinstance(found, Mapping) and "text" in found:  # as in ARC: {"text": [...], "label": [...]}
        found = found["text"]
    if isinstance(found, Mapping):
        return [str(value) for _, value in sorted(found.items())]
    return [str(value) for value in found] if isinstance(found, Sequence) and not isinstance(found, str) else []


def letter_of(text: str, options: Sequence[str]) -> str | None:
    """The letter that a text names: as `C`, `(c)`, `C. Paris`, `the answer is C`, or by the option's own words."""
    whole = _LETTER.fullmatch(text.strip()) if len(text) <= MAX_OPTION else None
    named = _NAMED.findall(text)
    letter = (whole[1] if whole else named[-1] if named else "").upper()
    if not letter:
        words = plain_text(text).casefold().rstrip(".")
        same = [i for i, option in enumerate(options) if plain_text(option).casefold().rstrip(".") == words]
        letter = LETTERS[same[0]] if len(same) == 1 and same[0] < len(LETTERS) else ""
    known = LETTERS[: len(options)] if options else LETTERS
    return letter if letter and letter in known else None


def verify_choice(answer: str, question: Question, limits: Limits) -> Verdict:
    """Is it the letter of the right option."""
    found = said(answer, question.form, limits.strict)
    options = options_of(question.row)
    letter = letter_of(found.text, options) if found is not None else None
    if found is None or letter is None:
        return UNREADABLE
    alone = found.form != "plain" or found.text.strip("(). ").upper() == letter
    right = letter in {letter_of(gold, options) for gold in question.answers}
    return Verdict(float(right), answer=letter, formal=found.form == question.form and alone)


def _choice_complaint(question: Question) -> str:
    options = options_of(question.row)
    if letter_of(question.gold, options) is None:
        known = f"one of {', '.join(LETTERS[: len(options)])}, or an option's text" if options else "a letter"
        return f"has the answer {question.gold[:60]!r}; a choice's is {known}"
    return ""


def _choice_solution(question: Question) -> str | None:
    return marked(question, letter_of(question.gold, options_of(question.row)) or question.gold)


EXACT = Verifier(verify=verify_exact, rule=rule_of("letter for letter and nothing else"), solution=gold_solution)
"""The very text, white space aside."""
NUMERIC = Verifier(
    verify=verify_numeric, rule=rule_of("one number"), solution=gold_solution, complaint=_numeric_complaint
)
"""The same number, exactly: after ####, in \\boxed{}, or the last one; commas, units, %, fractions."""
CHOICE = Verifier(
    verify=verify_choice,
    rule=rule_of("the letter of one option"),
    solution=_choice_solution,
    complaint=_choice_complaint,
)
"""The letter of the right option, or its words."""
