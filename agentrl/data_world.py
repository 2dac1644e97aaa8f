"""The world that logged data are played in, as a layer of settings: what `data` says where no world is named."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentrl.config import RunConfig
from agentrl.errors import DataError
from agentrl.logged_data import data_files, data_kind, examples
from agentrl.logged_groups import WORLD
from agentrl.row_files import READERS, ending_of, rows
from agentrl.settings import to_mapping

_OF_RUN = ("env", "format", "memory")
"""What a run's own episodes are read with; each has settings of its own."""


def is_logged(source: str) -> bool:
    """Is it data to learn from, and not a world's own: a file of a known ending, a run directory, a folder of rows."""
    path = Path(source).expanduser()
    if not path.is_dir():
        return ending_of(path) in READERS
    if (path / "config.yaml").is_file() or (path / "trajectories").is_dir():
        return True
    try:
        return next((form for form, _ in examples(path)), None) is not None
    except DataError:
        return False


def world_layer(source: str, config: RunConfig | None = None) -> dict[str, Any]:
    """The world, memory and format of a source: of a run its own; of rows their prompts, spoken to as they stand.

    config: of the run that is to learn from it, for how rows are read.   Raises DataError.
    """
    if data_kind(source) == "episodes":
        return _layer_of_run(source)
    raw = _is_raw(source)
    bad_rows = config.data_settings.bad_rows if config is not None else "refuse"
    return {
        "env": WORLD,
        "env_settings": {"data": source, "bad_rows": bad_rows},
        "memory": "full",
        "format": "action",
        "format_settings": {"raw": True} if raw else {},
        "rollout": {"max_turns": 1},
    }


def _is_raw(source: str) -> bool:
    """Does the first row that is as it should be hold raw texts.   Raises DataError where none is."""
    problem: DataError | None = None
    for form, found in examples(source):
        if form is not None and not isinstance(found, DataError):
            return isinstance(found.prompt, str)
        problem = problem or found  # type: ignore[assignment]
    raise DataError(f"{problem or f'data: {source} holds no row'} (data of a world's own: name the world with --env)")


def _layer_of_run(source: str) -> dict[str, Any]:
    """Of a folder its own settings; of a file of episodes the world alone. One's own world has to be named again."""
    from agentrl.run_directory import read_config

    path = Path(source).expanduser()
    if (path / "config.yaml").is_file():
        settings = to_mapping(read_config(path / "config.yaml"))
        if ":" in settings["env"]:
            return {}
        names = [name for name in _OF_RUN if ":" not in settings[name]]
        return {key: settings[key] for name in names for key in (name, f"{name}_settings")}
    first = next(iter(rows(data_files(source)[0])))
    task: Mapping[str, Any] = first.columns["task"]
    return {"env": task["env"]} if ":" not in str(task.get("env", ":")) else {}


def flag_layers(data: str, layers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The layers of a command line, with what `--data` means beside them.

    Where a world is named, they are that world's own data. Where none is: a run, or a file of episodes or rows, is what
    is learned from; rows for an algorithm that learns from its own episodes alone are the prompts that it plays; and
    anything else is the data of the default world.
    """
    if any(layer.get("env") for layer in layers) or not is_logged(data):
        return [*layers, {"env_settings": {"data": data}}]
    if data_kind(data) == "rows" and _plays_alone(layers):
        return [world_layer(data), *layers]
    return [*layers, {"data": data}]


def _plays_alone(layers: Sequence[Mapping[str, Any]]) -> bool:
    from agentrl.composition import compose
    from agentrl.config import resolve

    composition = compose(resolve(*layers))
    learns_from: str = composition.algorithm.learns_from
    return learns_from == "episodes" and "demonstrations" not in composition.needs
