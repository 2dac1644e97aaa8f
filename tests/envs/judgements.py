"""Functions for workers that judge: one that answers, and some that would never, or take all there is."""

import time
from collections.abc import Iterator
from typing import Any

from agentrl.types import Trajectory


def echo(*arguments: Any) -> Any:
    """Its arguments."""
    return list(arguments)


def power() -> int:
    """One operation that no signal interrupts."""
    return (9**9**9) % 10


def wait() -> None:
    """Takes no processor time."""
    time.sleep(3600)


def hoard() -> int:
    """Takes all memory."""
    return len([bytearray(1 << 20) for _ in range(1 << 20)])


def fail() -> None:
    """Raises."""
    raise ArithmeticError("no such sum")


def even(answer: str, row: dict[str, Any]) -> bool:
    """Answer with an even number."""
    return answer.strip().isdigit() and int(answer) % 2 == 0


async def graded(answer: str, row: dict[str, Any]) -> dict[str, float]:
    """Half for the first letter of the gold answer, and its length beside."""
    return {"correct": 0.5 if answer[:1] == row["answer"][:1] else 0.0, "length": float(len(answer))}


def raising(answer: str, row: dict[str, Any]) -> float:
    """Fails."""
    return 1 / 0


def too_much(answer: str, row: dict[str, Any]) -> float:
    """Pays what there is not."""
    return 7.0


def questions() -> Iterator[dict[str, Any]]:
    """Rows from a function."""
    for number in range(40):
        yield {"question": f"Double of {number}?", "answer": 2 * number}


def no_rows() -> list[int]:
    """What is no row."""
    return [7]


def brevity(trajectory: Trajectory) -> float:
    """A reward: a tenth less for each word."""
    return -0.1 * len(trajectory.turns[-1].action.split())


async def each_turn(trajectory: Trajectory) -> list[float]:
    """A reward: 0.25 for every turn."""
    return [0.25 for _ in trajectory.turns]


def misspelt(trajectory: Trajectory) -> float:
    """A reward that never works."""
    return float(trajectory.turns[-1].rewrad)  # type: ignore[attr-defined]


def endless(trajectory: Trajectory) -> float:
    """A reward that is no number."""
    return float("nan")


def without_seven(trajectory: Trajectory) -> float:
    """A reward that fails where the answer is 7."""
    return 1 / (int(trajectory.turns[-1].action.removeprefix("#### ")) - 7)
