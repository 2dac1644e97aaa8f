"""What a policy's calls have come to, in a file that is right at any moment: limits hold over kills and resumes.

{"schema", "tokens", "cost", "unknown_calls", "held": [tokens, cost, calls], "counts"}

It is written before each call, which then counts with its worst case, and after it. One small write at the beginning of
the file is whole or not there, whatever the process dies of.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentrl.errors import DataError

SCHEMA = 1
_BLOCK = 256


class Account:
    """An open file of what was spent."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises DataError where it cannot be written, or what stands there cannot be read."""
        self.path = Path(path)
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            text = os.read(self._file, 1 << 16).decode("utf-8", "replace").strip()
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}") from error
        self._size = os.fstat(self._file).st_size
        self.before = self._read(text) if text else None
        """What was spent when it was opened, calls in progress included; None: nothing yet."""

    def _read(self, text: str) -> dict[str, Any]:
        try:
            found = json.loads(text)
            if found["schema"] != SCHEMA:
                raise DataError(f"{self.path} was written by a newer agentrl (schema {found['schema']})")
            tokens, cost, calls = found["held"]
            return {
                "tokens": int(found["tokens"] + tokens),
                "cost": float(found["cost"] + cost),
                "unknown_calls": int(found["unknown_calls"] + calls),
                "counts": dict(found["counts"]),
            }
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.path} is damaged: what was spent cannot be read ({error})") from error

    def write(
        self, tokens: int, cost: float, unknown_calls: int, held: tuple[int, float, int], counts: Mapping[str, Any]
    ) -> None:
        """Put down what is spent, and what is set aside for calls in progress.   Raises DataError (a full disk)."""
        values = {"tokens": tokens, "cost": cost, "unknown_calls": unknown_calls, "held": held, "counts": counts}
        data = json.dumps({"schema": SCHEMA, **values}).encode()
        self._size = max(self._size, -(-(len(data) + 1) // _BLOCK) * _BLOCK)
        try:
            os.pwrite(self._file, data.ljust(self._size - 1) + b"\n", 0)
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Make it durable and close it."""
        os.fsync(self._file)
        os.close(self._file)
