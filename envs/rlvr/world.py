"""The members of the single-turn world; `agentrl.envs.rlvr` shows them, with what an agent sees, may do and is paid."""

import inspect
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentrl.briefs import Brief
from agentrl.envs.rlvr.hints import puzzle_hints, question_hints
from agentrl.envs.rlvr.puzzles import KINDS, LEVELS, Puzzle
from agentrl.envs.rlvr.questions import Question, Verdict
from agentrl.envs.rlvr.settings import Config
from agentrl.envs.rlvr.sources import TENTHS, data_tasks
from agentrl.envs.rlvr.verifiers_other import verifier_of
from agentrl.errors import ConfigError, WorldFailure, nearest
from agentrl.models.tiny.build import Vocabulary
from agentrl.seeds import seed_of
from agentrl.types import Observation, Outcome, StepResult, Task

SPLITS = ("train", "valid", "test")
VALIDATION = "valid"
REPEATS = "strict"
_NUM_TRAIN, _NUM_VALID = 2000, 200


def tasks(split: str, config: Config | None = None) -> list[Task]:
    """Every question of a split, in a fixed order: of puzzles kinds and levels in turn, of data their own.

    A kind that has no further puzzle at a level (there are few at the lowest) is passed over.
    Raises ConfigError for an unknown split or one without questions, DataError for data that cannot be read.
    """
    if split not in SPLITS:
        raise ConfigError(f"rlvr has no split {split!r}{nearest(split, SPLITS)}; its splits are {', '.join(SPLITS)}")
    config = config or Config()
    if not config.generated:
        return data_tasks(split, config)
    seen: set[str] = set()  # two levels of a kind may ask the same
    sources = [_puzzles(kind, level, split, seen) for level in config.levels for kind in config.kinds]
    found: list[Task] = []
    wanted = (config.num_train or _NUM_TRAIN) if split == "train" else (config.num_valid or _NUM_VALID)
    while sources and len(found) < wanted:
        drawn = [(source, next(source, None)) for source in sources]
        sources = [source for source, puzzle in drawn if puzzle is not None]
        found += [_task(puzzle, split) for _, puzzle in drawn if puzzle is not None]
    return found[:wanted]


def _puzzles(kind: str, level: int, split: str, seen: set[str]) -> Iterator[Puzzle]:
    """Different puzzles of a kind and a level that belong to the split; ends after many draws that were not new."""
    rng, stale = random.Random(seed_of("rlvr", kind, level)), 0
    while stale < 2000:
        puzzle = KINDS[kind].make(rng, level)
        stale += 1
        if puzzle.question not in seen:
            seen.add(puzzle.question)
            if seed_of("rlvr-split", puzzle.question) % 10 in TENTHS[split]:
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
    """What the agent is told before a puzzle; before a question from data it is told its `brief`."""
    config = config or Config()
    if not config.generated:
        return config.instructions or "Answer the question."
    rules = "\n".join(f"  {KINDS[kind].rule}" for kind in config.kinds)
    return f"Answer the question. The answer alone counts, written as follows:\n{rules}"


def brief(task: Task, config: Config) -> Brief:
    """What the agent is told before this very task: how its answer is written."""
    if isinstance(task.data, Question) and not config.instructions:
        rule = verifier_of(task.data.verifier).rule(task.data)
        return Brief(f"{instructions(config)} {rule}".strip())
    return Brief(instructions(config))


def tools(config: Config | None = None) -> list[dict[str, Any]] | None:
    """None: answers are plain text."""
    return None


def solution(task: Task) -> list[str] | None:
    """The right answer, in the form that is asked for; None for a question whose answer is not known."""
    if isinstance(task.data, Question):
        answer = verifier_of(task.data.verifier).solution(task.data)
        worked = f"{task.data.worked}\n" if task.data.worked and task.data.shows_work else ""
        return None if answer is None else [worked + answer]
    return [task.data.answer]


def guess(task: Task, seed: int) -> str:
    """A blind guess: the answer to another puzzle of the same kind and level; of data a choice's letter, or a number.

    The same for the same seed.
    """
    chance = random.Random(seed)
    if isinstance(task.data, Question):
        choices = task.data.row.get("choices")
        return chr(ord("A") + chance.randrange(len(choices))) if choices else str(chance.randrange(100))
    return KINDS[task.data.kind].make(chance, task.data.level).answer


def hints(task: Task) -> Mapping[str, Sequence[str]]:
    """Tiers of help: knowledge, planning, solution."""
    return question_hints(task.data) if isinstance(task.data, Question) else puzzle_hints(task.data)


def vocabulary() -> Vocabulary:
    """Every word of the puzzles and their answers: what a tiny model needs to know (`--model tiny-random`)."""
    heads = ("Add:", "Largest:", "Count the", "Missing from", "Next:", "Sort:", "Reverse:", "Close:", "Make", "from:")
    signs = ("(", ")", "[", "]", "{", "}", "+", "-", "*", ":", "to", "Right", "Wrong")
    return Vocabulary(phrases=heads, words=(*signs, *map(str, range(100))), dropped=r"\.")


class Env:
    """One question; its methods are coroutines, so that it runs where the runner runs, without a worker.

    A verifier that may take long has workers of its own (`verifier_processes`).
    """

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self._asked: Puzzle | Question | None = None
        self._outcome: Outcome | None = None

    async def reset(self, task: Task) -> Observation:
        """Ask."""
        if not isinstance(task.data, (Puzzle, Question)):
            raise ConfigError(f"task {task.id!r} is not one of rlvr's; take tasks from agentrl.envs.rlvr.tasks")
        self._asked, self._outcome = task.data, None
        return Observation(self._asked.question if isinstance(self._asked, Puzzle) else self._asked.text)

    async def step(self, action: str) -> StepResult:
        """Judge the answer; an answer that has not the form of one is not valid."""
        if self._asked is None or self._outcome is not None:
            raise WorldFailure("rlvr: step after the end of an episode; call reset first")
        if isinstance(self._asked, Puzzle):
            verdict = _of_puzzle(self._asked, action)
        else:
            verdict = await _of_question(self._asked, action, self.config)
        parts = {"correct": verdict.correct, "format": float(verdict.readable and verdict.formal), **verdict.components}
        share = self.config.format_share
        score = (1 - share) * parts["correct"] + share * parts["format"]
        self._outcome = Outcome(verdict.correct >= 1, score, verdict.answer, parts)
        told = " ".join(text for text in ("Right." if verdict.correct >= 1 else "Wrong.", verdict.told) if text)
        return StepResult(Observation(told), reward=score, valid=verdict.readable, terminated=True)

    def outcome(self) -> Outcome:
        """Right or not; no answer is wrong."""
        if self._outcome is None:
            return Outcome(False, 0.0, "", {"correct": 0.0, "format": 0.0})
        return self._outcome

    async def close(self) -> None:
        """Nothing is held."""


def _of_puzzle(puzzle: Puzzle, action: str) -> Verdict:
    kind = KINDS[puzzle.kind]
    answer = kind.canonical(action)
    right = answer is not None and kind.right(puzzle, answer)
    return Verdict(float(right), readable=answer is not None, answer=answer or "", formal=answer is not None)


async def _of_question(question: Question, action: str, config: Config) -> Verdict:
    verdict = verifier_of(question.verifier).verify(action, question, config.limits)
    return await verdict if inspect.isawaitable(verdict) else verdict
