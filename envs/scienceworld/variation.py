"""What a task of this world is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variation:
    """One of the thirty tasks, one of its variations, and how the simulator is simplified."""

    kind: str
    number: int
    simplifications: str
