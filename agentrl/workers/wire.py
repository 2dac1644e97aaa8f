"""What travels between a worker process and its parent: frames over a private socket.

Parent to worker   a pickle: tasks and settings are the world's own dataclasses, and the parent is trusted.
Worker to parent   JSON and PNG files. The parent unpickles nothing: what a world sends is never executed.
"""

import json
import pickle
import struct
from dataclasses import dataclass
from typing import Any

from agentrl import errors
from agentrl.errors import AgentRLError, WorldFailure
from agentrl.types import Observation, Outcome, StepResult

MAX_ANSWER = 16 * 2**20
"""Bytes of one answer of a world; what is larger is refused in the worker, before it is sent."""

REQUEST_HEADER = struct.Struct(">I")
ANSWER_HEADER = struct.Struct(">II")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request: a value, or the error that it raised."""

    value: Observation | StepResult | Outcome | int | None = None
    error: AgentRLError | None = None
    seconds: float = 0.0
    """Time the world took, without the wait for its turn in the worker."""


def pack_request(operation: str, slot: int, argument: Any) -> bytes:
    """One request as a frame.   Raises what pickle raises for an argument that has no import path."""
    body = pickle.dumps((operation, slot, argument), protocol=pickle.HIGHEST_PROTOCOL)
    return REQUEST_HEADER.pack(len(body)) + body


def unpack_request(body: bytes) -> tuple[str, int, Any]:
    """Only ever called in the worker, on what its own parent wrote."""
    operation, slot, argument = pickle.loads(body)
    return operation, slot, argument


def pack_answer(answer: Answer) -> bytes:
    """One answer as a frame; one that is larger than MAX_ANSWER becomes a WorldFailure that says so."""
    size = _size(answer.value)
    if size <= MAX_ANSWER:
        body, images = _plain(answer)
        text = json.dumps(body, separators=(",", ":")).encode()
        blob = b"".join(images)
        size = len(text) + len(blob)
        if size <= MAX_ANSWER:
            return ANSWER_HEADER.pack(len(text), len(blob)) + text + blob
    failure = WorldFailure(f"its answer has {size / 2**20:.1f} MiB; at most {MAX_ANSWER / 2**20:.0f} MiB are taken")
    return pack_answer(Answer(error=failure, seconds=answer.seconds))


def unpack_answer(text: bytes, blob: bytes) -> Answer:
    """Raises ValueError, KeyError or TypeError for a frame that is not one of ours."""
    body = json.loads(text)
    seconds = float(body["seconds"])
    if "error" in body:
        return Answer(error=_error(*body["error"]), seconds=seconds)
    kind, fields = body["kind"], body["value"]
    if kind == "observation":
        return Answer(_observation(fields, blob), seconds=seconds)
    if kind == "step":
        seen, reward, valid, terminated, truncated = fields
        return Answer(StepResult(_observation(seen, blob), reward, valid, terminated, truncated), seconds=seconds)
    if kind == "outcome":
        return Answer(Outcome(*fields), seconds=seconds)
    return Answer(fields, seconds=seconds)


def _size(value: Any) -> int:
    """Bytes that the large fields have at least."""
    seen = value.observation if isinstance(value, StepResult) else value
    if not isinstance(seen, Observation):
        return 0
    texts = (seen.text, *(seen.admissible or ()), *(seen.visited or ()))
    return sum(map(len, texts)) + sum(map(len, seen.images))


def _plain(answer: Answer) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    value = answer.value
    if answer.error is not None:
        return {"seconds": answer.seconds, "error": [type(answer.error).__name__, str(answer.error)]}, ()
    if isinstance(value, Observation):
        return {"seconds": answer.seconds, "kind": "observation", "value": _fields(value)}, value.images
    if isinstance(value, StepResult):
        seen = value.observation
        fields = [_fields(seen), value.reward, value.valid, value.terminated, value.truncated]
        return {"seconds": answer.seconds, "kind": "step", "value": fields}, seen.images
    if isinstance(value, Outcome):
        return {"seconds": answer.seconds, "kind": "outcome", "value": value.to_json()}, ()
    return {"seconds": answer.seconds, "kind": "", "value": value}, ()


def _fields(seen: Observation) -> list[Any]:
    return [seen.text, seen.admissible, seen.visited, [len(image) for image in seen.images]]


def _observation(fields: list[Any], blob: bytes) -> Observation:
    text, admissible, visited, lengths = fields
    images, start = [], 0
    for length in lengths:
        images.append(blob[start : start + length])
        start += length
    return Observation(
        text,
        tuple(images),
        None if admissible is None else tuple(admissible),
        None if visited is None else tuple(visited),
    )


def _error(name: str, text: str) -> AgentRLError:
    """An error of our own tree by its name; any other name is a world's failure."""
    kind = getattr(errors, name, WorldFailure)
    known = isinstance(kind, type) and issubclass(kind, AgentRLError)
    return kind(text) if known else WorldFailure(f"{name}: {text}")
