"""Who plays: the policy that a word stands for, loaded once and kept as long as a cell is left that it plays in."""

import asyncio
import inspect
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentrl.composition import world_settings
from agentrl.config import RunConfig
from agentrl.errors import ConfigError, unknown_name
from agentrl.eval.cells import Cell
from agentrl.models.defaults import is_model, model_folder
from agentrl.registry import LISTINGS, load, names
from agentrl.settings import to_mapping


@dataclass(frozen=True)
class Seat:
    """A policy with what the runner needs beside it."""

    policy: Any
    name: str
    renderer: Any = None


def seat(policy: Any, config: RunConfig, world: Any, *, base_url: str = "", slots: int = 1) -> Seat:
    """The policy that a word stands for: a registered name, `api:NAME`, a model's folder or hub id; or an object.

    slots: episodes that a model decodes at once.   Raises AgentRLError for a word that stands for none.
    """
    if policy is None:
        return _model(config, world, slots)
    if not isinstance(policy, (str, os.PathLike)):
        return Seat(policy, type(policy).__name__, getattr(policy, "renderer", None))
    word = os.fspath(policy)
    if word.startswith("api:"):
        api = load("policy", "agentrl.policies.api:APIPolicy")
        return Seat(
            api(word.removeprefix("api:"), base_url or None, config.api, concurrency=config.rollout.concurrency), word
        )
    if _is_registered(word):
        return Seat(_made(load("policy", word), config, world), word)
    if not is_model(word):
        raise unknown_name("policy", word, [*names("policy"), "tiny", "api:NAME"], LISTINGS["policy"])
    return _model(config, world, slots)


def _is_registered(word: str) -> bool:
    return word.replace("_", "-") in names("policy") or (":" in word and not os.path.exists(word))


def _made(cls: Any, config: RunConfig, world: Any) -> Any:
    """A registered policy: what its constructor asks for, by name."""
    if not isinstance(cls, type):
        return cls
    offered = {"seed": config.seed, "world": world, "read": sys.stdin, "show": sys.stdout}
    wanted = inspect.signature(cls).parameters
    return cls(**{name: value for name, value in offered.items() if name in wanted})


def _model(config: RunConfig, world: Any, slots: int) -> Seat:
    from agentrl.models.load import load_model
    from agentrl.policies.transformers_policy import TransformersPolicy

    model = load_model(config.model, config.env, world_config=world_settings(world, config.env_settings))
    rollout = config.rollout
    policy = TransformersPolicy(
        model, slots=slots, max_context=rollout.max_context, deterministic=rollout.deterministic
    )
    return Seat(policy, config.model.name, model.renderer)


class Seats:
    """The policies of an evaluation's cells; cells that can share one do.

    A model is loaded when its first cell is to be played. All else is made at once, so that a missing key or a word
    that stands for nothing is found before anything is played.
    """

    def __init__(self, cells: Sequence[Cell], worlds: Sequence[Any], slots: Sequence[int]) -> None:
        """worlds, slots: of each cell: its world, and episodes that are in play at once.   Raises AgentRLError."""
        self._cells, self._worlds, self._slots = list(cells), list(worlds), list(slots)
        self._keys = [_key(number, cell) for number, cell in enumerate(cells)]
        self._seats: dict[str, Seat] = {}
        first_model = True
        for number, cell in enumerate(cells):
            if not loads_a_model(cell):
                self.take(number)
            elif first_model:
                self.take(number)
                first_model = False
            else:
                _check_model(cell)

    def take(self, number: int) -> Seat:
        """The policy of a cell; loaded if it is not yet.   Raises AgentRLError."""
        key = self._keys[number]
        if key not in self._seats:
            slots = max(slots for other, slots in zip(self._keys, self._slots, strict=True) if other == key)
            cell = self._cells[number]
            self._seats[key] = seat(cell.policy, cell.config, self._worlds[number], base_url=cell.base_url, slots=slots)
        return self._seats[key]

    async def leave(self, number: int) -> None:
        """A cell is over; its policy is closed unless a later cell needs it."""
        key = self._keys[number]
        if key not in self._keys[number + 1 :]:
            found = self._seats.pop(key, None)
            if found is not None:
                await found.policy.close()

    async def close(self) -> None:
        """Close what is still open."""
        while self._seats:
            await self._seats.popitem()[1].policy.close()

    def drop(self) -> None:
        """Close what is still open, where no event loop runs."""
        if self._seats:
            asyncio.run(self.close())


def loads_a_model(cell: Cell) -> bool:
    """Is it played by a model of this machine."""
    if cell.policy is None:
        return True
    if not isinstance(cell.policy, (str, os.PathLike)):
        return False
    word = os.fspath(cell.policy)
    return not word.startswith("api:") and not _is_registered(word) and is_model(word)


def _check_model(cell: Cell) -> None:
    """Refuse, before anything is played, a model that is not there.   Raises ConfigError.

    A hub id that was never downloaded is, when its turn comes.
    """
    name = cell.config.model.name
    local = name == "tiny" or Path(name).is_absolute() or name.startswith((".", "~"))
    if local and name != "tiny-random" and model_folder(name, cell.config.env) is None:
        raise ConfigError(f"there is no model {name!r} for {cell.config.env}")


def _key(number: int, cell: Cell) -> str:
    """Cells with the same are played by one policy."""
    config = cell.config
    if loads_a_model(cell):
        own = (config.env, config.env_settings) if config.model.name.startswith("tiny") else ()
        lengths = (config.rollout.max_context, config.rollout.deterministic)
        return repr(("model", to_mapping(config.model), own, lengths))
    if not isinstance(cell.policy, (str, os.PathLike)):
        return f"object {id(cell.policy)}"
    if os.fspath(cell.policy).startswith("api:"):
        return repr(("api", cell.policy, cell.base_url, to_mapping(config.api), cell.account))
    return f"scripted {number}"
