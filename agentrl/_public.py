"""What `import agentrl` offers, each name loaded when it is first asked for."""

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# In a checkout the rooms stand beside this folder; only an installation joins them. Without it, or with the folder of
# the checkout found before the installed package, every later import would fail, and less plainly.
if find_spec("agentrl.envs") is None and Path(__file__).parents[1].joinpath("pyproject.toml").is_file():
    raise ImportError(
        f"the agentrl folder of the checkout {Path(__file__).parents[1]} hides the installed package and holds only a "
        "part of it: leave that folder, or install the checkout with `pip install -e .`"
    )

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
    if name == "__version__":
        return _version()
    if name not in _WHERE:
        raise AttributeError(f"module 'agentrl' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def _version() -> str:
    """Asked for late: what reads it takes four fifths of the time in which the command line cannot catch a Ctrl-C."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("agentrl")
    except PackageNotFoundError:  # a checkout that was never installed
        return "0+unknown"
