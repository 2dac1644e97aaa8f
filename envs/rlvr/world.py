"""The members of the single-turn world; `agentrl.envs.rlvr` shows them, with what an agent sees, may do and is paid."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agentrl.envs.rlvr.puzzles import KINDS, LEVELS, Puzzle
from agentrl.errors import ConfigError, WorldFailure, nearest
from agentrl.models.tiny.build import Vocabulary
from agentrl.seeds import seed_of
from agentrl.settings import require
from agentrl.types import Observation, Outcome, StepResult, Task

SPLITS = ("train", "valid", "test")
VALIDATION = "valid"
REPEATS = "strict"
_TENTHS = {"train": range(8), "valid": (8,), "test": (9,)}
"""Which tenths of all questions belong to a split, by their hash."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the single-turn world."""

    kinds: tuple[str, ...] = tuple(KINDS)
    """Which kinds of puzzles there are."""
    levels: tuple[int, ...] = (1, 2, 3)
    """How hard they are, from 1 to 5: every kind has as many of each."""
    num_train: int = 2000
    """Questions of the training split."""
    num_valid: int = 200
    """Questions of each of the other splits."""
    format_share: float = 0.0
    """Share of the score that an answer of the right form earns, right or wrong."""

    def __post_init__(self) -> None:
        for kind in self.kinds:
            require(kind in KINDS, f"kinds has {kind!r}{nearest(kind, KINDS)} (known: {', '.join(KINDS)})")
        for level in self.levels:
            require(level in LEVELS, f"levels has {level}; it must be from {LEVELS[0]} to {LEVELS[-1]}")
        require(bool(self.kinds and self.levels), "kinds and levels must not be empty")
        for name in ("num_train", "num_valid"):
            require(getattr(self, name) >= 1, f"{name} is {getattr(self, name)}; it must be at least 1")
        require(0 <= self.format_share < 1, f"format_share is {self.format_share}; it must be from 0 to below 1")


def tasks(split: str, config: Config | None = None) -> list[Task]:
    """Every question of a split, in a fixed order, kinds and levels in turn. Raises ConfigError for an unknown split.

    A kind that has no further question at a level (there are few at the lowest) is passed over.
    """
    if split not in SPLITS:
        raise ConfigError(f"rlvr has no split {split!r}{nearest(split, SPLITS)}; its splits are {', '.join(SPLITS)}")
    config = config or Config()
    seen: set[str] = set()  # two levels of a kind may ask the same
    sources = [_questions(kind, level, split, seen) for level in config.levels for kind in config.kinds]
    found: list[Task] = []
    wanted = config.num_train if split == "train" else config.num_valid
    while sources and len(found) < wanted:
        drawn = [(source, next(source, None)) for source in sources]
        sources = [source for source, puzzle in drawn if puzzle is not None]
        found += [_task(puzzle, split) for _, puzzle in drawn if puzzle is not None]
    return found[:wanted]


def _questions(kind: str, level: int, split: str, seen: set[str]) -> Iterator[Puzzle]:
    """Different questions of a kind and a level that belong to the split; ends after many draws that were not new."""
    rng, stale = random.Random(seed_of("rlvr", kind, level)), 0
    while stale < 2000:
        puzzle = KINDS[kind].make(rng, level)
        stale += 1
        if puzzle.question not in seen:
            seen.add(puzzle.question)
            if seed_of("rlvr-split", puzzle.question) % 10 in _TENTHS[split]:
                stale = 0
                yield puzzle


def _task(puzzle: Puzzle, split: str) -> Task:
    return Task(
        "rlvr",
        f"{puzzle.kind}-{puzzle.level}-{seed_of(puzzle.question):016x}",
        split,
        seed_of("rlvr-task", puzzle.question),
        kind=puzzle.kind,
        difficulty=(puzzle.level - LEVELS[0]) / (LEVELS[-1] - LEVELS[0]),
        data=puzzle,
    )


def instructions(config: Config | None = None) -> str:
    """What the agent is told before the question."""
    rules = "\n".join(f"  {KINDS[kind].rule}" for kind in (config or Config()).kinds)
    return f"Answer the question. The answer alone counts, written as follows:\n{rules}"


def tools(config: Config | None = None) -> list[dict[str, Any]] | None:
    """None: answers are plain text."""
    return None


def solution(task: Task) -> list[str]:
    """The right answer: every task can be checked without a model."""
    return [task.data.answer]


def vocabulary() -> Vocabulary:
    """Every word of the questions and answers: what a tiny model needs to know (`--model tiny-random`)."""
    heads = ("Add:", "Largest:", "Count the", "Missing from", "Next:", "Sort:", "Reverse:", "Close:", "Make", "from:")
    signs = ("(", ")", "[", "]", "{", "}", "+", "-", "*", ":", "to", "Right", "Wrong")
    return Vocabulary(phrases=heads, words=(*signs, *map(str, range(100))), dropped=r"\.")


class Env:
    """One question; its methods are coroutines, so that it runs where the runner runs, without a worker."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self._puzzle: Puzzle | None = None
        self._outcome: Outcome | None = None

    async def reset(self, task: Task) -> Observation:
        """Ask."""
        if not isinstance(task.data, Puzzle):
            raise ConfigError(f"task {task.id!r} is not one of rlvr's; take tasks from agentrl.envs.rlvr.tasks")
        self._puzzle, self._outcome = task.data, None
        return Observation(task.data.question)

    async def step(self, action: str) -> StepResult:
        """Judge the answer; an answer that has not the form of one is not valid."""
        if self._puzzle is None or self._outcome is not None:
            raise WorldFailure("rlvr: step after the end of an episode; call reset first")
        kind = KINDS[self._puzzle.kind]
        answer = kind.canonical(action)
        right = answer is not None and kind.right(self._puzzle, answer)
        parts = {"correct": float(right), "format": float(answer is not None)}
        share = self.config.format_share
        score = (1 - share) * parts["correct"] + share * parts["format"]
        self._outcome = Outcome(right, score, answer if answer is not None else "", parts)
        told = Observation("Right." if right else "Wrong.")
        return StepResult(told, reward=score, valid=answer is not None, terminated=True)

    def outcome(self) -> Outcome:
        """Right or not; no answer is wrong."""
        if self._outcome is None:
            return Outcome(False, 0.0, "", {"correct": 0.0, "format": 0.0})
        return self._outcome

    async def close(self) -> None:
        """Nothing is held."""
