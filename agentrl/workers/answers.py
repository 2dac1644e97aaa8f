"""What a world answered, checked: foreign code may return anything, and it must not travel further than this."""

import math
from typing import Any

from agentrl.types import Observation, Outcome, StepResult


def check_observation(value: Any) -> Observation:
    """The observation with its fields as they are declared; text that is no Unicode is made such.

    Raises TypeError in one line where a field is of another type.
    """
    text = _text(_field(value, "Observation", "text"), "Observation.text")
    images = tuple(getattr(value, "images", ()) or ())
    for image in images:
        if not isinstance(image, bytes):
            raise TypeError(f"Observation.images holds {_kind(image)}; it must hold PNG files as bytes")
    admissible, visited = _texts(value, "admissible"), _texts(value, "visited")
    if isinstance(value, Observation) and text is value.text:
        unchanged = images is value.images and admissible is value.admissible and visited is value.visited
        if unchanged:
            return value
    return Observation(text, images, admissible, visited)


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
        return items
    return tuple(_text(item, f"Observation.{name}") for item in items)


def _number(value: Any, where: str) -> float:
    if isinstance(value, (str, bytes)) or value is None:
        raise TypeError(f"{where} is {_kind(value)}; it must be a number")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{where} is {number}; it must be finite")
    return number


def _kind(value: Any) -> str:
    return type(value).__name__
