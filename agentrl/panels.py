"""Task panels: ordered splits, and how some of a panel stand for all of it."""

from collections.abc import Sequence

from agentrl.types import Task


def spread(tasks: Sequence[Task], num: int) -> list[Task]:
    """`num` tasks spread evenly over a panel, in its order; all of it where it has no more, or num is 0."""
    if not num or num >= len(tasks):
        return list(tasks)
    return [tasks[i * len(tasks) // num] for i in range(num)]
