"""Writes a model as a Hugging Face folder that transformers and vLLM load: whole or not at all."""

import copy
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentrl.errors import DataError
from agentrl.models.adapters import merged_weights
from agentrl.models.defaults import SETTINGS_FILE
from agentrl.models.forward import causal_model
from agentrl.run_directory import sync_folder

if TYPE_CHECKING:
    from agentrl.models.load import Model

ADAPTER_FOLDER = "adapter"
"""Inside the folder of a model with an adapter: the adapter alone, as peft writes it."""


def save_model(model: "Model", folder: str | Path, defaults: dict[str, Any] | None = None) -> None:
    """Write weights (safetensors), configuration, tokenizer and `agentrl.json`; an adapter merged, and beside it alone.

    folder: replaced if it is there.   defaults: contents of `agentrl.json`; None: the model's own.
    Written under a temporary name beside the folder, synced, and renamed.   Raises DataError where the disk fails.
    """
    from safetensors import SafetensorError

    folder = Path(folder)
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        _write(model, temporary, model.defaults if defaults is None else defaults)
        os.chmod(temporary, 0o755)
        _sync(temporary)
        _replace(temporary, folder)
    except Exception as error:
        if not isinstance(error, (OSError, SafetensorError)) and type(error) is not Exception:  # as tokenizers raises
            raise
        raise DataError(f"the model could not be written to {folder} ({error}); is the disk full?") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _write(model: "Model", folder: Path, defaults: dict[str, Any]) -> None:
    from agentrl.models.load import quiet

    base = causal_model(model.module)
    with quiet():
        if model.has_adapter:
            base.save_pretrained(folder, state_dict=merged_weights(model.module))
            model.module.save_pretrained(folder / ADAPTER_FOLDER)  # type: ignore[operator]
        else:
            base.save_pretrained(folder)
        _generation_config(model).save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
        if model.processor is not None:
            model.processor.save_pretrained(folder)
    (folder / SETTINGS_FILE).write_text(json.dumps(defaults, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _generation_config(model: "Model") -> Any:
    """How others should sample from it: as it came, but every id that ends a turn ends the generation."""
    from transformers import GenerationConfig

    own = getattr(causal_model(model.module), "generation_config", None)
    config = GenerationConfig() if own is None else copy.deepcopy(own)
    config.eos_token_id = sorted(model.renderer.end_ids)
    for name in ("bos_token_id", "pad_token_id"):
        if getattr(config, name) is None:
            setattr(config, name, getattr(model.tokenizer, name))
    if not config.do_sample and (config.temperature, config.top_p, config.top_k) != (1.0, 1.0, 50):
        config.do_sample = True  # a temperature without sampling is refused when it is written
    return config


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _replace(temporary: Path, folder: Path) -> None:
    """Rename; a folder that is in the way is moved aside first, and removed last."""
    aside = None
    if folder.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent)) / folder.name
        folder.rename(aside)
    try:
        temporary.rename(folder)
    except OSError:
        if aside is not None:
            aside.rename(folder)  # as it was
            aside.parent.rmdir()
        raise
    sync_folder(folder.parent)
    if aside is not None:
        shutil.rmtree(aside.parent, ignore_errors=True)
