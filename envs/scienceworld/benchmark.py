"""The thirty tasks with their official splits, and the selections of them that papers are judged on.

The numbers of variations and the splits are the package's own (1.2.3): the first half of a task's variations is for
training, the next quarter for development, the rest for testing. A test asks the package.
"""

from collections.abc import Mapping
from dataclasses import dataclass

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the thirty."""

    number: str
    """In the paper's table."""
    sizes: tuple[int, int, int]
    """Variations of train, dev and test, which follow each other."""
    gold: int
    """Commands of the package's gold path, the mean of four variations in easy mode, as it is."""

    def variations(self, split: str) -> range:
        """Of an official split."""
        place = SPLITS.index(split)
        start = sum(self.sizes[:place])
        return range(start, start + self.sizes[place])

    @property
    def num_variations(self) -> int:
        return sum(self.sizes)


KINDS: Mapping[str, Kind] = {
    "boil": Kind("1-1", (14, 7, 9), 48),
    "change-the-state-of-matter-of": Kind("1-4", (14, 7, 9), 34),
    "chemistry-mix": Kind("6-1", (16, 8, 8), 24),
    "chemistry-mix-paint-secondary-color": Kind("6-2", (18, 9, 9), 16),
    "chemistry-mix-paint-tertiary-color": Kind("6-3", (18, 9, 9), 24),
    "find-animal": Kind("4-4", (150, 75, 75), 12),
    "find-living-thing": Kind("4-1", (150, 75, 75), 12),
    "find-non-living-thing": Kind("4-2", (150, 75, 75), 6),
    "find-plant": Kind("4-3", (150, 75, 75), 12),
    "freeze": Kind("1-3", (14, 7, 9), 44),
    "grow-fruit": Kind("5-2", (62, 31, 33), 74),
    "grow-plant": Kind("5-1", (62, 31, 33), 68),
    "identify-life-stages-1": Kind("8-1", (6, 3, 5), 38),
    "identify-life-stages-2": Kind("8-2", (4, 2, 4), 16),
    "inclined-plane-determine-angle": Kind("9-1", (84, 42, 42), 62),
    "inclined-plane-friction-named-surfaces": Kind("9-2", (692, 346, 348), 70),
    "inclined-plane-friction-unnamed-surfaces": Kind("9-3", (80, 40, 42), 140),
    "lifespan-longest-lived": Kind("7-1", (62, 31, 32), 5),
    "lifespan-longest-lived-then-shortest-lived": Kind("7-3", (62, 31, 32), 6),
    "lifespan-shortest-lived": Kind("7-2", (62, 31, 32), 5),
    "measure-melting-point-known-substance": Kind("2-2", (218, 109, 109), 40),
    "measure-melting-point-unknown-substance": Kind("2-3", (150, 75, 75), 41),
    "melt": Kind("1-2", (14, 7, 9), 38),
    "mendelian-genetics-known-plant": Kind("10-1", (60, 30, 30), 130),
    "mendelian-genetics-unknown-plant": Kind("10-2", (240, 120, 120), 130),
    "power-component": Kind("3-1", (10, 5, 5), 12),
    "power-component-renewable-vs-nonrenewable-energy": Kind("3-2", (10, 5, 5), 24),
    "test-conductivity": Kind("3-3", (450, 225, 225), 23),
    "test-conductivity-of-unknown-substances": Kind("3-4", (300, 150, 150), 26),
    "use-thermometer": Kind("2-1", (270, 135, 135), 20),
}
"""Name -> what it is, in the order of the package, which numbers them from 0."""

SHORT = (
    "find-animal",
    "find-living-thing",
    "find-non-living-thing",
    "find-plant",
    "lifespan-longest-lived",
    "lifespan-longest-lived-then-shortest-lived",
    "lifespan-shortest-lived",
)
"""What can be done in ten commands or fewer, where one may teleport."""

_NOT_IN_EPO = ("use-thermometer",)
"""Its last task, number 29, is in no list of EPO's: an index less than there are."""
_UNSEEN = (1, 4, 8, 11, 13, 16, 18, 21, 24, 28)
"""Numbers of the tasks that EPO holds out in its L2."""


def selection(name: str, split: str) -> tuple[str, ...]:
    """The tasks that a split of a selection has.

    name: `all`; `short`; `epo`: L0 (validate on dev) and L1 (on test) of EPO, arXiv 2509.22576; `epo-unseen`: its L2,
    whose test split has the ten tasks that training has not. The index lists of EPO's released code follow these rules.
    """
    if name == "all":
        return tuple(KINDS)
    if name == "short":
        return SHORT
    known = [kind for kind in KINDS if kind not in _NOT_IN_EPO]
    if name == "epo":
        return tuple(known)
    unseen = {known[number] for number in _UNSEEN}
    return tuple(kind for kind in known if (kind in unseen) == (split == "test"))
