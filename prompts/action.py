"""action: the reply is the action, nothing else. For small models, and for constrained sampling."""

from dataclasses import dataclass

from agentrl.prompts.conversation import admissible_text, conversation, sections, tools_text, written
from agentrl.types import Message, Observation, Reply, View


@dataclass(frozen=True, kw_only=True)
class BareActionConfig:
    """What a prompt of bare actions holds."""

    show_admissible: bool = False
    """List the world's admissible actions under every observation."""


class BareAction:
    """A user's message is the observation; the reply, blanks at its ends aside, is the action. An empty one is
    unreadable."""

    Config = BareActionConfig

    def __init__(self, config: BareActionConfig | None = None) -> None:
        self.config = config or BareActionConfig()

    def messages(self, view: View) -> list[Message]:
        """The view as messages; instructions and tools are the system message."""
        return conversation(view, sections(view.instructions, tools_text(view.tools)), self._shown)

    def _shown(self, observation: Observation, newest: bool) -> str:
        return sections(observation.text, admissible_text(observation) if self.config.show_admissible else "")

    def parse(self, text: str, view: View) -> Reply:
        """The reply itself."""
        action = text.strip()
        return Reply(action, readable=bool(action))

    def candidates(self, view: View) -> tuple[str, ...] | None:
        """What the reply may be, for constrained sampling: the admissible actions, where the world tells them."""
        return view.observation.admissible

    def write(self, action: str, view: View, report: str | None = None, thought: str = "") -> str:
        """The action; a report and a thought have no place here.   Raises DataError for blanks at its ends."""
        return written(action, self.parse(action, view), Reply(action))
