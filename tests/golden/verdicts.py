"""How far ours are from each golden file, as an order of magnitude: kept in verdicts.json, which the tests hold true.

The index of papers shows these without running anything; `make docs` measures them anew.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.golden.subjects import SUBJECTS, Subject

FOLDER = Path(__file__).parent
RECORD = FOLDER.parent / "golden_verdicts.json"
BOUNDS = (1e-12, 1e-9, 1e-7, 1e-6, 1e-5)
"""Coarse, so that the rounding of another machine changes none of them."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What all cases of a file came to."""

    algo: str
    cases: int
    difference: float
    """A bound that no case's relative difference is above."""
    tolerance: float
    """The widest relative tolerance of any of its checks."""

    @property
    def subject(self) -> Subject:
        return SUBJECTS[self.algo]


def files() -> dict[str, Path]:
    """Path below this folder -> golden file."""
    return {str(path.relative_to(FOLDER)): path for path in sorted(FOLDER.rglob("*.json"))}


def bound_of(difference: float, tolerance: float) -> float:
    """The smallest of BOUNDS with room for four times the difference, or, where that is beyond it, the tolerance."""
    return next((bound for bound in BOUNDS if 4 * difference <= bound <= tolerance), max(tolerance, difference))


def measured(path: Path) -> Verdict:
    """Run a golden file."""
    from tests.golden.compare import compare  # with all the parts

    results = compare(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    difference, tolerance = max(r.difference for r in results), max(r.tolerance for r in results)
    return Verdict(
        algo=content.get("algo", path.name),
        cases=len(results),
        difference=bound_of(difference, tolerance),
        tolerance=tolerance,
    )


def recorded() -> Mapping[str, Verdict]:
    """File -> its verdict, as it was last measured."""
    content = json.loads(RECORD.read_text(encoding="utf-8"))
    return {name: Verdict(**values) for name, values in content.items()}


def write() -> None:
    """Measure every golden file, and keep the verdicts."""
    content = {name: asdict(measured(path)) for name, path in files().items()}
    RECORD.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
