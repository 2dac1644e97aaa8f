"""Questions of reasoning-gym (an extra), and its own scores as a verifier, in workers with their own limits.

Its generators are seeded; a question is named by generator, seed and number, and is made again where it is scored. What
was found in 0.1.25: some scores raise on text that they do not expect (here 0), some give 0.01 to any text (a success
is 1), `game_of_life_halting` takes any text for yes (left out), and some evaluate the answer as Python (`EVALUATING`):
there, answers of anything but numbers, signs and the names of functions are wrong without being looked at.
"""

import functools
import importlib
import inspect
import random
import re
from collections.abc import Iterator
from typing import Any

from agentrl.envs.rlvr.extraction import said
from agentrl.envs.rlvr.questions import Limits, Question, Verdict, Verifier
from agentrl.envs.rlvr.verifier_processes import OverLimit, judged
from agentrl.envs.rlvr.verifiers import UNREADABLE, marked, plain_text
from agentrl.errors import ConfigError, missing_package, nearest
from agentrl.seeds import seed_of

WARM = ("reasoning_gym",)
PREFIX = "reasoning-gym:"
LEFT_OUT = ("game_of_life_halting", "composite")
"""Generators that are not taken: one scores any text as right, the other is made of several by a file."""
EVALUATING = re.compile(r"\beval\(|\bexec\(|parse_expr|sympify")
"""In the source of a score: the answer may be evaluated as Python."""
SAFE = (
    "codeio", "number_sorting", "gsm_symbolic", "bitwise_arithmetic", "basic_arithmetic", "propositional_logic",
)  # fmt: skip
"""Generators whose source has such a word, but for what they make themselves; as it was read in 0.1.25."""
MAX_ANSWER = 4000
_STALE = 200

_HARMLESS = re.compile(r"[\w\s+\-*/^().,=\[\]'\"]*")
_ATTRIBUTE = re.compile(r"__|[A-Za-z]_|_[A-Za-z]|\.\s*[A-Za-z]|[A-Za-z)\]'\"]\s*\.")
_NAMES = frozenset("sin cos tan exp log ln sqrt asin acos atan sinh cosh tanh pi E I C Abs".split())


def _gym() -> Any:
    try:
        return importlib.import_module("reasoning_gym")
    except ImportError as error:
        install = "pip install 'agentrl[reasoning-gym]'"
        raise missing_package("env_settings.data=reasoning-gym:...", "reasoning_gym", install) from error


def generators_of(data: str) -> tuple[str, ...]:
    """The generators that `reasoning-gym:A,B` names, or all of them where it names none.

    Raises MissingDependency, ConfigError for a name that there is not, or that is left out.
    """
    factory = importlib.import_module("reasoning_gym.factory") if _gym() else None
    known = sorted(set(getattr(factory, "DATASETS", ())) - set(LEFT_OUT))
    wanted = [name.strip().replace("-", "_") for name in data.removeprefix(PREFIX).split(",") if name.strip()]
    for name in wanted:
        if name in LEFT_OUT:
            raise ConfigError(f"data names reasoning-gym's {name!r}, which is left out: its score is no verifier")
        if name not in known:
            raise ConfigError(f"reasoning-gym has no generator {name!r}{nearest(name, known)} ({len(known)} are known)")
    return tuple(wanted or known)


@functools.lru_cache(256)
def _entry(generator: str, seed: int, number: int) -> dict[str, Any]:
    """One question with its answer and what its score needs."""
    state = random.getstate()
    try:
        made: dict[str, Any] = _gym().create_dataset(generator, size=number + 1, seed=seed)[number]
        return made
    finally:
        random.setstate(state)


def questions_of(generator: str) -> Iterator[Question]:
    """Questions of a generator without end, each one new; ends after many draws that were not."""
    seed, seen, stale, number = seed_of("reasoning-gym", generator) % 2**31, set(), 0, 0
    while stale < _STALE:
        entry = _entry(generator, seed, number)
        text, number, stale = str(entry["question"]), number + 1, stale + 1
        if text in seen or not text.strip():
            continue
        seen.add(text)
        stale = 0
        answer = entry.get("answer")
        yield Question(
            text,
            (str(answer),) if answer not in (None, "") else (),
            "reasoning-gym",
            kind=generator,
            place=f"{PREFIX}{generator}, number {number - 1}",
            row={"generator": generator, "seed": seed, "number": number - 1},
        )


def harmless(answer: str) -> bool:
    """May an answer be handed to a score that evaluates it: numbers, signs, letters alone, names of known functions."""
    if not _HARMLESS.fullmatch(answer) or _ATTRIBUTE.search(answer):
        return False
    quoted_out = re.sub(r"'[\w+\-*/.]*'|\"[\w+\-*/.]*\"", "", answer)
    names = re.findall(r"[A-Za-z]\w*", quoted_out)
    return "'" not in quoted_out and '"' not in quoted_out and all(len(n) == 1 or n in _NAMES for n in names)


def _evaluates(generator: str, rate: Any) -> bool:
    return generator not in SAFE and bool(EVALUATING.search(inspect.getsource(inspect.getmodule(rate))))  # type: ignore[arg-type]


def score(generator: str, seed: int, number: int, answer: str) -> float:
    """What reasoning-gym gives for an answer, from 0 to 1; in a worker."""
    gym = _gym()
    rate = gym.get_score_answer_fn(generator)
    entry = _entry(generator, seed, number)
    if _evaluates(generator, rate) and answer.strip() != str(entry.get("answer")).strip() and not harmless(answer):
        return 0.0
    try:
        given = float(rate(answer=answer, entry=entry))
    except Exception:  # of its score, on text that it did not expect
        return 0.0
    return min(max(given, 0.0), 1.0) if given == given else 0.0


async def verify_gym(answer: str, question: Question, limits: Limits) -> Verdict:
    """reasoning-gym's own score; a success is 1."""
    found = said(answer, question.form, limits.strict)
    if found is None or len(found.text) > MAX_ANSWER:
        return UNREADABLE
    row, formal = question.row, found.form == question.form
    text = plain_text(found.text)
    try:
        given = await judged(
            "agentrl.envs.rlvr.verifiers_gym:score", limits, row["generator"], row["seed"], row["number"], found.text
        )
    except OverLimit:
        return Verdict(0.0, answer=text, formal=formal, told=f"It was not scored within {limits.seconds:g} s.")
    return Verdict(float(given), answer=text, formal=formal)


GYM = Verifier(
    verify=verify_gym,
    rule=lambda question: "Answer with what the question asks for, and nothing else.",
    solution=lambda question: marked(question, question.gold) if question.gold else None,
    complaint=lambda question: "",
)
"""reasoning-gym's own score of its own questions."""
