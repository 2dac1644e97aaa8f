"""Makes the n-th file operation below a folder fail, once: what is opened, written, synced, renamed, made, removed.

Python's own operations are met where every caller meets them: the functions of `os`, `open`, and the raw file below
it. The two writers that are no Python, of safetensors and tokenizers, count as one operation each, fail as they do on
a full disk, and leave half a file. `Files.escaped` tells what the interpreter reported, or left on disk, uncounted.
"""

import builtins
import contextlib
import errno
import fcntl
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

REASONS = {errno.ENOSPC: "No space left on device", errno.EIO: "Input/output error"}

_REPORTED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "fcntl.flock"}
"""Events of the interpreter that come with an operation."""


class Files:
    """The operations below a folder, of which one fails."""

    def __init__(self, folder: Path, fails: int = 0, code: int = errno.ENOSPC) -> None:
        """fails: number of the operation that fails, the first is 1; 0: none.   code: its errno."""
        self.folder, self.fails, self.code = os.path.realpath(folder), fails, code
        self.operations: list[str] = []
        """Each as `write meta.json`."""
        self._reported: list[str] = []
        self._written: set[str] = set()
        self._open: dict[int, str] = {}
        self._counting = 0

    @property
    def failed(self) -> str:
        """The operation that was made to fail; empty where it never came to it."""
        return self.operations[self.fails - 1] if 0 < self.fails <= len(self.operations) else ""

    @property
    def escaped(self) -> list[str]:
        """What came to be, or was reported, without being counted."""
        there = {os.path.join(folder, name) for folder, _, names in os.walk(self.folder) for name in names}
        return self._reported + sorted(there - self._written)

    def place(self, path: Any, directory: int | None = None) -> str:
        """The path, where it is below the folder; else an empty string."""
        if path is None:
            return ""
        if isinstance(path, int):
            return self._open.get(path, "")
        name = os.fsdecode(path)
        if directory is not None and directory >= 0:
            name = os.path.join(self._open.get(directory, os.sep), name)
        name = os.path.abspath(name)
        return name if name == self.folder or name.startswith(self.folder + os.sep) else ""

    def report(self, event: str, arguments: tuple[Any, ...]) -> None:
        """The interpreter's own word of an operation."""
        if event in _REPORTED and not self._counting and not isinstance(arguments[0], int) and arguments[0]:
            name = self.place(arguments[0])
            if name:
                self._reported.append(f"{event} {os.path.relpath(name, self.folder)}")

    def operation(self, sort: str, path: str, act: Callable[[], Any], *, before: bool = True) -> Any:
        """Do it, and count it.   Raises in its place; or, where it is not `before`, when it is done."""
        if not path:
            return act()
        self.operations.append(f"{sort} {os.path.relpath(path, self.folder)}")
        fails = len(self.operations) == self.fails
        if fails and before:
            raise self.error(path)
        self._counting += 1
        try:
            found = act()
        finally:
            self._counting -= 1
        if fails:
            raise self.error(path)
        return found

    def error(self, path: str) -> OSError:
        return OSError(self.code, REASONS[self.code], path)

    def opened(self, descriptor: int, path: str) -> None:
        if path:
            self._open[descriptor] = path
            self._written.add(path)

    def closed(self, descriptor: int) -> str:
        return self._open.pop(descriptor, "")

    def moved(self, before: Any, after: Any) -> None:
        old, new = self.place(before), self.place(after)
        names = {name for name in self._written if name == old or name.startswith(old + os.sep)}
        self._written |= {new + name[len(old) :] for name in names}


_watching: list[Files] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    for files in _watching:
        files.report(event, arguments)


@contextlib.contextmanager
def failing(files: Files) -> Iterator[Files]:
    """Within this, the operation of `files` that is to fail does."""
    if not getattr(_hook, "added", False):
        sys.addaudithook(_hook)
        _hook.added = True  # type: ignore[attr-defined]
    with contextlib.ExitStack() as stack:
        for owner, name, function in _replacements(files):
            stack.enter_context(patch.object(owner, name, function))
        _watching.append(files)
        try:
            yield files
        finally:
            _watching.remove(files)


def _replacements(files: Files) -> Iterator[tuple[Any, str, Any]]:
    """Owner, name and what stands there meanwhile."""
    yield from _descriptors(files)
    for name in ("mkdir", "unlink", "remove", "rmdir", "chmod"):
        yield os, name, _named(files, name, getattr(os, name))
    for name in ("rename", "replace"):
        yield os, name, _moving(files, name, getattr(os, name))
    opened = _opening(files, io.open)
    yield io, "open", opened
    yield builtins, "open", opened
    yield from _foreign(files)


def _descriptors(files: Files) -> Iterator[tuple[Any, str, Any]]:
    real = {name: getattr(os, name) for name in ("open", "close", "write", "pwrite", "fsync", "ftruncate")}
    lock = fcntl.flock

    def open_(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        place = files.place(path, dir_fd)
        descriptor: int = files.operation("open", place, lambda: real["open"](path, flags, mode, dir_fd=dir_fd))
        files.opened(descriptor, place)
        return descriptor

    def close(descriptor: int) -> None:
        files.operation("close", files.closed(descriptor), lambda: real["close"](descriptor), before=False)

    def on_descriptor(name: str) -> Any:
        def call(descriptor: int, *arguments: Any) -> Any:
            if name == "fsync" and files.place(descriptor):  # the order counts, not the disk
                return files.operation(name, files.place(descriptor), lambda: None)
            return files.operation(name, files.place(descriptor), lambda: real[name](descriptor, *arguments))

        return call

    yield os, "open", open_
    yield os, "close", close
    for name in ("write", "pwrite", "fsync", "ftruncate"):
        yield os, name, on_descriptor(name)
    yield fcntl, "flock", lambda fd, how: files.operation("lock", files.place(fd), lambda: lock(fd, how))


def _named(files: Files, name: str, real: Any) -> Any:
    def call(path: Any, *arguments: Any, **settings: Any) -> Any:
        place = files.place(path, settings.get("dir_fd"))
        return files.operation(name, place, lambda: real(path, *arguments, **settings))

    return call


def _moving(files: Files, name: str, real: Any) -> Any:
    def call(before: Any, after: Any, **settings: Any) -> None:
        files.operation(name, files.place(after), lambda: real(before, after, **settings))
        files.moved(before, after)

    return call


def _opening(files: Files, real: Any) -> Any:
    """`open`, whose files count what they write and that they are closed."""

    class Raw(io.FileIO):
        def write(self, data: Any) -> Any:
            return files.operation("write", str(self.name), lambda: super(Raw, self).write(data))

        def close(self) -> None:
            if self.closed:
                return
            files.operation("close", str(self.name), super().close, before=False)

    def open_(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        place = "" if isinstance(file, int) else files.place(file)
        if not place or not set(mode) & set("wax+"):
            return files.operation(
                "open", place, lambda: real(file, mode, buffering, encoding, errors, newline, closefd, opener)
            )
        raw = files.operation("open", place, lambda: Raw(place, mode.replace("b", "").replace("t", "")))
        files._written.add(place)
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    return open_


def _foreign(files: Files) -> Iterator[tuple[Any, str, Any]]:
    """The writers of safetensors and tokenizers."""
    import safetensors.torch
    from safetensors import SafetensorError
    from transformers.tokenization_utils_tokenizers import TokenizersBackend

    words = f"{REASONS[files.code]} (os error {files.code})"

    def half(path: str, error: Exception, act: Callable[[], Any]) -> Any:
        """Whole, or cut in the middle."""
        try:
            found = files.operation("save", files.place(path), act, before=False)
        except OSError:
            os.truncate(path, os.path.getsize(path) // 2)
            raise error from None
        finally:
            files._written.add(files.place(path))
        return found

    real_serialize = safetensors.torch.serialize_file
    real_backend = TokenizersBackend.backend_tokenizer

    def serialize(tensors: Any, path: Any, **settings: Any) -> Any:
        error = SafetensorError(f"Error while serializing: I/O error: {words}")
        return half(os.fspath(path), error, lambda: real_serialize(tensors, path, **settings))

    class Backend:
        def __init__(self, tokenizer: Any) -> None:
            self._tokenizer = tokenizer

        def __getattr__(self, name: str) -> Any:
            return getattr(self._tokenizer, name)

        def save(self, path: str, *arguments: Any) -> Any:
            return half(path, Exception(words), lambda: self._tokenizer.save(path, *arguments))

    yield safetensors.torch, "serialize_file", serialize
    yield TokenizersBackend, "backend_tokenizer", property(lambda self: Backend(real_backend.fget(self)))
