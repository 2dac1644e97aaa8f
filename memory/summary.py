"""summary: the history stays until it is long; then the agent writes a synthesis of it, in a turn of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.history import history_of
from agentrl.settings import require
from agentrl.types import Observation, Task, Turn, View


@dataclass(frozen=True, kw_only=True)
class SummaryConfig:
    """When a synthesis is asked for: at whichever limit is reached first."""

    turns: int = 16
    """After so many turns, observation and reply; 0: however many there are."""
    characters: int = 8_000
    """After so many characters of them, about four a token; 0: however long they are."""

    def __post_init__(self) -> None:
        for name in ("turns", "characters"):
            require(getattr(self, name) >= 0, f"{name} is {getattr(self, name)}; it must not be negative")
        require(
            self.turns > 0 or self.characters > 0, "turns and characters are both 0; one of them must say what is long"
        )


class Summary:
    """The question, the last synthesis as the report, and every turn since, word for word.

    When these turns are long, the view is of the kind `summarise`: its reply takes no action and is the new synthesis.
    One that cannot be read leaves the old one and the turns as they are; it is asked for again after the next action.
    Characters are counted, not tokens, so that the same episode is cut at the same places for every model. Prompts are
    append-only between two syntheses, the one that asks for the second included.
    """

    Config = SummaryConfig

    def __init__(self, config: SummaryConfig | None = None) -> None:
        self.config = config or SummaryConfig()

    def view(
        self,
        task: Task,
        instructions: str,
        turns: Sequence[Turn],
        observation: Observation,
        tools: tuple[dict[str, Any], ...] = (),
    ) -> View:
        """What is shown at the turn that answers `observation`, or that summarises what came before it."""
        history = history_of(turns)
        since = tuple(history.exchanges[history.num_synthesised :])
        size = sum(len(exchange.observation.text) + len(exchange.reply) for exchange in since)
        long = 0 < self.config.turns <= len(since) or 0 < self.config.characters <= size
        return View(
            task,
            instructions,
            observation,
            since,
            question="" if history.synthesis is None else history.question,
            report=history.synthesis,
            turn=len(history.exchanges),
            kind="summarise" if long and since and history[-1].kind == "act" else "act",
            tools=tools,
        )
