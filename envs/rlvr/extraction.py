"""Finds the answer in what was said: in the last \\boxed{}, after the last ####, or as a number.

No text is evaluated here, and numbers are bounded: what is read takes no longer than its text is long.
"""

import itertools
import re
from fractions import Fraction
from typing import NamedTuple

from agentrl.envs.rlvr.questions import Form

MAX_NUMBER = 120
"""Characters of a number that is read."""
MAX_END = 2000
"""Characters at the end of a reply in which its last number is looked for."""

_BOXED = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_HASHES = re.compile(r"####[ \t]*([^\n]*)")
_SPACES = re.compile(r"\\[,;:! ]|~|\u2009|\u202f|\u00a0")
_PLAIN = (
    r"(?:(?:\d{1,3}(?:,\d{3}){1,30}|\d{1,100})(?:\.\d{0,100})?|\.\d{1,100})(?:[eE][-+]?\d{1,3})?"
    r"(?![\d_]|\.\d|[eE][-+]?\d)"
)
_FRAC = r"\\[dtc]?frac\s{0,9}(?:\{\s{0,9}(-?\d{1,50})\s{0,9}\}\s{0,9}\{\s{0,9}(-?\d{1,50})\s{0,9}\}|(\d)\s{0,9}(\d))"
_WHOLE = r"(?:(\d{1,9})(?:\s{1,9}(?=\d{1,9}\s{0,9}/\s{0,9}\d)|\s{0,9}(?=\\[dtc]?frac)))?"
_NUMBER = re.compile(
    rf"(?<![\w.])([-+]?)(?:\\?[$£€]\s?)?{_WHOLE}(?:{_FRAC}|({_PLAIN})(?:\s{{0,9}}/\s{{0,9}}({_PLAIN}))?)\s{{0,9}}(\\?%)?"
)
"""Every repetition is bounded, so that no text takes long."""


class Said(NamedTuple):
    """The answer in a reply."""

    text: str
    form: Form


class Number(NamedTuple):
    """A number that was written."""

    value: Fraction
    percent: bool
    """Stands a % behind it; the value is what stands before it."""


def last_boxed(text: str) -> str | None:
    """What the last \\boxed{} holds, braces balanced; None without one, or where it is cut off."""
    mark = next(reversed([*_BOXED.finditer(text)]), None)
    if mark is None:
        return None
    rest = text[mark.end() :]
    if not rest.startswith("{"):
        return rest.split("$")[0].split("\n")[0].strip() or None  # as `\boxed 5`
    depth, place = 0, 0
    while place < len(rest):
        sign = rest[place]
        depth += (sign == "{") - (sign == "}")
        if depth == 0:
            return rest[1:place].strip()
        place += 2 if sign == "\\" else 1
    return None


def last_hashes(text: str) -> str | None:
    """What stands behind the last ####, to the end of its line; None without one."""
    found = _HASHES.findall(text)
    return found[-1].strip() or None if found else None


def said(text: str, form: Form, strict: bool) -> Said | None:
    """The answer in a reply: in the mark that was asked for, else in the other one, else the reply as it stands.

    strict: only as it was asked for.   None where there is none: nothing was said, or a mark is empty or cut off.
    """
    marks: dict[Form, str | None] = {"boxed": last_boxed(text), "hashes": last_hashes(text)}
    if form != "plain" and (strict or marks[form]):
        return Said(marks[form] or "", form) if marks[form] else None
    if form == "plain" and strict:
        return Said(text.strip(), "plain") if text.strip() else None
    for other, found in marks.items():
        if found:
            return Said(found, other)
    if _BOXED.search(text) or "####" in text:
        return None
    return Said(text.strip(), "plain") if text.strip() else None


def numbers(text: str, most: int = 1000) -> list[Number]:
    """The first numbers in a text, in order: with commas, as a fraction, as \\frac{}{}, in percent."""
    text = _SPACES.sub("", text).replace("{,}", ",").replace("\u2212", "-")
    found = (_value(match) for match in _NUMBER.finditer(text))
    return list(itertools.islice((number for number in found if number is not None), most))


def one_number(text: str) -> Number | None:
    """The number of a text that holds one alone, whatever stands around it (`x = $18.00 a day`); None otherwise."""
    found = numbers(text, 2)
    return found[0] if len(found) == 1 else None


def last_number(text: str) -> Number | None:
    """The last number of a text, as far as its end is looked at; None where there is none."""
    found = numbers(text[-MAX_END:], MAX_END)
    return found[-1] if found else None


def _value(match: re.Match[str]) -> Number | None:
    if len(match[0]) > MAX_NUMBER:
        return None
    sign, whole, above, below, short_above, short_below, plain, divisor, percent = match.groups()
    if plain is not None:
        top, bottom = Fraction(plain.replace(",", "")), Fraction((divisor or "1").replace(",", ""))
    else:
        top, bottom = Fraction(above or short_above), Fraction(below or short_below)
    if bottom == 0:
        return None
    value = Fraction(whole or 0) + top / bottom
    return Number(-value if sign == "-" else value, percent is not None)
