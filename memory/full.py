"""full: everything that has happened stays visible, word for word."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.history import history_of
from agentrl.types import Observation, Task, Turn, View


@dataclass(frozen=True, kw_only=True)
class FullConfig:
    """The full memory has nothing to set."""


class Full:
    """Every acting turn, oldest first. With an append-only format and template an episode is one sequence."""

    Config = FullConfig

    def __init__(self, config: FullConfig | None = None) -> None:
        self.config = config or FullConfig()

    def view(
        self,
        task: Task,
        instructions: str,
        turns: Sequence[Turn],
        observation: Observation,
        tools: tuple[dict[str, Any], ...] = (),
    ) -> View:
        """What is shown at the turn that answers `observation`."""
        exchanges = tuple(history_of(turns).exchanges)
        return View(task, instructions, observation, exchanges, turn=len(exchanges), tools=tools)
