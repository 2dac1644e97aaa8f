"""Verifies mathematics by math-verify, in workers with their own limits; what is plainly the same needs none.

What math-verify 0.9 was found to do, and what is done about it:
- two \\boxed{} beside each other are read as a set: the last one alone is handed over, by `extraction`;
- a bare `\\left(3,\\frac{\\pi}{2}\\right)` is read as 3, and numbers are found in any prose: both sides are handed over
  in a \\boxed{} of their own, and nothing is looked for outside of it;
- `LQSX` is a product, equal to `XSQL`: words are compared as words;
- `18 dollars` is a product too: words behind a number are left out, as it does itself with `18\\text{ dollars}`;
- 10 is the same as 10\\%: here it is where the question speaks of percent, or the right answer does;
- its timeout is an alarm, which needs the main thread and does not interrupt one long operation, as 9^{9^{9^9}} is one:
  it is switched off, and the worker has limits instead.
"""

import re

from agentrl.envs.rlvr.extraction import said
from agentrl.envs.rlvr.questions import Limits, Question, Verdict, Verifier
from agentrl.envs.rlvr.verifier_processes import OverLimit, judged
from agentrl.envs.rlvr.verifiers import UNREADABLE, asks_for_percent, gold_solution, rule_of

WARM = ("agentrl.envs.rlvr.warm",)
"""What workers have imported before they are forked."""
MAX_ANSWER = 600
"""Characters of an answer that is read; a longer one is wrong."""
MAX_UNMARKED = 200
"""Characters of a whole reply that is taken for the answer, where nothing is marked: it must be one line too."""

_NOTHING = re.compile(r"\\left|\\right|\\[,;:! ]|\\displaystyle|\\mathrm|\\mathbf|\\$|[$~\s]")
_TEXT = re.compile(r"\\(?:text|textbf|textit|mbox|operatorname)\s*\{([^{}]*)\}")
_SHORT_FRAC = re.compile(r"\\frac(\d)(\d)")
_WORDS = re.compile(r"[A-Za-z]{2,}(?:,?[A-Za-z]+)*")
_PERCENT = re.compile(r"\s*\\?%")
_UNIT = re.compile(r"(?<=[\d}%])\s+[A-Za-z]{2,}(?:\s+[A-Za-z]+)*\.?$")


def plain(latex: str) -> str:
    """LaTeX without what changes its looks alone: equal texts mean the same, as far as they go."""
    text = _TEXT.sub(lambda match: match[1], latex.strip().rstrip(".")).replace("\u2212", "-")
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\\%", "%").replace("{,}", ",")
    text = _NOTHING.sub("", text.replace("\\$", ""))
    text = re.sub(r"\^\{?\\circ\}?", "", text)
    return _SHORT_FRAC.sub(r"\\frac{\1}{\2}", text)


def same(pairs: list[list[str]]) -> bool:
    """Is any of the pairs (right answer, given answer) the same; in a worker, since it may take for ever."""
    from agentrl.envs.rlvr import warm

    return any(warm.same(gold, given) for gold, given in pairs)


def pairs_of(gold: str, given: str, asked_in_percent: bool) -> list[list[str]]:
    """What is compared with what: a % behind a number is a hundredth, and may be left out where percent is asked."""
    golds, givens = [gold], [given]
    in_percent = _PERCENT.search(gold) is not None
    if in_percent:
        golds.append(_PERCENT.sub("", gold))
    if _PERCENT.search(given):
        number = _PERCENT.sub("", given)
        givens = [f"\\frac{{{number}}}{{100}}", *([number] if asked_in_percent or in_percent else [])]
    return [[g, a] for g in golds for a in givens]


async def verify_math(answer: str, question: Question, limits: Limits) -> Verdict:
    """Is it the same mathematics: in the last \\boxed{}, after the last ####, or the whole of a reply of one line."""
    found = said(answer, question.form, limits.strict)
    if found is None or (found.form == "plain" and ("\n" in found.text or len(found.text) > MAX_UNMARKED)):
        return UNREADABLE
    formal = found.form == question.form
    given = _UNIT.sub("", found.text.strip().strip("$").strip()) if len(found.text) <= MAX_ANSWER else ""
    if not given:
        return Verdict(0.0, readable=False, formal=formal)
    text, golds = plain(given), [plain(gold) for gold in question.answers]
    if text in golds:
        return Verdict(1.0, answer=golds[0], formal=formal)
    compared = []
    for gold, words in zip(question.answers, golds, strict=True):
        if _WORDS.fullmatch(words):
            if words.casefold() == text.casefold():
                return Verdict(1.0, answer=golds[0], formal=formal)
        else:
            compared += pairs_of(gold, given, asks_for_percent(question))
    if not compared or (text.isdigit() and all(gold.isdigit() for gold in golds)):
        return Verdict(0.0, answer=text, formal=formal)
    try:
        right = await judged("agentrl.envs.rlvr.verifiers_math:same", limits, compared)
    except OverLimit:
        told = f"It could not be verified within {limits.seconds:g} s and {limits.memory:g} GiB."
        return Verdict(0.0, answer=text, formal=formal, told=told)
    return Verdict(float(right), answer=golds[0] if right else text, formal=formal)


MATH = Verifier(verify=verify_math, rule=rule_of("in LaTeX"), solution=gold_solution)
"""The same mathematics, by math-verify, in processes with limits of time and memory."""
