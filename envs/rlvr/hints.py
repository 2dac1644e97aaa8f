"""Help with a question in three tiers, for algorithms that give it to whoever cannot solve one without (Scaf-GRPO).

knowledge: what kinds of thinking help. planning: the steps, without what they come to. solution: what they come to.
Ours: the paper's hints are written by a larger model.
"""

import re
from collections.abc import Mapping, Sequence

from agentrl.envs.rlvr.puzzles import Puzzle
from agentrl.envs.rlvr.questions import Question

KNOWLEDGE: Mapping[str, Sequence[str]] = {
    "sum": ("add two numbers at a time",),
    "largest": ("compare two numbers at a time",),
    "count": ("go through the list once",),
    "missing": ("count up from 1",),
    "next": ("look at the difference of neighbours",),
    "sort": ("take the smallest first",),
    "reverse": ("take the last first",),
    "brackets": ("close what was opened last first", "pair ( with ), [ with ], { with }"),
    "countdown": ("try what comes near the target first", "leave out what is not needed"),
}
"""Kind of puzzle -> what helps with all of its kind."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\\$])|\n+")


def puzzle_hints(puzzle: Puzzle) -> dict[str, list[str]]:
    """The three tiers of a puzzle: its plan names what is given, its solution is cut into its parts."""
    given = [int(word) for word in re.findall(r"\d+", puzzle.question.partition(":")[2])]
    return {
        "knowledge": list(KNOWLEDGE[puzzle.kind]),
        "planning": _plan(puzzle, given),
        "solution": puzzle.answer.split(),
    }


def _plan(puzzle: Puzzle, given: Sequence[int]) -> list[str]:
    kind = puzzle.kind
    if kind == "sum":
        return [f"start with {given[0]}", *(f"add {number}" for number in given[1:])]
    if kind == "largest":
        return [f"keep {given[0]}", *(f"keep the larger of that and {number}" for number in given[1:])]
    if kind == "count":
        return [f"{len(given)} numbers are in the list", "count one up for each that is the one asked for"]
    if kind == "missing":
        return ["cross out each number of the list", "say the one that is left"]
    if kind == "next":
        return [f"take {given[-2]} from {given[-1]}", f"add that to {given[-1]}"]
    if kind == "sort":
        return [f"write {len(given)} numbers", f"begin with {min(given)}", f"end with {max(given)}"]
    if kind == "reverse":
        return [f"write {len(given)} numbers", f"begin with {given[-1]}", f"end with {given[0]}"]
    if kind == "brackets":
        return [f"write {len(puzzle.answer.split())} brackets", f"begin with {puzzle.answer.split()[0]}"]
    signs = [token for token in puzzle.answer.split() if token in "+-*"]
    return [
        f"reach {puzzle.given[0]}",
        f"use {len(signs) + 1} numbers",
        *(f"use {sign}" for sign in dict.fromkeys(signs)),
    ]


def question_hints(question: Question) -> dict[str, list[str]]:
    """The tiers of a question from data: the plan is its worked solution but for the last sentence, where it has one.

    None for a question whose answer is not known (of unit tests, of some generators).
    """
    if not question.gold:
        return {}
    sentences = [piece.strip() for piece in _SENTENCE.split(question.worked) if piece.strip()]
    kept = [piece for piece in sentences[:-1] if "\\boxed" not in piece]
    return {"knowledge": [], "planning": kept, "solution": [f"the answer is {question.gold}"]}
