"""played.jsonl: the episodes of an evaluation that is going on, a line each from the moment that they are over.

A line is a trajectory as `agentrl.records` writes it, and `at`, the seconds that the evaluation had taken by then. Its
group and rollout say which episode it is; of two lines for one episode the later holds. The file goes when
trajectories/ and results.json are written.
"""

import asyncio
import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agentrl.errors import DataError
from agentrl.records import load_image, read_record, trajectory_from_json, trajectory_line, write_images
from agentrl.run_directory import cannot_write, sync_folder, write_all, write_whole
from agentrl.types import Trajectory

PLAYED = "played.jsonl"

Key = tuple[str, int]
"""Group and rollout of an episode: its name within an evaluation."""


def key_of(trajectory: Trajectory) -> Key:
    """Which episode of its evaluation it is."""
    return trajectory.group, trajectory.rollout


class Played:
    """Appends episodes to a folder's file.

    What `add` has written survives the death of the process at any moment, and once `synced` has returned that of the
    machine; as long as one sync is under way, further episodes wait for the next, so that no episode waits for a disk.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Raises DataError where the file cannot be written."""
        self.path = Path(folder) / PLAYED
        self._images = Path(folder) / "images"
        self._written = self._safe = 0
        self._sync: asyncio.Task[None] | None = None
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            sync_folder(folder)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def add(self, trajectory: Trajectory, at: float = 0.0) -> None:
        """Append an episode, its images first; it is made durable in the background of the running event loop.

        at: seconds that the evaluation has taken so far.
        Raises DataError where it cannot be written: nothing of it is left then.
        """
        write_images(self._images, [trajectory])
        size = os.fstat(self._file).st_size
        try:
            write_all(self._file, trajectory_line(trajectory, at=round(at, 3)).encode())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, size)
            raise cannot_write(self.path, error) from error
        self._written += 1
        if self._sync is None or self._sync.done():
            self._sync = asyncio.get_running_loop().create_task(self._synced())

    async def synced(self) -> None:
        """Wait until all that was added is on the disk.   Raises DataError where that is not possible."""
        if self._sync is not None:
            await self._sync

    async def _synced(self) -> None:
        while self._safe < self._written:
            written = self._written
            try:
                await asyncio.to_thread(os.fsync, self._file)
            except OSError as error:
                raise cannot_write(self.path, error) from error
            self._safe = written

    def close(self) -> None:
        """Close the file; what was added is made durable first."""
        with contextlib.suppress(OSError):
            os.fsync(self._file)
        os.close(self._file)


@dataclass(frozen=True)
class Read:
    """What stands in the file."""

    episodes: dict[Key, Trajectory]
    damaged: int = 0
    """Lines that cannot be read, as a kill leaves the last one."""
    seconds: float = 0.0
    """That the evaluation had taken by its last episode."""


def read_played(folder: str | os.PathLike[str], *, with_images: bool = True, repair: bool = False) -> Read:
    """The episodes that are over so far.

    with_images: False leaves observations without theirs.   repair: take damaged lines out of the file.
    Without a file there are none. Raises DataError for one that cannot be read or is of a newer agentrl.
    """
    path = Path(folder) / PLAYED
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Read({})
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    images = Path(folder) / "images"
    load = (lambda name: load_image(images, name)) if with_images else None
    found: dict[Key, Trajectory] = {}
    seconds = 0.0
    whole: list[bytes] = []
    lines = data.split(b"\n")
    damaged = int(bool(lines.pop()))  # what stands behind the last line's end
    for line in lines:
        record = read_record(line)
        if record is None:
            damaged += 1
            continue
        whole.append(line)
        trajectory = trajectory_from_json(record, load)
        found[key_of(trajectory)] = trajectory
        seconds = max(seconds, float(record.get("at", 0.0)))
    if damaged and repair:
        write_whole(path, b"".join(line + b"\n" for line in whole))
    return Read(found, damaged, seconds)


def write_played(folder: str | os.PathLike[str], trajectories: Iterable[Trajectory], at: float) -> None:
    """Write the file whole, of episodes whose images are there.   Raises DataError."""
    lines = (trajectory_line(trajectory, at=round(at, 3)) for trajectory in trajectories)
    write_whole(Path(folder) / PLAYED, "".join(lines).encode())


def in_order(played: Mapping[Key, Trajectory], order: Mapping[Key, int]) -> list[Trajectory]:
    """Episodes in the order of their evaluation's plan.   order: episode -> its place."""
    return [played[key] for key in sorted((key for key in played if key in order), key=order.__getitem__)]
