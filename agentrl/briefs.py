"""What an agent is told before its first observation: a world's instructions and tools, of one task."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agentrl.types import Task


@dataclass(frozen=True, slots=True)
class Brief:
    """Plain text, and the JSON schemas of the tools."""

    instructions: str = ""
    tools: tuple[dict[str, Any], ...] = ()


Briefs = Callable[[Task], Brief]


def briefs_of(world: Any, config: Any) -> Briefs:
    """The brief of each task of a world, or of an Env class with members of its own.

    Most worlds say the same to every task: `instructions` and `tools`, values or functions of the config. One whose
    tasks differ in it, as a mixture of worlds, has a function `brief(task, config)`.
    """
    of_task = getattr(world, "brief", None)
    if of_task is not None:
        return lambda task: of_task(task, config)
    same = Brief(str(_said(world, "instructions", config) or ""), tuple(_said(world, "tools", config) or ()))
    return lambda task: same


def _said(world: Any, member: str, config: Any) -> Any:
    value = getattr(world, member, None)
    return value(config) if callable(value) else value
