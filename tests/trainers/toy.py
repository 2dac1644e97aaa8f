"""A toy run that takes a second: a random model plays `guess`, everything on, every token decoded alone."""

from pathlib import Path
from typing import Any

from agentrl.models.load import save_model
from tests.models import tiny_model

NUMBERS = [str(n) for n in range(1, 101)]
WORDS = ["ask", "Yes.", "Higher.", "Lower.", "I", "think", "of", "a", "number", "from", "to", "Ask.", *NUMBERS]


def model_folder(folder: Path, **settings: Any) -> Path:
    """A random model that knows the words of `guess`, on disk."""
    path = folder / "model"
    if not path.exists():
        save_model(tiny_model(WORDS, hidden=32, **settings), path)
    return path


def toy_settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """Settings of the toy run: EPO with its history, several minibatches and epochs, validations, best and last."""
    settings: dict[str, Any] = {
        "env": "guess",
        "algo": "epo",
        "format": "action",
        "model": {"name": str(model_folder(folder))},
        "rollout": {
            "tasks_per_step": 2,
            "group_size": 3,
            "max_turns": 3,
            "max_new_tokens": 3,
            "deterministic": True,
            "concurrency": 4,
            "max_context": 256,
        },
        "trainer": {"steps": 4, "lr": 1e-2, "epochs": 2, "minibatches": 2, "checkpoint_every": 1, "warmup_steps": 2},
        "validation": {"num_tasks": 3, "every": 2, "greedy": False},
        "settings": {"epo": {"low": 0.9, "high": 1.1, "entropy_coef": 0.1}},
        "parts": {"returns": "reward-sum", "rewards": ["invalid-action-penalty"]},
        "threads": 1,
    }
    for name, value in changes.items():
        settings[name] = settings[name] | value if isinstance(value, dict) else value
    return settings


def final_weights(run: Path) -> bytes:
    """The last checkpoint's weights, as they stand on disk."""
    import json

    record = json.loads((run / "checkpoints" / "last.json").read_text())
    return (run / "checkpoints" / record["folder"] / "model.safetensors").read_bytes()
