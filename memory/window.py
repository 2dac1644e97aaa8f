"""window: the last turns stay visible, and the question with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.history import history_of
from agentrl.settings import require
from agentrl.types import Observation, Task, Turn, View


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """How much of an episode stays visible."""

    size: int = 5
    """Earlier turns that stay visible, observation and reply; 0 shows the newest observation alone."""

    def __post_init__(self) -> None:
        require(self.size >= 0, f"size is {self.size}; it must not be negative")


class Window:
    """The last `size` acting turns; the first observation's text as the question once that turn is out of sight.

    Prompts are append-only until the window is full; from then on every turn opens a new sequence.
    """

    Config = WindowConfig

    def __init__(self, config: WindowConfig | None = None) -> None:
        self.config = config or WindowConfig()

    def view(
        self,
        task: Task,
        instructions: str,
        turns: Sequence[Turn],
        observation: Observation,
        tools: tuple[dict[str, Any], ...] = (),
    ) -> View:
        """What is shown at the turn that answers `observation`."""
        history = history_of(turns)
        acted = len(history.exchanges)
        visible = tuple(history.exchanges[max(acted - self.config.size, 0) :])
        question = history.question if len(visible) < acted else ""
        return View(task, instructions, observation, visible, question, turn=acted, tools=tools)
