"""An evaluation of models x worlds x memories x formats, as one YAML file says it, and the cells that come of it.

models: [expert, {policy: api:NAME, base_url: http://127.0.0.1:8000/v1, temperature: 0.7}]
worlds: [guess, {env: chain, split: [valid], settings: {hops: 4}}]
memories: [full, workspace]
formats: [tags, report]
episodes: 20
"""

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agentrl.api import is_scripted, policy_layer, resolve_layers
from agentrl.config import RunConfig
from agentrl.display import Display
from agentrl.errors import AgentRLError, ConfigError
from agentrl.eval.cells import Cell
from agentrl.eval.evaluate import EvalResult, Plan, evaluate_cells, plan_of
from agentrl.eval.seats import loads_a_model
from agentrl.own_reward import reward_of
from agentrl.registry import load
from agentrl.run_directory import read_yaml
from agentrl.settings import from_mapping, merge, require
from agentrl.types import Observation


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """Who plays."""

    policy: str
    """As `--policy`: random, expert, a model's folder, run or hub id, or api:NAME."""
    name: str = ""
    """In tables and folders; empty: the policy's word."""
    base_url: str = ""
    """Of the server for api:NAME."""
    temperature: float | None = None
    """Of its sampling; default as configured."""
    greedy: bool | None = None
    """The likeliest token each time; default as the file says for all."""
    both: bool | None = None
    """Sampled, and greedy; default as the file says for all."""
    api: dict[str, Any] = field(default_factory=dict)
    """Its settings of the group `api`; limits there are the model's, over all its cells."""
    set: dict[str, Any] = field(default_factory=dict)
    """Any further settings, as {rollout: {max_new_tokens: 512}}."""


@dataclass(frozen=True, kw_only=True)
class WorldEntry:
    """Where it is played."""

    env: str
    """A registered name, or module:attribute."""
    name: str = ""
    """In tables and folders; empty: the world's."""
    split: tuple[str, ...] = ("",)
    """One or several; empty: the world's split of what was never seen."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The world's own."""
    episodes: int | None = None
    """Tasks, spread over the split, 0: all; default as the file says for all."""
    repeats: int | None = None
    """Episodes of each task; default as the file says for all."""
    set: dict[str, Any] = field(default_factory=dict)
    """Any further settings but those of models, as {rollout: {max_turns: 30}}."""


@dataclass(frozen=True, kw_only=True)
class MemoryEntry:
    """What the agent sees of earlier turns."""

    memory: str
    """A registered name, or module:attribute."""
    name: str = ""
    """In tables and folders; empty: the memory's."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The memory's own."""


@dataclass(frozen=True, kw_only=True)
class FormatEntry:
    """How a view becomes messages, and a reply an action."""

    format: str
    """A registered name, or module:attribute."""
    name: str = ""
    """In tables and folders; empty: the format's."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The format's own."""


@dataclass(frozen=True, kw_only=True)
class SkipEntry:
    """Cells that are not played: those that are all of what it names."""

    model: str = ""
    """By the names that tables show, as the rest."""
    env: str = ""
    memory: str = ""
    format: str = ""
    split: str = ""
    decoding: str = ""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Every model in every world with every memory and format."""

    models: tuple[ModelEntry, ...]
    """A word each, or a group of settings."""
    worlds: tuple[WorldEntry, ...]
    memories: tuple[MemoryEntry, ...] = ()
    """None: each model's own, or the default."""
    formats: tuple[FormatEntry, ...] = ()
    """None: each model's own, or the default."""
    skip: tuple[SkipEntry, ...] = ()
    """Cells that are left out."""
    greedy: bool = False
    """The likeliest token each time."""
    both: bool = False
    """Sampled, and greedy."""
    episodes: int = 0
    """Tasks of each world, spread over the split; 0: all."""
    repeats: int = 1
    """Episodes of each task."""
    set: dict[str, Any] = field(default_factory=dict)
    """Settings of all cells, as in a config.yaml; those of a world's and a model's entry come after them."""
    out: str = ""
    """The folder; --out comes before it."""

    def __post_init__(self) -> None:
        require(len(self.models) > 0, "models is empty; name one at least")
        require(len(self.worlds) > 0, "worlds is empty; name one at least")
        require(self.repeats >= 1, f"repeats is {self.repeats}; it must be at least 1")
        require(self.episodes >= 0, f"episodes is {self.episodes}; it must not be negative")


_WORDS = {"models": "policy", "worlds": "env", "memories": "memory", "formats": "format"}
"""List -> what a bare word in it stands for."""
_OF_MODELS = ("model", "api")
_OF_ENTRIES = ("env", "env_settings", "memory", "memory_settings", "format", "format_settings", "run_dir")


def evaluate_matrix(
    matrix: Matrix,
    *,
    display: Display | None = None,
    out: str | os.PathLike[str] = "",
    over: Sequence[Mapping[str, Any]] = (),
    resume: bool = False,
) -> list[EvalResult]:
    """Play every cell of a matrix; see `evaluate_cells`.   over: layers of settings that come after all others."""
    cells, left_out = that_can_be(cells_of(matrix, over))
    return evaluate_cells(cells, display=display, out=out or matrix.out, left_out=left_out, resume=resume)


def read_matrix_file(path: str | os.PathLike[str]) -> Matrix:
    """The matrix of a YAML file.   Raises DataError for a damaged one, ConfigError for what cannot be."""
    try:
        return matrix_of(read_yaml(path))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def matrix_of(settings: Mapping[str, Any]) -> Matrix:
    """The matrix of a mapping of the file's shape.   Raises ConfigError for an unknown key, with the nearest."""
    told = {str(name).replace("-", "_"): value for name, value in settings.items()}
    for name, word in _WORDS.items():
        entries = told.get(name)
        if isinstance(entries, str):
            entries = [entries]
        if isinstance(entries, (list, tuple)):
            told[name] = [_entry(entry, word) for entry in entries]
    matrix = from_mapping(Matrix, told)
    for kind, name_of in (("models", "policy"), ("worlds", "env"), ("memories", "memory"), ("formats", "format")):
        shown = [entry.name or getattr(entry, name_of) for entry in getattr(matrix, kind)]
        twice = next((name for name in shown if shown.count(name) > 1), None)
        if twice:
            raise ConfigError(f"{kind} has {twice!r} twice; give one of them a name of its own, as name: {twice}-2")
    return matrix


def _entry(entry: Any, word: str) -> Any:
    if isinstance(entry, str):
        return {word: entry}
    if isinstance(entry, Mapping) and isinstance(entry.get("split"), str):
        return {**entry, "split": [part.strip() for part in entry["split"].split(",")]}
    return entry


def cells_of(matrix: Matrix, over: Sequence[Mapping[str, Any]] = ()) -> list[Cell]:
    """Every cell of a matrix, in the order model, world, memory, format, split, decoding.

    over: layers of settings that come after all others.
    Raises AgentRLError for settings that cannot be, with the entry that they stand in.
    """
    cells = []
    memories, formats = matrix.memories or (None,), matrix.formats or (None,)
    for entries in itertools.product(matrix.models, matrix.worlds, memories, formats):
        cells += _cells(matrix, *entries, _config(matrix, *entries, over))
    kept = [cell for cell in cells if not any(_skipped(cell, entry) for entry in matrix.skip)]
    if not kept:
        raise ConfigError("every cell is skipped")
    return kept


def _config(
    matrix: Matrix,
    model: ModelEntry,
    world: WorldEntry,
    memory: MemoryEntry | None,
    format: FormatEntry | None,
    over: Sequence[Mapping[str, Any]],
) -> RunConfig:
    """The settings: default < the model's own < the file's < the world's < the model entry's < `over`."""
    sampling = {} if model.temperature is None else {"rollout": {"temperature": model.temperature}}
    layers = [
        nested(matrix.set),
        _without(nested(world.set), (*_OF_MODELS, *_OF_ENTRIES), f"worlds: {world.name or world.env}"),
        policy_layer(model.policy),
        _without(nested(model.set), _OF_ENTRIES, f"models: {model.name or model.policy}"),
        {"api": model.api},
        sampling,
        {"env": world.env, "env_settings": world.settings},
        *over,
    ]
    try:
        config = resolve_layers(*layers, scripted=is_scripted(model.policy))
        for kind, entry in (("memory", memory), ("format", format)):
            if entry is not None:
                config = _exchanged(config, kind, getattr(entry, kind), entry.settings)
    except ConfigError as error:
        raise ConfigError(f"{model.name or model.policy} in {world.name or world.env}: {error}") from None
    return config


def _exchanged(config: RunConfig, kind: str, name: str, settings: Mapping[str, Any]) -> RunConfig:
    """With another memory or format; what a model says of its own holds for that one alone."""
    own = getattr(config, f"{kind}_settings") if getattr(config, kind) == name else {}
    changed: dict[str, Any] = {kind: name, f"{kind}_settings": merge(own, settings)}
    return replace(config, **changed)


def _without(settings: dict[str, Any], refused: Sequence[str], where: str) -> dict[str, Any]:
    found = next((name for name in settings if name in refused), None)
    if found is not None:
        places = {"model": "the model's entry", "api": "the model's entry"}
        raise ConfigError(f"{where}: set.{found} belongs into {places.get(found, 'an entry of its own')}")
    return settings


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of which a name may be dotted, as {rollout.max_turns: 30}, as nested groups."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        first, dot, rest = str(name).partition(".")
        inner = nested({rest: value}) if dot else nested(value) if first in _GROUPS and _is_map(value) else value
        found = merge(found, {first.replace("-", "_"): inner})
    return found


_GROUPS = ("rollout", "api", "model", "trainer", "validation")


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping)


def _cells(
    matrix: Matrix,
    model: ModelEntry,
    world: WorldEntry,
    memory: MemoryEntry | None,
    format: FormatEntry | None,
    config: RunConfig,
) -> list[Cell]:
    both = matrix.both if model.both is None and model.greedy is None else bool(model.both)
    greedy = matrix.greedy if model.greedy is None else model.greedy
    usual = load("env", config.env).VALIDATION if config.validation.split == "auto" else config.validation.split
    return [
        Cell(
            config=config,
            policy=model.policy,
            model=model.name,
            env=world.name,
            memory=memory.name if memory is not None else "",
            format=format.name if format is not None else "",
            base_url=model.base_url,
            split=split or usual,
            greedy=decoding,
            episodes=matrix.episodes if world.episodes is None else world.episodes,
            repeats=matrix.repeats if world.repeats is None else world.repeats,
            reward=reward_of(config),
        )
        for split in world.split
        for decoding in ((False, True) if both else (greedy,))
    ]


def _skipped(cell: Cell, entry: SkipEntry) -> bool:
    labels = cell.labels
    asked = {
        "policy": entry.model,
        **{name: getattr(entry, name) for name in ("env", "memory", "format", "split", "decoding")},
    }
    return all(not value or value == labels[name] for name, value in asked.items())


def that_can_be(cells: Sequence[Cell]) -> tuple[list[Cell], dict[str, str]]:
    """The cells of which all parts go together, and of the others what they are and why not.

    Raises ConfigError where none is left, and AgentRLError for what is wrong by itself: a name, a setting, a split.
    """
    kept: list[Cell] = []
    left_out: dict[str, str] = {}
    if len(cells) == 1:
        return list(cells), left_out
    for cell in cells:
        plan = plan_of(cell)
        why = _why_not(plan)
        if why:
            labels = plan.cell.labels
            left_out[" x ".join(labels[name] for name in ("policy", "env", "memory", "format"))] = why
        else:
            kept.append(cell)
    if not kept:
        name, why = next(iter(left_out.items()))
        raise ConfigError(f"no cell can be played; {name}: {why}")
    return kept, left_out


def _why_not(plan: Plan) -> str:
    """Why world, memory and format do not go together, tried on a first view; empty where they do."""
    from agentrl.briefs import briefs_of

    constrained = plan.cell.config.rollout.constrain == "admissible"
    try:
        task = plan.tasks[0]
        brief = briefs_of(plan.world, plan.world_config)(task)
        seen = Observation("...", admissible=("wait",))
        view = plan.memory.view(task, brief.instructions, [], seen, brief.tools)
        plan.format.messages(view)
        if constrained and loads_a_model(plan.cell) and plan.format.candidates(view) is None:
            return (
                f"rollout.constrain is admissible, but replies in the format {plan.cell.labels['format']} are not one "
                "of a few texts"
            )
    except AgentRLError as error:
        return str(error)
    except Exception:  # of a world, memory or format of one's own, that cannot be tried so: its episodes will tell
        pass
    return ""
