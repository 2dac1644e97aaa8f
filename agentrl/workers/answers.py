"""What a world answered, checked: foreign code may return anything, and it must not travel further than this."""

import math
from typing import Any

from agentrl.errors import WorldFailure
from agentrl.types import Observation, Outcome, StepResult

MAX_ANSWER = 16 * 2**20
"""Characters of text and bytes of images in one answer of a world; what is larger is refused where it is made."""
_ITEM = 64
"""What an item of a list counts beside its text, so that a list without end is refused too."""


def check_observation(value: Any) -> Observation:
    """The observation with its fields as they are declared; text that is no Unicode is made such.

    Raises TypeError in one line where a field is of another type, WorldFailure where all are above MAX_ANSWER.
    """
    text = _text(_field(value, "Observation", "text"), "Observation.text")
    images = tuple(getattr(value, "images", ()) or ())
    size = len(text)
    for image in images:
        if not isinstance(image, bytes):
            raise TypeError(f"Observation.images holds {_kind(image)}; it must hold PNG files as bytes")
        size += len(image)
    if size > MAX_ANSWER:
        raise too_large(size)
    admissible, visited = _texts(value, "admissible"), _texts(value, "visited")
    if isinstance(value, Observation) and text is value.text:
        unchanged = images is value.images and admissible is value.admissible and visited is value.visited
        if unchanged:
            return value
    return Observation(text, images, admissible, visited)


def too_large(size: int) -> WorldFailure:
    """The failure of an answer of so many bytes."""
    return WorldFailure(f"its answer has {size / 2**20:.1f} MiB; at most {MAX_ANSWER / 2**20:.0f} MiB are taken")


def check_step(value: Any) -> StepResult:
    """The result of a step with its fields as they are declared.

    Raises TypeError where a field is of another type, ValueError where the reward is no finite number.
    """
    observation = check_observation(_field(value, "StepResult", "observation"))
    reward = _number(getattr(value, "reward", 0.0), "StepResult.reward")
    flags = [bool(getattr(value, name, default)) for name, default in _FLAGS]
    return StepResult(observation, reward, *flags)


_FLAGS = (("valid", True), ("terminated", False), ("truncated", False))


def check_outcome(value: Any) -> Outcome:
    """The outcome with its fields as they are declared; raises TypeError or ValueError as `check_step` does."""
    success = bool(_field(value, "Outcome", "success"))
    score = _number(_field(value, "Outcome", "score"), "Outcome.score")
    answer = getattr(value, "answer", None)
    components = {
        _text(name, "a name in Outcome.components"): _number(part, f"Outcome.components[{name!r}]")
        for name, part in dict(getattr(value, "components", {})).items()
    }
    return Outcome(success, score, None if answer is None else _text(answer, "Outcome.answer"), components)


def _field(value: Any, kind: str, name: str) -> Any:
    try:
        return getattr(value, name)
    except AttributeError:
        raise TypeError(f"the world returned {_kind(value)}; it must return an agentrl {kind}") from None


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{where} is {_kind(value)}; it must be text")
    if value.isascii():
        return str(value)
    return value.encode("utf-8", "replace").decode()  # a lone surrogate would break the tokenizer and every file


def _texts(value: Any, name: str) -> tuple[str, ...] | None:
    items = getattr(value, name, None)
    if items is None:
        return None
    if isinstance(items, str):
        raise TypeError(f"Observation.{name} is one text; it must be a tuple of texts")
    if type(items) is tuple and all(type(item) is str and item.isascii() for item in items):
        if len(items) * _ITEM + sum(map(len, items)) > MAX_ANSWER:
            raise too_large(sum(map(len, items)))
        return items
    found, size = [], 0
    for item in items:
        found.append(_text(item, f"Observation.{name}"))
        size += len(found[-1]) + _ITEM
        if size > MAX_ANSWER:
            raise WorldFailure(f"Observation.{name} has more than {len(found) - 1:,} items, or they are too long")
    return tuple(found)


def _number(value: Any, where: str) -> float:
    if isinstance(value, (str, bytes)) or value is None:
        raise TypeError(f"{where} is {_kind(value)}; it must be a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{where} is {number}; it must be finite")
    return number


def _kind(value: Any) -> str:
    return type(value).__name__
