"""What an algorithm is made of once the configuration has spoken: its parts, each with its settings, checked."""

import dataclasses
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agentrl.config import RunConfig
from agentrl.contradictions import refuse_contradictions, refuse_for_run
from agentrl.errors import ConfigError, nearest
from agentrl.registry import load
from agentrl.settings import from_mapping, merge, to_mapping

SLOTS: Mapping[str, str] = {
    "rewrites": "rewrite",
    "gates": "gate",
    "rewards": "reward",
    "returns": "returns",
    "pairing": "pairing",
    "advantage": "advantage",
    "modifiers": "modifier",
    "selections": "selection",
    "surrogate": "surrogate",
    "regularisers": "regulariser",
    "value_loss": "value-loss",
    "aggregate": "aggregate",
}
"""Where a part may stand in an algorithm, in the order of the data -> of which kind it must be."""

MANY = ("rewrites", "gates", "rewards", "modifiers", "selections", "regularisers")
"""Slots that hold a list; the others hold one part."""
OR_NONE = ("pairing", "advantage", "value_loss")
"""Slots of one part that may hold none."""


@dataclass(frozen=True, kw_only=True)
class Composition:
    """An algorithm with every part loaded and every setting resolved."""

    algorithm: Any
    """The `Algorithm` value that the name stands for, before parts were exchanged."""
    parts: Mapping[str, tuple[Any, ...]]
    """slot -> its `Part`s, in order; no part: an empty tuple."""
    settings: Mapping[str, Any]
    """section -> an instance of the config class of the parts that stand under it."""
    needs: frozenset[str]
    """What the trainer has to compute or provide for these parts."""
    idle: frozenset[str] = frozenset()
    """Names of the parts whose settings switch them off: they are shown, and neither run nor needed for."""

    def __iter__(self) -> Iterator[Any]:
        """Every part, in the order of the data."""
        return (part for slot in SLOTS for part in self.parts[slot])

    def one(self, slot: str) -> Any | None:
        """The part of a slot that holds one, or None."""
        return next(iter(self.parts[slot]), None)

    def settings_of(self, part: Any) -> Any | None:
        """The config instance that a part's `bind` gets."""
        return self.settings.get(part.settings_section) if part.config is not None else None

    def describe(self) -> list[tuple[str, str, str]]:
        """(slot, part's name, its settings) for every part; a slot without parts is one row with `-`."""
        rows = []
        for slot in SLOTS:
            for part in self.parts[slot]:
                config = self.settings_of(part)
                values = to_mapping(config) if config is not None else {}
                shown = ", ".join(f"{k} {v}" for k, v in values.items())
                rows.append((slot, part.name, f"off: {shown}" if part.name in self.idle else shown))
            if not self.parts[slot]:
                rows.append((slot, "-", ""))
        return rows


def compose(config: RunConfig) -> Composition:
    """The composition that `config` asks for: algo's parts, exchanged by `parts`, set by `settings`.

    Raises UnknownName for a name that is not registered, ConfigError as `compose_parts` does.
    """
    composition = compose_parts(load("algorithm", config.algo), config.parts, config.settings)
    refuse_for_run(config, composition.parts)
    return composition


def compose_parts(algorithm: Any, exchanged: Mapping[str, Any], asked: Mapping[str, Any]) -> Composition:
    """An `Algorithm` value with its parts exchanged ({slot: name or names}) and set ({section: {setting: value}}).

    Raises ConfigError for a part in a slot of another kind or twice in one, a setting that no part has, two parts that
    disagree on a section, and parts that contradict each other or what the algorithm learns from.
    """
    unknown = [slot for slot in exchanged if slot.replace("-", "_") not in SLOTS]
    if unknown:
        hint = nearest(unknown[0], SLOTS) or f"; known: {', '.join(SLOTS)}"
        raise ConfigError(f"unknown setting 'parts.{unknown[0]}'{hint}")
    exchanged = {slot.replace("-", "_"): value for slot, value in exchanged.items()}
    parts = {
        slot: tuple(_loaded(slot, entry) for entry in _entries(slot, getattr(algorithm, slot), exchanged))
        for slot in SLOTS
    }
    every = [part for slot in SLOTS for part in parts[slot]]
    twice = next((part.name for part in every if sum(part.name == other.name for other in every) > 1), None)
    if twice:
        raise ConfigError(f"part {twice!r} stands twice in algorithm {algorithm.name!r}; write it once")
    settings = _settings(every, algorithm.settings, asked)
    idle = frozenset(p.name for p in every if p.active is not None and not p.active(settings.get(p.settings_section)))
    working = {slot: [part for part in parts[slot] if part.name not in idle] for slot in SLOTS}
    refuse_contradictions(algorithm, working)
    needs = frozenset(algorithm.needs).union(*(part.needs for slot in SLOTS for part in working[slot]))
    return Composition(
        algorithm=algorithm, parts=parts, settings=settings, needs=needs - {"reward", "advantage", "pairs"}, idle=idle
    )


def _entries(slot: str, own: Any, exchanged: Mapping[str, Any]) -> list[Any]:
    """What stands in a slot: names or Parts."""
    standing = [] if own is None else list(own) if isinstance(own, (tuple, list)) else [own]
    if slot not in exchanged:
        return standing
    asked = exchanged[slot]
    asked = [] if asked is None or asked == "none" else asked if isinstance(asked, (list, tuple)) else [asked]
    added = [name[1:] for name in asked if isinstance(name, str) and name.startswith("+")]
    replaced = [name for name in asked if not (isinstance(name, str) and name.startswith("+"))]
    if added and slot not in MANY:
        raise ConfigError(f"parts.{slot} is {asked[0]!r}; it holds one part, so write it without the +")
    entries = [*(replaced if replaced or not added else standing), *added]
    if slot not in MANY and (len(entries) > 1 or (not entries and slot not in OR_NONE)):
        raise ConfigError(f"parts.{slot} is {asked!r}; it must be one part")
    return entries


def _loaded(slot: str, entry: Any) -> Any:
    if entry is None or isinstance(entry, (int, float, dict)):
        raise ConfigError(f"parts.{slot} is {entry!r}; it must be the name of a part (agentrl list parts)")
    part = load("part", entry) if isinstance(entry, str) else entry
    if getattr(part, "kind", None) != SLOTS[slot]:
        kind = getattr(part, "kind", type(part).__name__)
        place = next((s for s, k in SLOTS.items() if k == kind), None)
        hint = f"; it belongs under parts.{place}" if place else ""
        raise ConfigError(f"parts.{slot}: {getattr(part, 'name', entry)!r} is of kind {kind!r}{hint}")
    return part


def _settings(parts: Iterable[Any], own: Mapping[str, Mapping[str, Any]], asked: Mapping[str, Any]) -> dict[str, Any]:
    classes: dict[str, type] = {}
    for part in parts:
        if part.config is None:
            continue
        section = part.settings_section
        if classes.setdefault(section, part.config) is not part.config:
            raise ConfigError(f"two parts read the settings '{section}' as different things; exchange one of them")
    canonical: dict[str, Any] = {}
    for raw, values in asked.items():
        section = _section(str(raw), classes)
        if not isinstance(values, Mapping):
            raise ConfigError(f"settings.{section} is {values!r}; it must be a group of settings")
        canonical[section] = values
    return {
        section: from_mapping(
            cls,
            merge(_underscored(own.get(section, {})), _underscored(canonical.get(section, {}))),
            f"settings.{section}",
        )
        for section, cls in classes.items()
    }


def _section(raw: str, classes: Mapping[str, type]) -> str:
    for section in classes:
        if section.replace("_", "-") == raw.replace("_", "-"):
            return section
    for section, cls in classes.items():
        if raw.replace("-", "_") in {f.name for f in dataclasses.fields(cls)}:
            raise ConfigError(f"unknown setting 'settings.{raw}'; did you mean 'settings.{section}.{raw}'?")
    hint = nearest(raw, classes) or f"; the parts of this run have: {', '.join(sorted(classes)) or 'none'}"
    raise ConfigError(f"unknown setting 'settings.{raw}'{hint}")


def _underscored(values: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name).replace("-", "_"): value for name, value in values.items()}


def build(kind: str, name: str, settings: Mapping[str, Any]) -> Any:
    """A memory, format or curriculum by its name, with its settings.

    What is registered is a class that takes an instance of its `Config`, or one that takes its settings as keywords.
    Raises UnknownName for the name, ConfigError for the settings.
    """
    cls = load(kind, name)
    where = f"{kind}_settings"
    if hasattr(cls, "Config"):
        return cls(from_mapping(cls.Config, settings, where))
    given = _underscored(settings)
    known = dict(inspect.signature(cls).parameters) if given else {}
    for setting in given:
        if setting not in known:
            hint = nearest(setting, known) or f"; known here: {', '.join(sorted(known)) or 'nothing'}"
            raise ConfigError(f"unknown setting '{where}.{setting}'{hint}")
    return cls(**given)


def world_settings(world: Any, settings: Mapping[str, Any]) -> Any:
    """An instance of the world's Config.   Raises ConfigError for a setting that the world does not have."""
    return from_mapping(world.Config, settings, "env_settings")
