"""A cell of an evaluation: one model in one world with one memory and format, on one split in one decoding.

matrix.json lists the cells of an evaluation of several, each with its folder, an evaluation of its own. What a cell was
asked to be stands there, and for one alone in `evaluation` of its meta.json: enough to go on after a kill.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agentrl.config import RunConfig
from agentrl.errors import DataError
from agentrl.run_directory import read_json, write_json
from agentrl.settings import from_mapping, to_mapping

MATRIX = "matrix.json"
MATRIX_SCHEMA = 1

MAY_CHANGE = frozenset(
    [
        *("threads", "run_dir", "rollout.concurrency", "rollout.workers", "rollout.episodes_per_worker"),
        *("rollout.worker_memory", "rollout.tries", "rollout.reset_seconds", "rollout.step_seconds"),
        *("rollout.generate_seconds", "api.client", "api.timeout", "api.tries", "api.backoff", "api.longest_wait"),
        *("api.patience", "api.concurrency", "api.requests_per_minute", "api.tokens_per_minute", "api.max_tokens"),
        *("api.max_cost", "api.prices", "api.key_variable"),
    ]
)
"""Settings that change how fast, how far and for how much an evaluation goes, and not what it measures."""

_AXES = ("model", "env", "memory", "format")
"""What stands in a cell's name where it differs between cells; split and decoding always do."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is played in it."""

    config: RunConfig
    """Of world, memory, format, sampling and server; `rollout.temperature` where it is not greedy."""
    policy: Any = None
    """A word, as `--policy` takes it, or an object; None: the configuration's model."""
    model: str = ""
    """What the policy is called in tables; empty: its own name."""
    env: str = ""
    """What the world is called in tables; empty: its own name."""
    memory: str = ""
    format: str = ""
    base_url: str = ""
    split: str = ""
    """Empty: the world's validation split."""
    greedy: bool = False
    episodes: int = 0
    """Tasks, spread over the split; 0: all."""
    repeats: int = 1
    """Episodes of each task."""
    world: Any = None
    """One's own; None: that which the configuration names."""
    reward: Callable[..., Any] | None = None
    name: str = ""
    """Of its folder, and in tables; empty: the only one of its evaluation."""
    own: tuple[str, ...] = ()
    """Which of policy, world and reward are objects, which no file can hold: known of a cell that was stored."""

    @property
    def decoding(self) -> str:
        """`greedy` or `sampled`."""
        return decoding_name(self.greedy)

    @property
    def labels(self) -> dict[str, str]:
        """What it is, in the words of tables."""
        return {
            "policy": self.model or str(self.policy or self.config.model.name),
            "env": self.env or self.config.env,
            "memory": self.memory or self.config.memory,
            "format": self.format or self.config.format,
            "split": self.split,
            "decoding": self.decoding,
        }

    @property
    def account(self) -> str:
        """What is paid by one account: cells with the same share a policy behind an API and its limits."""
        return plain_name(self.model or str(self.policy or ""))

    def asked(self) -> dict[str, Any]:
        """What it takes to make the cell again beside its configuration, as JSON."""
        return {
            "policy": os.fspath(self.policy) if isinstance(self.policy, (str, os.PathLike)) else None,
            "model": self.model,
            "env": self.env,
            "memory": self.memory,
            "format": self.format,
            "base_url": self.base_url,
            "split": self.split,
            "greedy": self.greedy,
            "episodes": self.episodes,
            "repeats": self.repeats,
            "name": self.name,
            "own": self._objects(),
        }

    def _objects(self) -> list[str]:
        own = {"policy": self.policy, "world": self.world, "reward": None if self.config.reward else self.reward}
        return [name for name, value in own.items() if not isinstance(value, (str, os.PathLike, type(None)))]


def decoding_name(greedy: bool) -> str:
    """`greedy` or `sampled`."""
    return "greedy" if greedy else "sampled"


def plain_name(text: str) -> str:
    """A text as part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.") or "own"


def named(cells: Sequence[Cell]) -> list[Cell]:
    """The cells with their names, which say what differs between them; numbered where they would be the same."""
    labels = [cell.labels | {"model": cell.labels["policy"]} for cell in cells]
    telling = [axis for axis in _AXES if len({each[axis] for each in labels}) > 1]
    found: list[Cell] = []
    taken: set[str] = set()
    for cell, words in zip(cells, labels, strict=True):
        name = first = "-".join(plain_name(words[axis]) for axis in (*telling, "split", "decoding"))
        number = 1
        while name in taken:
            number += 1
            name = f"{first}-{number}"
        taken.add(name)
        found.append(replace(cell, name=name))
    return found


def write_matrix(folder: Path, cells: Sequence[Cell], left_out: Mapping[str, str]) -> None:
    """matrix.json of an evaluation of several cells.   left_out: name of a combination that cannot be -> why."""
    listed = [
        {
            "name": cell.name,
            "folder": cell.name,
            **cell.labels,
            "asked": cell.asked(),
            "settings": changed_settings(cell.config),
        }
        for cell in cells
    ]
    write_json(folder / MATRIX, {"schema": MATRIX_SCHEMA, "cells": listed, "left_out": dict(left_out)})


def read_matrix(folder: Path) -> list[Cell] | None:
    """The cells of matrix.json; None where there is none.   Raises DataError for a damaged or newer file."""
    path = folder / MATRIX
    if not path.exists():
        return None
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("cells"), list):
        raise DataError(f"{path} is damaged: it lists no cells")
    if found.get("schema") != MATRIX_SCHEMA:
        raise DataError(f"{path} was written by a newer agentrl (schema {found.get('schema')})")
    try:
        return [cell_of(entry["asked"], from_mapping(RunConfig, entry["settings"])) for entry in found["cells"]]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error}") from error


def cell_of(asked: Mapping[str, Any], config: RunConfig) -> Cell:
    """The cell that `asked` describes.   Raises TypeError for what is none."""
    return Cell(config=config, **{**asked, "own": tuple(asked["own"])})


def differences(before: Cell, now: Cell) -> list[str]:
    """What is asked for otherwise, as `rollout.max_turns 30, now 50`.

    What `MAY_CHANGE` is left out, and where the server is.
    """
    told = [
        (name, value, now.asked().get(name))
        for name, value in before.asked().items()
        if name not in ("name", "own", "base_url", "policy") or (name == "policy" and value is not None)
    ]
    was, is_now = _flat(to_mapping(before.config)), _flat(to_mapping(now.config))
    told += [(name, was.get(name), is_now.get(name)) for name in sorted({*was, *is_now} - MAY_CHANGE)]
    return [f"{name} {one}, now {other}" for name, one, other in told if one != other]


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{path}{name}.")
        else:
            found[f"{path}{name}"] = value
    return found


def changed_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that are not the defaults, as nested dictionaries: `from_mapping` makes the configuration again."""
    return _changed(to_mapping(config), to_mapping(RunConfig()))


def _changed(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        default = defaults.get(name)
        if isinstance(value, Mapping) and isinstance(default, Mapping) and default:
            inner = _changed(value, default)
            if inner:
                found[name] = inner
        elif name not in defaults or value != default:
            found[name] = value
    return found
