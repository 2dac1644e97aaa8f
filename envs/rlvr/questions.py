"""The words of questions that come from data: what is asked, how answers are judged, what a verifier says."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Form = Literal["boxed", "hashes", "plain"]
"""How an answer is marked: in \\boxed{}, after ####, or not at all."""


@dataclass(frozen=True, slots=True)
class Question:
    """One row of a data set, in a world's own words. All of it is plain data, which JSON can hold."""

    text: str
    """What is asked."""
    answers: tuple[str, ...]
    """What is right, canonical one first; empty where the verifier knows without (unit tests)."""
    verifier: str
    """Registered name, or `module:function`."""
    form: Form = "plain"
    kind: str = ""
    place: str = ""
    """Where it stands, as `questions.jsonl, line 3`."""
    worked: str = ""
    """A worked solution, where the row has one."""
    shows_work: bool = False
    """Does the expert write it down before the answer."""
    row: Mapping[str, Any] = field(default_factory=dict)
    """The row's columns, for the verifier."""

    @property
    def gold(self) -> str:
        """The canonical right answer, or an empty text."""
        return self.answers[0] if self.answers else ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of an answer."""

    correct: float
    """From 0 to 1; 1 is a success."""
    readable: bool = True
    """Has it the form of an answer; what has not is an invalid action."""
    answer: str = ""
    """In a canonical form: equal answers are equal texts."""
    formal: bool = True
    """Is it written in the form that was asked for."""
    told: str = ""
    """What is shown beside `Right.` or `Wrong.`, as why it was not verified."""
    components: Mapping[str, float] = field(default_factory=dict)
    """Beside `correct` and `format`, which the world fills in."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one verification may take, for verifiers that work in processes of their own."""

    seconds: float = 2.0
    """Processor time; the clock's time may be `PATIENCE` times as long."""
    memory: float = 1.0
    """GiB."""
    workers: int = 0
    """Processes; 0: one a core, at most 8."""
    strict: bool = False
    """Does an answer count only in the form that was asked for."""
    unsafe: bool = False
    """May programs run without a sandbox where none can be had."""


Verify = Callable[[str, Question, Limits], Verdict | Awaitable[Verdict]]


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """How answers of a kind are judged; a registered name stands for one.

    verify: (what the agent answered, the question, limits) -> Verdict; a coroutine function where it takes long.
    rule: what the agent is told on how to answer.
    solution: the expert's answer to a question, in the form that is asked for, or None where there is none.
    complaint: what is wrong with a question, in words that follow `FILE, line N`, or an empty text; asked on reading.
    """

    verify: Verify
    rule: Callable[[Question], str]
    solution: Callable[[Question], str | None]
    complaint: Callable[[Question], str] = lambda question: "" if question.gold else "has an empty answer"
