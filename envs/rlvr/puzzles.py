"""Puzzles with exact verifiers: each kind makes a question of a level, solves it, and judges any answer to it."""

import itertools
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

LEVELS = (1, 2, 3, 4, 5)
"""From easy to hard: how long a question is."""

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_NUMBER = re.compile(r"\d{1,4}")
_EXPRESSION = re.compile(r"\d+|[-+*()]")


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A question, and one right answer to it."""

    kind: str
    level: int
    question: str
    answer: str
    given: tuple[int, ...] = ()
    """Numbers that the verifier needs: for countdown the target, then what may be used."""


@dataclass(frozen=True)
class Kind:
    """How puzzles of a kind are made and judged."""

    rule: str
    """How an answer is written; told to the agent."""
    make: Callable[[random.Random, int], Puzzle]
    canonical: Callable[[str], str | None]
    """An answer in its one form, or None where it has not the form of an answer."""
    right: Callable[[Puzzle, str], bool] = lambda puzzle, answer: answer == puzzle.answer
    """Is a canonical answer right."""


def numbers(text: str) -> str | None:
    """Whole numbers, separated by spaces or commas, as `3 1 4`; None for anything else."""
    parts = text.replace(",", " ").split()
    return " ".join(str(int(p)) for p in parts) if parts and all(_NUMBER.fullmatch(p) for p in parts) else None


def one_number(text: str) -> str | None:
    """A single whole number; None for anything else."""
    found = numbers(text)
    return found if found is not None and " " not in found else None


def brackets(text: str) -> str | None:
    """Closing brackets, one space between them; None for anything else."""
    signs = [sign for sign in text if not sign.isspace()]
    return " ".join(signs) if signs and set(signs) <= set(_CLOSING.values()) else None


def expression(text: str) -> str | None:
    """A sum of products of whole numbers, tokens one space apart; None for what cannot be read or is too long."""
    tokens = _EXPRESSION.findall(text)
    if not tokens or len(tokens) > 40 or "".join(tokens) != "".join(text.split()):
        return None
    return " ".join(tokens) if value_of(tokens) is not None else None


def value_of(tokens: Sequence[str]) -> Fraction | None:
    """What an expression in `+ - * ( )` and whole numbers comes to; None where it is none.

    A parser of its own, by recursive descent: a model's words are never evaluated.
    """
    rest = list(reversed(tokens))

    def factor() -> Fraction | None:
        if not rest:
            return None
        token = rest.pop()
        if token == "(":
            inner = total()
            return inner if rest and rest.pop() == ")" else None
        return Fraction(int(token)) if token.isdigit() else None

    def product() -> Fraction | None:
        result = factor()
        while result is not None and rest and rest[-1] == "*":
            rest.pop()
            other = factor()
            result = None if other is None else result * other
        return result

    def total() -> Fraction | None:
        result = product()
        while result is not None and rest and rest[-1] in "+-":
            sign = 1 if rest.pop() == "+" else -1
            other = product()
            result = None if other is None else result + sign * other
        return result

    result = total()
    return result if not rest else None


def _digits(rng: random.Random, count: int, highest: int = 9) -> list[int]:
    return [rng.randint(0, highest) for _ in range(count)]


def _listed(values: Sequence[object]) -> str:
    return " ".join(map(str, values))


def _sum(rng: random.Random, level: int) -> Puzzle:
    given = _digits(rng, level + 1)
    return Puzzle("sum", level, f"Add: {_listed(given)}.", str(sum(given)))


def _largest(rng: random.Random, level: int) -> Puzzle:
    given = [rng.randint(0, 99) for _ in range(level + 2)]
    return Puzzle("largest", level, f"Largest: {_listed(given)}.", str(max(given)))


def _count(rng: random.Random, level: int) -> Puzzle:
    wanted, given = rng.randint(0, 4), _digits(rng, 2 * level + 3, 4)
    return Puzzle("count", level, f"Count the {wanted}: {_listed(given)}.", str(given.count(wanted)))


def _sort(rng: random.Random, level: int) -> Puzzle:
    given = _digits(rng, level + 2)
    return Puzzle("sort", level, f"Sort: {_listed(given)}.", _listed(sorted(given)))


def _reverse(rng: random.Random, level: int) -> Puzzle:
    given = _digits(rng, level + 2)
    return Puzzle("reverse", level, f"Reverse: {_listed(given)}.", _listed(given[::-1]))


def _missing(rng: random.Random, level: int) -> Puzzle:
    given = list(range(1, 2 * level + 4))
    rng.shuffle(given)
    gone = given.pop()
    return Puzzle("missing", level, f"Missing from 1 to {len(given) + 1}: {_listed(given)}.", str(gone))


def _next(rng: random.Random, level: int) -> Puzzle:
    start, step = rng.randint(0, 9 * level), rng.randint(1, 2 + level)
    given = [start + step * k for k in range(4)]
    return Puzzle("next", level, f"Next: {_listed(given)}.", str(start + 4 * step))


def _brackets(rng: random.Random, level: int) -> Puzzle:
    given, depth = [], [rng.choice("([{")]
    given.append(depth[0])
    while len(given) < 2 * level + 2:
        if depth and rng.random() < 0.35:
            given.append(_CLOSING[depth.pop()])
        else:
            depth.append(rng.choice("([{"))
            given.append(depth[-1])
    if not depth:
        depth.append("(")
        given.append("(")
    return Puzzle("brackets", level, f"Close: {_listed(given)}.", _listed([_CLOSING[sign] for sign in depth[::-1]]))


def _countdown(rng: random.Random, level: int) -> Puzzle:
    given = [rng.randint(1, 9) for _ in range(min(level + 1, 4))]
    while True:
        signs = [rng.choice("+-*") for _ in given[1:]]
        order = rng.sample(given, len(given))
        tokens = [str(order[0]), *itertools.chain(*zip(signs, map(str, order[1:]), strict=True))]
        target = value_of(tokens)
        if target is not None and 0 <= target <= 99:
            question = f"Make {target} from: {_listed(given)}."
            return Puzzle("countdown", level, question, _listed(tokens), (int(target), *given))


def _reaches(puzzle: Puzzle, answer: str) -> bool:
    """The target is reached, each number that was given is used at most once, and no other."""
    tokens = answer.split()
    target, *left = puzzle.given
    for token in tokens:
        if token.isdigit():
            if int(token) not in left:
                return False
            left.remove(int(token))
    return value_of(tokens) == target


KINDS: Mapping[str, Kind] = {
    "sum": Kind("Add: the sum", _sum, one_number),
    "largest": Kind("Largest: the largest number", _largest, one_number),
    "count": Kind("Count: how often the first number stands in the list", _count, one_number),
    "missing": Kind("Missing: the number that the list lacks", _missing, one_number),
    "next": Kind("Next: the number that goes on", _next, one_number),
    "sort": Kind("Sort: the numbers from small to large", _sort, numbers),
    "reverse": Kind("Reverse: the numbers from last to first", _reverse, numbers),
    "brackets": Kind("Close: the brackets that close what is open", _brackets, brackets),
    "countdown": Kind(
        "Make: an expression in + - * and parentheses that comes to the first number, each other at most once",
        _countdown,
        expression,
        _reaches,
    ),
}
"""name -> how it is made and judged."""
