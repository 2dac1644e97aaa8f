"""The cache folder of this world: gold paths and what came of them, whose loss costs time and nothing else."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def cache_file(*parts: str) -> Path:
    """A file of this world under $AGENTRL_CACHE, or ~/.cache/agentrl; it need not exist yet."""
    named = os.environ.get("AGENTRL_CACHE")
    folder = Path(named) if named else Path("~/.cache/agentrl").expanduser()
    return folder.joinpath("scienceworld", *parts)


def read_json(path: Path) -> Any:
    """What `write_json` wrote; None where there is no such file or it is damaged."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Write whole or not at all; a folder that cannot be written is no error, only no cache."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file)
        os.replace(temporary, path)
    except OSError:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
