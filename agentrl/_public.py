"""What `import agentrl` offers, each name loaded when it is first asked for."""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("agentrl")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

_WHERE = {
    "Completion": "agentrl.types",
    "Env": "agentrl.types",
    "Observation": "agentrl.types",
    "Outcome": "agentrl.types",
    "StepResult": "agentrl.types",
    "Task": "agentrl.types",
    "Trajectory": "agentrl.types",
    "Turn": "agentrl.types",
    "Runner": "agentrl.runner",
    "train": "agentrl.api",
    "evaluate": "agentrl.api",
}


def load_public(name: str) -> Any:
    """The public name, imported now.   Raises AttributeError for a name that is not offered."""
    if name not in _WHERE:
        raise AttributeError(f"module 'agentrl' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)
