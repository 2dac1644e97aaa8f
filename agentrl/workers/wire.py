"""What travels between a worker process and its parent: frames over a private socket.

Parent to worker   a pickle: tasks and settings are the world's own dataclasses, and the parent is trusted.
Worker to parent   JSON and PNG files, numbered from 0. The parent unpickles nothing: what a world sends is never
executed; and what it prints into the socket is no answer with the next number.
"""

import json
import pickle
import struct
from dataclasses import dataclass
from typing import Any

from agentrl import errors
from agentrl.errors import AgentRLError, WorldFailure
from agentrl.types import Observation, Outcome, StepResult
from agentrl.workers.answers import MAX_ANSWER, too_large

MAX_FRAME = 2 * MAX_ANSWER
"""Bytes of one answer as it travels."""
REQUEST_HEADER = struct.Struct(">I")
ANSWER_HEADER = struct.Struct(">III")
"""Its number, bytes of the text, bytes of the images."""


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


def pack_answer(answer: Answer, number: int) -> bytes:
    """One answer as a frame; one that is larger than twice MAX_ANSWER becomes a WorldFailure that says so."""
    body, images = _plain(answer)
    text = json.dumps(body, separators=(",", ":")).encode()
    blob = b"".join(images)
    if len(text) + len(blob) > MAX_FRAME:  # text of many characters that JSON escapes
        return pack_answer(Answer(error=too_large(len(text) + len(blob)), seconds=answer.seconds), number)
    return ANSWER_HEADER.pack(number & 0xFFFFFFFF, len(text), len(blob)) + text + blob


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
