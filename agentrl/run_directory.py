"""A run's folder: whole files or none, one process at a time, and enough on disk to go on after `kill -9`.

runs/alfworld-epo-0/
    config.yaml      the resolved configuration; alone repeats the run
    meta.json        versions, hardware, seed, panel hashes, and one entry for every start
    metrics.jsonl    one line a record, {"schema", "kind", "step", ...}; only ever appended to
    trajectories/    step-000001.jsonl.gz, one file a step
    validation/      the same of what judged
    tensorboard/     the metrics as events
    curve.svg        the learning curve, when the run has ended
    report.html      what the run came to, with report.md and report.json: the same numbers
    images/          named by their content
    checkpoints/     what the trainer writes
    lock             held by the process that runs
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from agentrl.config import RunConfig
from agentrl.errors import DataError, RunDirectoryError
from agentrl.hardware import environment, usable_cores
from agentrl.settings import from_mapping, to_mapping

RUN_SCHEMA = 1
"""Of meta.json and of every line of metrics.jsonl."""

_OWN_FILES = ("config.yaml", "meta.json", "metrics.jsonl", "lock")


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that after a crash at any moment it is the old one or the new one, never a part.

    A temporary file in the same folder, flush, fsync, rename, fsync of the folder.
    Raises DataError where it cannot be written (a full disk, a folder that is missing); no temporary file is left.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        try:
            _write_synced(temporary, data)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(target.parent)
    except OSError as error:
        raise cannot_write(target, error) from error


def _write_synced(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        write_all(file, data)
        os.fsync(file)
    finally:
        os.close(file)


def write_all(file: int, data: bytes) -> None:
    """Write every byte to a file descriptor: `os.write` may stop before the end."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make a folder's entries durable: without it a renamed file may be gone after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> DataError:
    """The error for a file that cannot be written: which, why, and what helps."""
    remedy = ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = "; free some space, then continue with --resume"
    return DataError(f"cannot write {path}: {error.strerror or error}{remedy}")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a JSON file whole; nan and infinities become null."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False)
    # A half character, which a world's text may hold, becomes its escape: as JSON has it.
    write_whole(path, f"{text}\n".encode("utf-8", "backslashreplace"))


def read_json(path: str | os.PathLike[str]) -> Any:
    """Raises DataError for a file that is missing or no JSON."""
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: it is no JSON") from error


def _plain(value: Any) -> Any:
    """Dictionaries, lists and scalars that JSON can hold; one-element arrays and tensors become numbers."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class RunDirectory:
    """An open run folder, locked by this process. Use `create`, `open`, or as a context manager."""

    def __init__(self, path: Path, lock: int | None, made: Sequence[Path] = ()) -> None:
        """made: folders above `path` that were made for it, the innermost first: they go where it has to go."""
        self.path = path
        self._lock = lock
        self._made = tuple(made)
        self.checkpoints = path / "checkpoints"
        self.trajectories = path / "trajectories"
        self.images = path / "images"
        self.config_file = path / "config.yaml"
        self.meta_file = path / "meta.json"
        self.metrics_file = path / "metrics.jsonl"

    @classmethod
    def create(
        cls,
        config: RunConfig,
        *,
        command: Sequence[str] = (),
        root: str | os.PathLike[str] = "runs",
        meta: Mapping[str, Any] | None = None,
    ) -> Self:
        """A new folder with config.yaml and meta.json: `config.run_dir`, or ROOT/ENV-ALGO-SEED, numbered on a clash.

        command: what was typed, for meta.json.   meta: further entries of it.
        Raises RunDirectoryError where the named folder holds a run or other files, or is in use.
        """
        run = cls._named(Path(config.run_dir)) if config.run_dir else cls._numbered(Path(root), config)
        try:
            for folder in (run.checkpoints, run.trajectories, run.images):
                folder.mkdir(exist_ok=True)
            write_json(
                run.meta_file, {"schema": RUN_SCHEMA, "seed": config.seed, "panels": {}, **(meta or {}), "starts": []}
            )
            run._add_start(config, command, resumed=False)
            text = yaml.safe_dump(to_mapping(config) | {"run_dir": ""}, sort_keys=False, allow_unicode=True)
            write_whole(run.config_file, text.encode())  # last: a folder with a configuration is a whole one
        except OSError as error:
            run._unmake()
            raise cannot_write(run.path, error) from error
        except BaseException:
            run._unmake()
            raise
        return run

    def _unmake(self) -> None:
        """Leave nothing of a start that failed."""
        with contextlib.suppress(OSError):
            for name in _OWN_FILES:
                (self.path / name).unlink(missing_ok=True)
            for folder in (self.checkpoints, self.trajectories, self.images, self.path, *self._made):
                if folder.exists():
                    folder.rmdir()
        self.close()

    @classmethod
    def _named(cls, path: Path) -> Self:
        if path.exists() and not path.is_dir():
            raise RunDirectoryError(f"{path} is a file; name a folder")
        made = _missing(path.parent)
        new = [] if path.exists() else [path, *made]
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirectoryError(f"cannot make {path}: {error.strerror}") from error
        foreign = [p.name for p in path.iterdir() if not _left_by_a_start(p)]
        if foreign and not (path / "config.yaml").exists():
            raise RunDirectoryError(f"{path} is not empty (it holds {foreign[0]}); name a new folder")
        lock = _lock_new(path, new)
        if (path / "config.yaml").exists():
            os.close(lock)
            raise RunDirectoryError(f"{path} holds a run already; continue it with --resume {path}, or name another")
        return cls(path, lock, made)

    @classmethod
    def _numbered(cls, root: Path, config: RunConfig) -> Self:
        env, algo = (re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.") or "own" for name in (config.env, config.algo))
        made, number = _missing(root), 1
        while True:
            path = root / (f"{env}-{algo}-{config.seed}" + (f"-{number}" if number > 1 else ""))
            try:
                root.mkdir(parents=True, exist_ok=True)
                path.mkdir()  # of two processes that start together only one makes it
                return cls(path, _lock_new(path, (path, *made)), made)
            except FileExistsError:
                number += 1
            except OSError as error:
                raise RunDirectoryError(f"cannot make {path}: {error.strerror}") from error

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, command: Sequence[str] = ()) -> Self:
        """A run that exists, to go on with it: locks it and repairs a metrics file that was cut by a kill.

        Raises RunDirectoryError where it is missing, in use, or holds no configuration.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise RunDirectoryError(f"there is no run directory {folder}")
        if not (folder / "config.yaml").exists():
            raise RunDirectoryError(f"{folder} is no run directory: it holds no config.yaml")
        run = cls(folder, _lock(folder))
        try:
            config = run.config()
            for name in (run.checkpoints, run.trajectories, run.images):
                name.mkdir(exist_ok=True)
            run._remove_temporary()
            run._repair_metrics()
            run._add_start(config, command, resumed=True)
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def follow(cls, path: str | os.PathLike[str]) -> Self:
        """The folder of a run that another process of the same run has opened: to read from."""
        return cls(Path(path), None)

    def config(self) -> RunConfig:
        """The run's configuration, from config.yaml; `run_dir` names this folder."""
        return read_config(self.config_file, run_dir=str(self.path))

    def meta(self) -> dict[str, Any]:
        """What meta.json holds.   Raises DataError for a damaged file or one of a later schema."""
        meta = read_json(self.meta_file)
        if not isinstance(meta, dict) or not isinstance(meta.get("schema"), int):
            raise DataError(f"{self.meta_file} is damaged: it has no schema version")
        if meta["schema"] > RUN_SCHEMA:
            raise DataError(f"{self.meta_file} was written by a newer agentrl (schema {meta['schema']})")
        return meta

    def update_meta(self, **entries: Any) -> None:
        """Add entries to meta.json, or replace them; a mapping is merged into the one that is there."""
        meta = self.meta()
        for name, value in entries.items():
            both = isinstance(value, Mapping) and isinstance(meta.get(name), Mapping)
            meta[name] = {**meta[name], **value} if both else value
        write_json(self.meta_file, meta)

    def changed_since_last_start(self) -> list[str]:
        """What differs between this start and the one before it, as `torch 2.9.0, now 2.9.1`.

        A resumed run ends with the same weights, bit for bit, only where nothing differs.
        """
        starts = self.meta()["starts"]
        if len(starts) < 2:
            return []
        before, now = ({**s["environment"]["versions"], "threads": s["threads"]} for s in starts[-2:])
        return [
            f"{k} {before.get(k)}, now {now.get(k)}" for k in sorted({*before, *now}) if before.get(k) != now.get(k)
        ]

    def log(self, step: int, metrics: Mapping[str, Any], kind: str = "train") -> None:
        """Append one record to metrics.jsonl and make it durable.

        kind: train, validation, or any other word for a sort of record.   Raises DataError where it cannot be written.
        """
        record = {"schema": RUN_SCHEMA, "kind": kind, "step": step, "time": round(time.time(), 3), **metrics}
        line = (json.dumps(_plain(record), ensure_ascii=False) + "\n").encode()
        try:
            file = os.open(self.metrics_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                size = os.fstat(file).st_size
                try:
                    write_all(file, line)
                    os.fsync(file)
                except OSError:
                    os.ftruncate(file, size)
                    raise
            finally:
                os.close(file)
        except OSError as error:
            raise cannot_write(self.metrics_file, error) from error

    def metrics(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The records of metrics.jsonl, all or of one kind.   Raises DataError for a line that is no record."""
        return [r for r in _read_records(self.metrics_file) if kind is None or r.get("kind") == kind]

    def rewind(self, step: int) -> None:
        """Forget what was written after `step`, before the run goes on from that step's checkpoint."""
        records = _read_records(self.metrics_file)
        kept = [r for r in records if r.get("step", 0) <= step]
        if len(kept) < len(records):
            lines = (json.dumps(r, ensure_ascii=False) + "\n" for r in kept)
            write_whole(self.metrics_file, "".join(lines).encode())
        for file in self.trajectories.glob("step-*.jsonl.gz"):
            number = file.name.removeprefix("step-").removesuffix(".jsonl.gz")
            if number.isdigit() and int(number) > step:
                file.unlink()

    def trajectory_file(self, step: int) -> Path:
        """Where the trajectories of a step are written."""
        return self.trajectories / f"step-{step:06d}.jsonl.gz"

    def remove_unused(self) -> bool:
        """Remove the folder and those made for it, if it is held and no run is in it.   Returns whether it did."""
        if self._lock is None:
            return False
        folders = (self.checkpoints, self.trajectories, self.images)
        if self.metrics_file.exists() or any(any(folder.iterdir()) for folder in folders if folder.is_dir()):
            return False
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):  # another run may stand in them by now
            for folder in self._made:
                folder.rmdir()
        return True

    def close(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def _add_start(self, config: RunConfig, command: Sequence[str], resumed: bool) -> None:
        start = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "resumed": resumed,
            "command": list(command),
            "threads": config.threads or usable_cores(),
            "environment": environment(),
        }
        self.update_meta(starts=[*self.meta()["starts"], start])

    def _remove_temporary(self) -> None:
        """Temporary files that a killed process left; the lock says that no one else writes."""
        for folder in (self.path, self.trajectories, self.images):
            for file in folder.glob(".*.tmp"):
                with contextlib.suppress(OSError):
                    file.unlink()

    def _repair_metrics(self) -> None:
        """Cut a last line that a kill left without its end."""
        if not self.metrics_file.exists():
            return
        data = self.metrics_file.read_bytes()
        if data and not data.endswith(b"\n"):
            write_whole(self.metrics_file, data[: data.rfind(b"\n") + 1])


def read_config(path: str | os.PathLike[str], run_dir: str = "") -> RunConfig:
    """The configuration in a config.yaml.   Raises DataError for a damaged file, ConfigError for bad settings."""
    return from_mapping(RunConfig, read_yaml(path) | {"run_dir": run_dir})


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A YAML file that holds a mapping; an empty file is an empty one.   Raises DataError for any other."""
    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text in UTF-8") from error
    except yaml.YAMLError as error:
        raise DataError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no settings: its top level must be names and values")
    return {str(key): entry for key, entry in value.items()}


def panel_hash(task_ids: Iterable[str]) -> str:
    """sha256 over the ordered ids of a task panel: two runs with the same hash saw the same tasks in the same order."""
    digest = hashlib.sha256()
    for task_id in task_ids:
        digest.update(task_id.encode() + b"\n")
    return digest.hexdigest()


def _lock(folder: Path) -> int:
    """Hold the folder's lock; the system lets go of it when the process ends, however it ends."""
    path = folder / "lock"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunDirectoryError(f"cannot write in {folder}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(file, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(file)
        raise RunDirectoryError(f"{folder} is in use by process {holder}") from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):  # a file system without locks: go on without
            os.close(file)
            raise RunDirectoryError(f"cannot lock {folder}: {error.strerror}") from error
    with contextlib.suppress(OSError):  # who holds it is a courtesy: a full disk must not forbid to resume
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    return file


def _lock_new(path: Path, made: Sequence[Path]) -> int:
    """The lock of a folder in which a run is to begin. Where it cannot be had, what was made for it is removed."""
    try:
        return _lock(path)
    except RunDirectoryError as error:
        with contextlib.suppress(OSError):
            if made and "in use" not in str(error):
                (path / "lock").unlink(missing_ok=True)
            for folder in made:
                folder.rmdir()  # only where it is empty
        raise


def _missing(folder: Path) -> list[Path]:
    """The folder and those above it that are not there yet, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _left_by_a_start(path: Path) -> bool:
    """Is this one of the things that a start which was killed at once leaves behind."""
    if path.name in ("checkpoints", "trajectories", "images"):
        return path.is_dir() and not any(path.iterdir())
    return path.name in _OWN_FILES or (path.name.startswith(".") and path.name.endswith(".tmp"))


def _read_records(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path} is damaged in line {number}: it is no JSON") from error
        if not isinstance(record, dict) or record.get("schema", 0) > RUN_SCHEMA:
            raise DataError(f"{path}: line {number} was written by a newer agentrl, or is no record")
        records.append(record)
    return records
