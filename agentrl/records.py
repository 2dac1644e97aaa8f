"""Trajectories as records: compressed JSON lines with a schema version, images beside them by their content.

Text stands as text. Numbers of which there is one a token are packed, as base64 of little-endian arrays: exact to the
bit, a tenth of the time of decimal text. Nothing is executed on reading.
"""

import array
import base64
import binascii
import dataclasses
import gzip
import hashlib
import itertools
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from agentrl.errors import DataError
from agentrl.run_directory import write_whole
from agentrl.settings import to_mapping
from agentrl.types import SCHEMA_VERSION, Completion, Observation, Outcome, Task, Trajectory, Turn

_COMPRESSION = 1
"""Of gzip: higher levels take three times as long for a tenth less."""

LoadImage = Callable[[str], bytes]


def trajectory_to_json(trajectory: Trajectory) -> dict[str, Any]:
    """A trajectory as what JSON can hold. Images are their SHA-256; the task's data are plain dictionaries."""
    last = trajectory.final_observation
    return {
        "schema": trajectory.schema,
        "task": _task_to_json(trajectory.task),
        "group": trajectory.group,
        "rollout": trajectory.rollout,
        "ended": trajectory.ended,
        "failure": trajectory.failure,
        "tries": trajectory.tries,
        "source": trajectory.source,
        "policy": trajectory.policy,
        **({"hint": trajectory.hint} if trajectory.hint else {}),
        **({"greedy": True} if trajectory.greedy else {}),
        **({"reference": trajectory.reference} if trajectory.reference else {}),
        "outcome": trajectory.outcome.to_json(),
        "turns": [_turn_to_json(turn) for turn in trajectory.turns],
        "final_observation": None if last is None else _observation_to_json(last),
    }


def trajectory_from_json(record: dict[str, Any], load_image: LoadImage | None = None) -> Trajectory:
    """The trajectory of a record; `task.data` comes back as plain dictionaries.

    load_image: SHA-256 -> PNG bytes; None where images are not needed: observations then have none.
    Raises DataError for a record of a newer schema, or one that lacks something.
    """
    schema = record.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA_VERSION:
        raise DataError(f"a trajectory has schema {schema}; this agentrl reads up to {SCHEMA_VERSION}: update it")
    try:
        last = record["final_observation"]
        return Trajectory(
            task=Task(**record["task"]),
            group=record["group"],
            rollout=record["rollout"],
            turns=[_turn_from_json(place, turn, load_image) for place, turn in enumerate(record["turns"])],
            final_observation=None if last is None else _observation_from_json(last, load_image),
            outcome=Outcome(*record["outcome"]),
            ended=record["ended"],
            failure=record["failure"],
            tries=record["tries"],
            source=record["source"],
            policy=record["policy"],
            hint=record.get("hint", ""),
            greedy=record.get("greedy", False),
            reference=record.get("reference", ""),
            schema=schema,
        )
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise DataError(f"a trajectory is damaged: {type(error).__name__}: {error}") from error


def write_trajectories(path: str | Path, trajectories: Iterable[Trajectory], images: str | Path | None = None) -> None:
    """Write a file of trajectories whole, after the images that it names.

    images: their folder; None: `images`, beside the file's folder where that is called `trajectories`, else in it.
    Raises DataError where it cannot be written.
    """
    trajectories = list(trajectories)
    write_images(_images_folder(Path(path), images), trajectories)
    lines = map(trajectory_line, trajectories)
    data = gzip.compress("".join(lines).encode(), _COMPRESSION, mtime=0)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)


def write_images(folder: Path, trajectories: Iterable[Trajectory]) -> None:
    """Write the images of trajectories that are not in the folder yet, each whole.   Raises DataError."""
    for name, image in {hash_of(i): i for t in trajectories for i in _images(t)}.items():
        if not (folder / f"{name}.png").exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / f"{name}.png", image)


def trajectory_line(trajectory: Trajectory, **beside: Any) -> str:
    """A trajectory as a line of JSON, its end included.   beside: further entries, which readers pass over."""
    return _dump({**trajectory_to_json(trajectory), **beside})


def read_record(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None where a kill has cut it."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def read_trajectories(
    path: str | Path, images: str | Path | None = None, *, with_images: bool = True
) -> list[Trajectory]:
    """Every trajectory of a file.

    images: as in `write_trajectories`.   with_images: False leaves observations without theirs.
    Raises DataError for a file or image that is missing, damaged, or of a newer agentrl.
    """
    folder = _images_folder(Path(path), images)
    load = (lambda name: load_image(folder, name)) if with_images else None
    return [trajectory_from_json(record, load) for record in _records(Path(path))]


def hash_of(image: bytes) -> str:
    """The name of an image: SHA-256, in hexadecimal."""
    return hashlib.sha256(image).hexdigest()


def _records(path: Path) -> Iterator[dict[str, Any]]:
    try:
        data = path.read_bytes()
        if not data:
            raise EOFError("it is empty")
        packed = path.suffix == ".gz" or data[:2] == b"\x1f\x8b"
        lines = (gzip.decompress(data) if packed else data).decode().split("\n")
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number} is damaged: it is no JSON") from error
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {number} is no trajectory")
        yield record


def _dump(record: dict[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":"), default=str) + "\n"


def _images_folder(path: Path, images: str | Path | None) -> Path:
    if images is not None:
        return Path(images)
    return (path.parent.parent if path.parent.name == "trajectories" else path.parent) / "images"


def _images(trajectory: Trajectory) -> Iterator[bytes]:
    for turn in trajectory.turns:
        yield from turn.observation.images
    if trajectory.final_observation is not None:
        yield from trajectory.final_observation.images


def load_image(folder: Path, name: str) -> bytes:
    """The PNG bytes of an image by its SHA-256.   Raises DataError for one that is missing or damaged."""
    if not (len(name) == 64 and set(name) <= set("0123456789abcdef")):
        raise DataError(f"{name!r} is no name of an image")
    try:
        image = (folder / f"{name}.png").read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {folder / name}.png: {error.strerror}") from error
    if hash_of(image) != name:
        raise DataError(f"{folder / name}.png is damaged: its content is not what it is named for")
    return image


def _task_to_json(task: Task) -> dict[str, Any]:
    found = {field.name: getattr(task, field.name) for field in dataclasses.fields(task)}
    return {**found, "data": to_mapping({"data": task.data})["data"]}


def _observation_to_json(seen: Observation) -> dict[str, Any]:
    found: dict[str, Any] = {"text": seen.text}
    if seen.images:
        found["images"] = [hash_of(image) for image in seen.images]
    if seen.admissible is not None:
        found["admissible"] = seen.admissible
    if seen.visited is not None:
        found["visited"] = seen.visited
    if seen.earlier:
        found["earlier"] = seen.earlier
    return found


def _observation_from_json(record: dict[str, Any], load_image: LoadImage | None) -> Observation:
    names = record.get("images", ()) if load_image is not None else ()
    return Observation(
        record["text"],
        tuple(load_image(name) for name in names) if load_image is not None else (),
        _tuple_or_none(record.get("admissible")),
        _tuple_or_none(record.get("visited")),
        tuple((role, text) for role, text in record.get("earlier", ())),
    )


def _tuple_or_none(items: list[str] | None) -> tuple[str, ...] | None:
    return None if items is None else tuple(items)


def _turn_to_json(turn: Turn) -> dict[str, Any]:
    """A turn; its place is its position."""
    found: dict[str, Any] = {
        "observation": _observation_to_json(turn.observation),
        "prompt_ids": pack_ints(turn.prompt_ids),
        "continues": turn.continues,
        "completion": _completion_to_json(turn.completion),
        "action": turn.action,
        "readable": turn.readable,
        "valid": turn.valid,
        "reward": turn.reward,
        "seconds": {name: round(value, 6) for name, value in turn.seconds.items()},
    }
    if turn.kind != "act":
        found["kind"] = turn.kind
    if turn.report is not None:
        found["report"] = turn.report
    if turn.images:
        found["images"] = turn.images
    if not turn.learn:
        found["learn"] = False
    return found


def _turn_from_json(position: int, record: dict[str, Any], load_image: LoadImage | None) -> Turn:
    return Turn(
        position=position,
        observation=_observation_from_json(record["observation"], load_image),
        prompt_ids=unpack_ints(record["prompt_ids"]),
        continues=record["continues"],
        completion=_completion_from_json(record["completion"]),
        action=record["action"],
        readable=record["readable"],
        valid=record["valid"],
        reward=record["reward"],
        kind=record.get("kind", "act"),
        report=record.get("report"),
        images=tuple(record.get("images", ())),
        seconds=record["seconds"],
        learn=record.get("learn", True),
    )


_USAGE: dict[str, Any] = {
    "prompt_tokens": 0,
    "cached_tokens": 0,
    "cost": None,
    "reasoning": "",
    "output_tokens": 0,
    "reasoning_tokens": 0,
    "waited": 0.0,
}
"""Fields of a completion that are stored where they are not this."""


def _completion_to_json(completion: Completion) -> dict[str, Any]:
    found: dict[str, Any] = {
        "text": completion.text,
        "token_ids": pack_ints(completion.token_ids),
        "finish": completion.finish,
    }
    if completion.logprobs is not None:
        found["logprobs"] = _pack("d", completion.logprobs)
    if completion.versions:
        found["versions"] = [[version, len(list(run))] for version, run in itertools.groupby(completion.versions)]
    if completion.allowed is not None:
        lengths = pack_ints(list(map(len, completion.allowed)))
        found["allowed"] = [lengths, pack_ints(list(itertools.chain.from_iterable(completion.allowed)))]
    for name, absent in _USAGE.items():
        if getattr(completion, name) != absent:
            found[name] = getattr(completion, name)
    return found


def _completion_from_json(record: dict[str, Any]) -> Completion:
    logprobs, allowed = record.get("logprobs"), record.get("allowed")
    return Completion(
        text=record["text"],
        token_ids=unpack_ints(record["token_ids"]),
        logprobs=None if logprobs is None else _unpack("d", logprobs),
        finish=record["finish"],
        versions=[version for version, count in record.get("versions", ()) for _ in range(count)],
        allowed=None if allowed is None else _split(unpack_ints(allowed[1]), unpack_ints(allowed[0])),
        **{name: record.get(name, absent) for name, absent in _USAGE.items()},
    )


def _split(values: list[int], lengths: list[int]) -> list[list[int]]:
    if sum(lengths) != len(values):
        raise ValueError("the allowed ids do not add up")
    rest = iter(values)
    return [list(itertools.islice(rest, length)) for length in lengths]


def pack_ints(values: Sequence[int]) -> str:
    """Integers of 32 bits as base64 of a little-endian array."""
    return _pack("i", values)


def unpack_ints(text: str) -> list[int]:
    """What `pack_ints` packed.   Raises ValueError for what is no such text."""
    return _unpack("i", text)


def _pack(code: str, values: Sequence[Any]) -> str:
    packed = array.array(code, values)
    if sys.byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed).decode()


def _unpack(code: str, text: str) -> list[Any]:
    packed = array.array(code)
    packed.frombytes(base64.b64decode(text, validate=True))
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tolist()
