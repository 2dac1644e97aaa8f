"""The settings that a model was made for: `agentrl.json` in its folder, a configuration layer. Loads no torch."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentrl.config import RunConfig, resolve
from agentrl.errors import AgentRLError, DataError, RunDirectoryError
from agentrl.run_directory import read_config
from agentrl.settings import to_mapping

SETTINGS_FILE = "agentrl.json"
"""Beside the weights."""

ALLOWED = (
    *("format", "format_settings", "memory", "memory_settings", "rollout", "env_settings"),
    *("parts", "trainer", "validation"),
)
"""What a model may say: how it wants to be spoken to and trained, never what is run, loaded or trusted."""

_OF_A_RUN = ("parts", "trainer", "validation")
"""What a model's folder may say, and a checkpoint's run does not say for the next."""
_LENGTHS = ("max_turns", "max_context", "max_new_tokens", "constrain")
"""Of the rollout settings those that a model gets used to in training."""

_TINY = Path(__file__).parent / "tiny"


def model_folder(name: str, env: str = "") -> Path | None:
    """Where a model's files are on this machine, without loading it: None for a hub id that was never downloaded.

    name: `tiny` (of the environment `env`), a folder, or a hub id.
    """
    if name == "tiny":
        folder = _TINY / env.replace("_", "-")
        return folder if folder.is_dir() else None
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    if Path(name).is_absolute() or name.startswith((".", "~", "api:")):
        return None
    return _cached(name)


def is_model(word: str) -> bool:
    """Does a policy's word stand for a model: `tiny`, a folder that is there, or a hub id `owner/name`."""
    return word == "tiny" or Path(word).expanduser().is_dir() or ("/" in word and ":" not in word)


def model_of_run(path: str | os.PathLike[str]) -> Path | None:
    """The model folder of a run directory: its best checkpoint, or its last; None where `path` is no run directory.

    Raises RunDirectoryError for a run directory without a checkpoint.
    """
    run = Path(path).expanduser()
    if not (run / "config.yaml").is_file() or not (run / "checkpoints").is_dir():
        return None
    for name in ("best", "last"):
        record = run / "checkpoints" / f"{name}.json"
        if record.is_file():
            try:
                return run / "checkpoints" / str(json.loads(record.read_bytes())["folder"])
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{record} is damaged: it names no checkpoint") from error
    raise RunDirectoryError(f"{run} holds no checkpoint yet")


def run_defaults(folder: Path) -> dict[str, Any]:
    """How a checkpoint was spoken to: its run's world, memory, format and the lengths of its rollouts.

    How it was trained is not for the next run: the rate at which a model imitates ruins it where it is reinforced.
    folder: RUN/checkpoints/step-...; of any other folder the layer is empty.   Raises DataError for a damaged file.
    """
    config = folder.parent.parent / "config.yaml"
    if folder.parent.name != "checkpoints" or not config.is_file():
        return {}
    settings = to_mapping(read_config(config))
    layer = {key: settings[key] for key in ("env", *ALLOWED) if key not in _OF_A_RUN}
    layer["rollout"] = {key: settings["rollout"][key] for key in _LENGTHS}
    for key in ("env", "format", "memory"):
        if ":" in layer[key]:  # of one's own: it has to be named again, for naming it imports code
            del layer[key]
            layer.pop(f"{key}_settings", None)
    return layer


def _cached(name: str) -> Path | None:
    """The newest snapshot of a hub id in the cache, by the file that every model has."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def model_defaults(name: str, env: str = "") -> dict[str, Any]:
    """The layer between the defaults and the file that comes with a model; empty where it has none.

    Raises DataError for a damaged file, or one that says more than how the model wants to be spoken to.
    """
    folder = model_folder(name, env)
    path = folder / SETTINGS_FILE if folder is not None else None
    if path is None or not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged: it is no JSON") from error
    if not isinstance(settings, Mapping):
        raise DataError(f"{path} must hold a group of settings")
    for key, value in settings.items():
        if key not in ALLOWED:
            raise DataError(f"{path} sets {key!r}; a model may set only {', '.join(ALLOWED)}")
        if key in ("format", "memory") and ":" in str(value):  # would import code that a foreign model names
            raise DataError(f"{path} sets {key} to {value!r}; a model may name only what is registered")
    try:
        resolve(settings)
    except AgentRLError as error:
        raise DataError(f"{path}: {error}") from error
    return dict(settings)


def spoken_to(config: RunConfig) -> dict[str, Any]:
    """How a model that was trained so wants to be spoken to: what `agentrl.json` says beside its weights."""
    rollout = to_mapping(config.rollout)
    names = ("max_turns", "max_context", "max_new_tokens", "constrain", "patience")
    return {
        "format": config.format,
        "format_settings": dict(config.format_settings),
        "memory": config.memory,
        "memory_settings": dict(config.memory_settings),
        "rollout": {name: rollout[name] for name in names},
    }
