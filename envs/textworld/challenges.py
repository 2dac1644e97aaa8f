"""The challenges of the package: what can be set of each, and what our five levels of each stand for.

A challenge is written as one word: `cooking`, at the levels of the config, or with the package's own settings, as
`coin-collector:105`, `simple:sparse`, `cooking:recipe=2+take=2+go=6+open+cook+cut`, `custom:rooms=4+objects=6+quest=3`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from agentrl.errors import ConfigError, nearest

LEVELS = (1, 2, 3, 4, 5)

LADDER: Mapping[str, tuple[str, ...]] = {
    "coin-collector": ("2", "103", "105", "207", "210"),
    "treasure-hunter": ("3", "5", "12", "16", "20"),
    "cooking": (
        "recipe=1+cook",
        "recipe=1+take=1+open+cook",
        "recipe=1+take=1+go=6+open+cook+cut",
        "recipe=2+take=2+go=6+open+cook+cut",
        "recipe=3+take=3+go=9+open+cook+cut",
    ),
    "simple": ("dense", "dense", "balanced", "balanced", "sparse"),
    "custom": (
        "rooms=2+objects=4+quest=1",
        "rooms=3+objects=6+quest=2",
        "rooms=4+objects=8+quest=3",
        "rooms=6+objects=12+quest=4",
        "rooms=9+objects=18+quest=5",
    ),
}
"""Challenge -> its settings at levels 1 to 5."""

_Value = int | str


@dataclass(frozen=True)
class _Setting:
    """What one setting of a challenge may be."""

    default: _Value
    allowed: Collection[_Value]


_COUNTS = range(1, 101)
SETTINGS: Mapping[str, Mapping[str, _Setting]] = {
    "coin-collector": {"level": _Setting(1, range(1, 301))},
    "treasure-hunter": {"level": _Setting(1, range(1, 31))},
    "simple": {"rewards": _Setting("dense", ("dense", "balanced", "sparse"))},
    "cooking": {
        "recipe": _Setting(1, range(1, 6)),
        "take": _Setting(0, range(6)),
        "go": _Setting(1, (1, 6, 9, 12)),
        **{flag: _Setting(0, (0, 1)) for flag in ("open", "cook", "cut", "drop")},
    },
    "custom": {
        "rooms": _Setting(5, _COUNTS),
        "objects": _Setting(10, _COUNTS),
        "quest": _Setting(5, _COUNTS),
        "breadth": _Setting(1, range(1, 11)),
        "parallel": _Setting(1, range(1, 11)),
    },
}
"""Challenge -> its settings in the package, by name; the first one needs no name."""


@dataclass(frozen=True)
class Challenge:
    """A challenge with every setting filled in."""

    name: str
    settings: Mapping[str, _Value]

    @property
    def word(self) -> str:
        """How it is written, the same for the same settings: what differs from the default alone, flags by name."""
        table = SETTINGS[self.name]
        if len(table) == 1:
            return f"{self.name}:{next(iter(self.settings.values()))}"
        parts = [_part(key, value, table[key]) for key, value in self.settings.items() if value != table[key].default]
        return f"{self.name}:{'+'.join(parts) or 'default'}"


def _part(key: str, value: _Value, setting: _Setting) -> str:
    return key if setting.allowed == (0, 1) else f"{key}={value}"


def read(word: str) -> Challenge:
    """A challenge from its word, with settings. Raises ConfigError with the nearest name or what is allowed."""
    name, _, text = word.partition(":")
    if name not in SETTINGS:
        raise ConfigError(
            f"unknown challenge {name!r}{nearest(name, SETTINGS)}; the challenges are {', '.join(SETTINGS)}"
        )
    table = SETTINGS[name]
    values: dict[str, _Value] = {key: setting.default for key, setting in table.items()}
    for part in text.split("+") if text and text != "default" else ():
        key, equals, value = part.partition("=")
        if not equals:
            key, value = (next(iter(table)), part) if len(table) == 1 else (part, "1")
        if key not in table:
            raise ConfigError(f"challenge {name!r} has no setting {key!r}{nearest(key, table)} (in {word!r})")
        values[key] = _checked(int(value) if value.isdecimal() else value, key, table[key], word)
    challenge = Challenge(name, values)
    _hold_together(challenge, word)
    return challenge


def _checked(value: _Value, key: str, setting: _Setting, word: str) -> _Value:
    if value not in setting.allowed:
        allowed = setting.allowed
        told = f"from {allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else f"one of {tuple(allowed)}"
        raise ConfigError(f"{key} is {value!r} in challenge {word!r}; it must be {told}")
    return value


def _hold_together(challenge: Challenge, word: str) -> None:
    """What no single setting can tell."""
    values = challenge.settings
    if challenge.name == "coin-collector":
        level = int(values["level"])
        rooms = ((level - 1) // 100 + 1) * ((level - 1) % 100 + 1)
        if rooms > 100:
            raise ConfigError(f"challenge {word!r} has {rooms} rooms; a compiled game holds at most 100")
    if challenge.name == "cooking" and int(values["take"]) > int(values["recipe"]):
        raise ConfigError(f"challenge {word!r} takes more ingredients than its recipe has")


def at_levels(words: Collection[str], levels: Collection[int]) -> dict[str, float | None]:
    """Every challenge that is meant, as its word with settings -> difficulty: (level - 1) / 4, or None for one that
    was named with settings. Level by level, so that the first of them are the easy ones.
    """
    found: dict[str, float | None] = {}
    for level in levels:
        for name in (word for word in words if ":" not in word):
            read(name)  # an unknown one is told so
            challenge = read(f"{name}:{LADDER[name][level - 1]}")
            found.setdefault(challenge.word, (level - 1) / (LEVELS[-1] - 1))
    for word in words:
        if ":" in word:
            found.setdefault(read(word).word, None)
    return found
