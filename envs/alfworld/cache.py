"""The cache folder: whole files of JSON, whose loss costs time and nothing else."""

import json
import os
import tempfile
import zlib
from pathlib import Path
from typing import Any


def cache_folder() -> Path:
    """$AGENTRL_CACHE, or ~/.cache/agentrl; it need not exist yet."""
    named = os.environ.get("AGENTRL_CACHE")
    return Path(named) if named else Path("~/.cache/agentrl").expanduser()


def read_json(path: Path) -> Any:
    """What `write_json` wrote; None where there is no such file or it is damaged."""
    try:
        return json.loads(zlib.decompress(path.read_bytes()))
    except (OSError, ValueError, zlib.error):
        return None


def write_json(path: Path, value: Any) -> None:
    """Write compressed JSON whole or not at all; a folder that cannot be written is no error, only no cache."""
    write_bytes(path, zlib.compress(json.dumps(value).encode(), 1))


def write_bytes(path: Path, content: bytes) -> None:
    """The same for bytes: another process sees the old file, the new one, or none."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
