"""action: the reply is the action, nothing else. For small models, and for constrained sampling."""

from dataclasses import dataclass

from agentrl.models.chat_template import RAW
from agentrl.prompts.conversation import (
    admissible_text,
    asked,
    conversation,
    report_text,
    sections,
    tools_text,
    written,
)
from agentrl.types import Message, Observation, Reply, View

SYNTHESIS = "Reply with the synthesis alone."


@dataclass(frozen=True, kw_only=True)
class BareActionConfig:
    """What a prompt of bare actions holds."""

    show_admissible: bool = False
    """List the world's admissible actions under every observation."""
    raw: bool = False
    """No chat template: what was seen and said is one text, letter for letter, which the reply goes on with."""


class BareAction:
    """A user's message is the observation; the reply, blanks at its ends aside, is the action. An empty one is
    unreadable. Where a synthesis is asked for, the reply is the synthesis."""

    Config = BareActionConfig

    def __init__(self, config: BareActionConfig | None = None) -> None:
        self.config = config or BareActionConfig()

    def messages(self, view: View) -> list[Message]:
        """The view as messages; instructions and tools are the system message."""
        if self.config.raw:
            return [{"role": RAW, "content": self._raw(view)}]
        system = sections(view.instructions, tools_text(view.tools))
        return conversation(view, system, self._shown, asked(view, SYNTHESIS))

    def _raw(self, view: View) -> str:
        head = sections(view.instructions, tools_text(view.tools), view.question, report_text(view))
        said = [text for e in view.exchanges for text in (self._shown(e.observation, False), e.reply or e.action)]
        return sections(head, "".join([*said, self._shown(view.observation, True)]), asked(view, SYNTHESIS))

    def _shown(self, observation: Observation, newest: bool) -> str:
        return sections(observation.text, admissible_text(observation) if self.config.show_admissible else "")

    def parse(self, text: str, view: View) -> Reply:
        """The reply itself; of a raw text with the blanks at its ends."""
        action = text.strip()
        if view.kind == "summarise":
            return Reply("", readable=bool(action), report=action or None)
        return Reply(text if self.config.raw and action else action, readable=bool(action))

    def candidates(self, view: View) -> tuple[str, ...] | None:
        """What the reply may be, for constrained sampling: the admissible actions, where the world tells them."""
        return view.observation.admissible

    def write(self, action: str, view: View, report: str | None = None, thought: str = "") -> str:
        """The action; a report and a thought have no place here. Where a synthesis is asked for, `report` is it.

        Raises DataError for blanks at its ends.
        """
        if view.kind == "summarise":
            return written(report or "", self.parse(report or "", view), Reply("", report=report))
        return written(action, self.parse(action, view), Reply(action))
