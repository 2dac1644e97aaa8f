"""Checkpoints: a Hugging Face folder a step, the trainer's state beside it, and a commit record written last (R12).

checkpoints/
    step-000010/            model.safetensors, config.json, tokenizer, agentrl.json: what vLLM and transformers load
        trainer/            optimiser.safetensors, adapter.safetensors (LoRA), state.json
            critic/         weights.safetensors, optimiser.safetensors: of algorithms with a critic
                            (a reward model has its head beside the model: agentrl/models/reward_model.py)
    last.json, best.json    commit records: which folder counts, and the size and sha256 of its files
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from agentrl.errors import DataError, RunDirectoryError
from agentrl.models.load import Model, saved_weights
from agentrl.models.reward_model import RewardModel
from agentrl.models.save import save_model
from agentrl.run_directory import read_json, write_json, write_whole
from agentrl.trainers.critic import Critic
from agentrl.trainers.optimiser import Optimiser

CHECKPOINT_SCHEMA = 1


@dataclass(frozen=True)
class Saved:
    """A checkpoint that is whole."""

    step: int
    folder: Path
    state: dict[str, Any]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record(folder: Path, step: int) -> dict[str, Any]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {
        "schema": CHECKPOINT_SCHEMA,
        "step": step,
        "folder": folder.name,
        "files": {str(p.relative_to(folder)): [p.stat().st_size, _digest(p)] for p in files},
    }


def _tensors(data: Mapping[str, Tensor]) -> bytes:
    return save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in data.items()})


def save_checkpoint(
    root: Path,
    model: Model,
    optimiser: Optimiser,
    step: int,
    state: dict[str, Any],
    *,
    best: bool,
    keep: int,
    critic: Critic | None = None,
    reward_model: RewardModel | None = None,
) -> Path:
    """Write the checkpoint of a step, commit it, then remove what is no longer needed.

    root: the run's `checkpoints` folder.   state: everything else that must go on, JSON-able.
    best: it is the best so far.   keep: latest checkpoints that stay, beside the best.   critic: where there is one.
    reward_model: of which `model` is the backbone, where that is what is trained.
    Raises DataError where the disk fails; the last checkpoint is then still whole.
    """
    folder = root / f"step-{step:06d}"
    save_model(model, folder)
    if reward_model is not None:
        reward_model.write_head(folder)
    trainer = folder / "trainer"
    try:
        trainer.mkdir()
        if critic is not None:
            (trainer / "critic").mkdir()
    except OSError as error:
        raise DataError(
            f"cannot write {trainer}: {error.strerror}; free some space, then continue with --resume"
        ) from error
    write_whole(trainer / "optimiser.safetensors", _tensors(optimiser.state_tensors()))
    if model.has_adapter:
        trainable = {n: p for n, p in model.module.named_parameters() if p.requires_grad}
        write_whole(trainer / "adapter.safetensors", _tensors(trainable))
    if critic is not None:
        write_whole(trainer / "critic" / "weights.safetensors", _tensors(critic.weights()))
        write_whole(trainer / "critic" / "optimiser.safetensors", _tensors(critic.optimiser.state_tensors()))
    write_json(trainer / "state.json", {"schema": CHECKPOINT_SCHEMA, "step": step, **state})
    record = _record(folder, step)
    write_json(root / "last.json", record)
    if best:
        write_json(root / "best.json", record)
    _clean(root, keep)
    return folder


def _committed(root: Path, name: str) -> dict[str, Any] | None:
    """The commit record of that name, None where there is none.   Raises DataError for a damaged one."""
    path = root / f"{name}.json"
    if not path.exists():
        return None
    record = read_json(path)
    if not isinstance(record, dict) or not {"step", "folder", "files"} <= set(record):
        raise DataError(f"{path} is damaged: it names no checkpoint")
    return record


def _clean(root: Path, keep: int) -> None:
    """Remove older checkpoints and what a kill left half-written."""
    wanted = {record["folder"] for name in ("last", "best") if (record := _committed(root, name)) is not None}
    folders = sorted(p for p in root.iterdir() if p.is_dir())
    steps = [p for p in folders if p.name.startswith("step-")]
    wanted.update(p.name for p in steps[-keep:])
    for folder in folders:
        if folder.name not in wanted:
            shutil.rmtree(folder, ignore_errors=True)


def find_checkpoint(root: Path, name: str = "last") -> Saved | None:
    """The checkpoint that a commit record names, checked file by file; None where there is none yet.

    Raises RunDirectoryError where a file is missing or is not what was committed.
    """
    record = _committed(root, name)
    if record is None:
        return None
    folder = root / record["folder"]
    for relative, (size, digest) in record["files"].items():
        path = folder / relative
        if not path.is_file() or path.stat().st_size != size or _digest(path) != digest:
            raise RunDirectoryError(
                f"checkpoint {folder} is damaged: {relative} is not what was written; "
                f"start again, or copy {root.parent} from a backup"
            )
    return Saved(record["step"], folder, read_json(folder / "trainer" / "state.json"))


def restore(
    saved: Saved,
    model: Model,
    optimiser: Optimiser,
    critic: Critic | None = None,
    reward_model: RewardModel | None = None,
) -> None:
    """Put weights and the optimisers' states back as they were, bit for bit.   Raises DataError for a damaged file."""
    _restore_policy(saved, model, optimiser)
    if reward_model is not None:
        reward_model.read_head(saved.folder)
    if critic is None:
        return
    folder = saved.folder / "trainer" / "critic"
    try:
        weights = load_tensors((folder / "weights.safetensors").read_bytes())
        state = load_tensors((folder / "optimiser.safetensors").read_bytes())
    except (OSError, SafetensorError) as error:
        raise DataError(f"the critic of checkpoint {saved.folder} cannot be read: {error}") from error
    own = critic.weights()
    if set(own) != set(weights):
        missing = min(set(own) ^ set(weights))
        raise DataError(f"the critic of checkpoint {saved.folder} is another one: {missing!r} is not in both")
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)
    critic.optimiser.load_state_tensors(state)


def _restore_policy(saved: Saved, model: Model, optimiser: Optimiser) -> None:
    trainer = saved.folder / "trainer"
    try:
        state = load_tensors((trainer / "optimiser.safetensors").read_bytes())
        if model.has_adapter:
            weights = load_tensors((trainer / "adapter.safetensors").read_bytes())
        else:
            weights = {}
            for file in sorted(saved.folder.glob("*.safetensors")):
                weights |= load_tensors(file.read_bytes())
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise DataError(f"checkpoint {saved.folder} cannot be read: {error}") from error
    own = dict(model.module.named_parameters())
    if _missing(own, weights) and not model.has_adapter:  # mixtures of experts are fused in memory and split on disk
        weights = saved_weights(saved.folder, model)
    with torch.no_grad():
        for name, tensor in weights.items():
            if name in own:
                own[name].copy_(tensor)
    missing = _missing(own, weights)
    if missing:
        raise DataError(f"checkpoint {saved.folder} lacks the weights {missing[0]!r}")
    optimiser.load_state_tensors(state)


def commit_best(root: Path) -> None:
    """Let the last checkpoint be the best one too: a kill may have come between its two commit records."""
    record = _committed(root, "last")
    if record is not None and record != _committed(root, "best"):
        write_json(root / "best.json", record)


def _missing(own: Mapping[str, torch.nn.Parameter], weights: Mapping[str, Tensor]) -> list[str]:
    """Names of trained parameters that were not read."""
    return [n for n, p in own.items() if p.requires_grad and n not in weights and not _tied(n, own, weights)]


def _tied(name: str, own: Mapping[str, torch.nn.Parameter], weights: Mapping[str, Tensor]) -> bool:
    """A parameter that shares its storage with one that was read."""
    return any(own[other].data_ptr() == own[name].data_ptr() for other in weights if other in own)
