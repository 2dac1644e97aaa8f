"""Every call of an API policy as a line of calls.jsonl.gz, and the same replies again from there (`--replay`).

A line is a gzip member of its own, written by one append: whatever the process dies of, all lines before are whole.

{"schema", "hash", "episode", "try", "time", "seconds", "waited", "body", "status", "response" or "data", "usage",
 "cost", "failure", "final"}

`hash`: of the body and the request's seed, which hosts without seeds do not get; `failure`: the call gave no reply;
`final`: no further try followed.
"""

import base64
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from agentrl.errors import DataError, PolicyFailure

CALLS = "calls.jsonl.gz"
SCHEMA = 1


def digest(body: Mapping[str, Any], seed: int) -> tuple[str, bytes]:
    """What a request is known by, SHA-256 of its body as JSON with sorted keys and its seed; and that JSON."""
    data = json.dumps(body, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")
    return hashlib.sha256(b"%d " % seed + data).hexdigest(), data


class CallRecord:
    """Appends calls to a folder's record."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Goes on where a record is there; what a kill cut off at its end is removed.   Raises DataError."""
        self.path = Path(folder) / CALLS
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._file, _whole(self.path))
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}") from error

    def add(self, call: Mapping[str, Any]) -> None:
        """Write a call.   Raises DataError where that is not possible (a full disk)."""
        line = json.dumps({"schema": SCHEMA, **call}, ensure_ascii=False, separators=(",", ":")) + "\n"
        member = memoryview(gzip.compress(line.encode("utf-8", "backslashreplace"), 1, mtime=0))
        try:
            while member:
                member = member[os.write(self._file, member) :]
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Make it durable and close it."""
        os.fsync(self._file)
        os.close(self._file)


def response_of(data: bytes) -> dict[str, Any]:
    """A response's bytes as a line holds them: the text, or base64 where it is none."""
    try:
        return {"response": data.decode()}
    except UnicodeDecodeError:
        return {"data": base64.b64encode(data).decode()}


def data_of(call: Mapping[str, Any]) -> bytes:
    """The response's bytes of a line."""
    return base64.b64decode(call["data"]) if "data" in call else str(call["response"]).encode()


def calls(path: Path) -> Iterator[dict[str, Any]]:
    """The calls of a record, in the order of their ends; a last line that is cut is left out.   Raises DataError."""
    try:
        for member, _ in _members(path):
            call = json.loads(member)
            if call.get("schema") != SCHEMA:
                raise DataError(f"{path} has calls of schema {call.get('schema')}; this version reads {SCHEMA}")
            yield call
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, AttributeError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}") from error


def _members(path: Path) -> Iterator[tuple[bytes, int]]:
    """Content of each whole gzip member, and where it ends in the file."""
    with path.open("rb") as file:
        left, end = b"", 0
        while True:
            unpacker, found = zlib.decompressobj(31), []
            while not unpacker.eof:
                left = left or file.read(1 << 16)
                if not left:
                    return
                found.append(unpacker.decompress(left))
                end += len(left) - len(unpacker.unused_data)
                left = unpacker.unused_data
            yield b"".join(found), end


def _whole(path: Path) -> int:
    """Bytes of a record that are whole lines."""
    end = 0
    for _, end in _members(path):  # noqa: B007
        pass
    return end


def unused_replies(folder: str | os.PathLike[str], done: Container[str]) -> dict[str, dict[str, Any]]:
    """hash of the request -> its recorded call, of all replies to episodes that did not come to their end.

    done: `TASK/ROLLOUT` of those that did.   Without a record there are none. Raises DataError.
    """
    path = Path(folder) / CALLS
    if not path.exists():
        return {}
    found = {}
    for call in calls(path):
        episode = str(call.get("episode", "")).rpartition("/")[0]
        if call.get("final") and not call.get("failure") and episode and episode not in done:
            found[call["hash"]] = {name: value for name, value in call.items() if name != "body"}
    return found


class Replay:
    """Replies of a record, by their requests."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """folder: of an evaluation, or one that holds several.   Raises DataError where there is no record."""
        self.folder = Path(folder)
        files = sorted(self.folder.rglob(CALLS)) if self.folder.is_dir() else []
        if not files:
            raise DataError(f"there is no {CALLS} in {self.folder}; an evaluation of api:NAME with --out writes it")
        self._final: dict[str, dict[str, Any]] = {}
        for file in files:
            for call in calls(file):
                if call.get("final"):
                    self._final[call["hash"]] = {name: value for name, value in call.items() if name != "body"}

    def reply(self, name: str) -> dict[str, Any]:
        """The last call of a request.   name: its hash.   Raises PolicyFailure for one that failed, as it did then.

        Raises DataError for a request that is not in the record.
        """
        call = self._final.get(name)
        if call is None:
            raise DataError(
                f"the record in {self.folder} does not have a request that is made now; replay with the settings, "
                "tasks and seed that it was made with"
            )
        if call.get("failure"):
            raise PolicyFailure(str(call["failure"]))
        return call
