"""Verifiers by a pattern (in a worker, since a pattern may take for ever), and by a function of the user's own."""

import functools
import inspect
import re
from collections.abc import Awaitable, Mapping
from typing import Any

from agentrl.envs.rlvr.extraction import said
from agentrl.envs.rlvr.questions import Limits, Question, Verdict, Verifier
from agentrl.envs.rlvr.verifier_processes import OverLimit, judged
from agentrl.envs.rlvr.verifiers import UNREADABLE, marked, plain_text, rule_of
from agentrl.errors import ConfigError, WorldFailure
from agentrl.registry import load

MAX_ANSWER = 20_000
"""Characters of an answer that a pattern is held against."""


def matches(patterns: list[str], text: str) -> bool:
    """Does any of the patterns match the whole text; in a worker."""
    return any(re.fullmatch(pattern, text) for pattern in patterns)


async def verify_regex(answer: str, question: Question, limits: Limits) -> Verdict:
    """Does the whole answer match the pattern."""
    found = said(answer, question.form, limits.strict)
    if found is None or len(found.text) > MAX_ANSWER:
        return UNREADABLE
    text, formal = found.text.strip(), found.form == question.form
    try:
        right = await judged("agentrl.envs.rlvr.verifiers_other:matches", limits, list(question.answers), text)
    except OverLimit:
        told = f"The pattern was not done within {limits.seconds:g} s."
        return Verdict(0.0, answer=plain_text(text), formal=formal, told=told)
    return Verdict(float(right), answer=plain_text(text), formal=formal)


def _regex_complaint(question: Question) -> str:
    for pattern in question.answers:
        try:
            re.compile(pattern)
        except re.error as error:
            return f"has the pattern {pattern[:60]!r}, which is no regular expression ({error})"
    return "" if question.gold else "has an empty pattern"


def _example(question: Question) -> str | None:
    """The row's `example`, or the pattern where it matches itself; None where neither does."""
    example = str(question.row.get("example") or question.gold)
    return marked(question, example) if matches(list(question.answers), example) else None


REGEX = Verifier(
    verify=verify_regex,
    rule=rule_of("the answer alone, in the form that the question says"),
    solution=_example,
    complaint=_regex_complaint,
)
"""A regular expression that the whole answer matches; the row's `example` is the expert's answer."""


@functools.lru_cache(64)
def verifier_of(name: str) -> Verifier:
    """A registered verifier; or a function of the user's by `module:function`, as one.

    Such a function takes the answer (all that the agent said as its action) and the row (a mapping of its columns), and
    returns whether it is right: a bool, a number from 0 to 1, or a mapping with `correct` and further components. It
    may be a coroutine function. Raises UnknownName, ConfigError for what can not be called.
    """
    found = load("verifier", name)
    if isinstance(found, Verifier):
        return found
    if not callable(found):
        raise ConfigError(f"verifier {name!r} is {type(found).__name__}; it must be a function of an answer and a row")
    function = found

    async def verify(answer: str, question: Question, limits: Limits) -> Verdict:
        try:
            said_of_it = function(answer, question.row)
            if inspect.isawaitable(said_of_it):
                said_of_it = await _awaited(said_of_it)
            return _verdict(said_of_it, answer)
        except Exception as error:
            raise WorldFailure(f"verifier {name} on {question.place}: {type(error).__name__}: {error}") from error

    rule = inspect.getdoc(function) or ""
    return Verifier(
        verify=verify,
        rule=lambda question: rule.split("\n\n")[0].replace("\n", " "),
        solution=lambda question: marked(question, question.gold) if question.gold else None,
        complaint=lambda question: "",
    )


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _verdict(value: Any, answer: str) -> Verdict:
    rest = {str(name): float(number) for name, number in value.items()} if isinstance(value, Mapping) else {}
    correct = float(rest.pop("correct", 0.0) if isinstance(value, Mapping) else value)
    if not 0 <= correct <= 1:
        raise ValueError(f"it returned {correct}; it must be from 0 to 1")
    readable = bool(answer.strip())
    return Verdict(correct, readable=readable, answer=plain_text(answer), formal=readable, components=rest)
