"""What a golden case and one comparison of it are."""

from dataclasses import dataclass
from typing import Any

Case = dict[str, Any]
"""One entry of a file's `cases`: name, params, inputs, outputs."""


@dataclass(frozen=True)
class Check:
    """One output: nested lists of numbers, or a number."""

    got: Any
    expected: Any
    rtol: float | None = None
    """Where the file's own tolerance does not fit; README.md says why."""
    atol: float | None = None
