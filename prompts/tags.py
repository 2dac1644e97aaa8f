"""tags: reasoning in <think>, one action in <action>; the format for models that follow instructions."""

from dataclasses import dataclass

from agentrl.prompts.conversation import (
    HEADINGS,
    admissible_text,
    asked,
    conversation,
    last_tag,
    read_synthesis,
    sections,
    tools_text,
    written,
)
from agentrl.types import Message, Observation, Reply, View

RULES = (
    "Each turn, first reason about what to do inside <think> and </think>. "
    "Then give exactly one action inside <action> and </action>."
)

SYNTHESIS = "Put it inside <summary> and </summary>."


@dataclass(frozen=True, kw_only=True)
class TagsConfig:
    """What a prompt in tags holds."""

    show_admissible: bool = True
    """List the world's admissible actions under the observation."""
    keep_old_lists: bool = True
    """Earlier observations keep their lists. Without them prompts are shorter, but every turn is a sequence of its
    own."""


class Tags:
    """Read leniently: the last complete <action>…</action> is the action, whatever stands around it."""

    Config = TagsConfig
    marks = (*HEADINGS, "<think>", "</think>", "<action>", "</action>", "<summary>", "</summary>")
    """For a tokenizer of whole words, which a tiny model has."""

    def __init__(self, config: TagsConfig | None = None) -> None:
        self.config = config or TagsConfig()

    def messages(self, view: View) -> list[Message]:
        """The view as messages; instructions, tools and the rules of the reply are the system message."""
        system = sections(view.instructions, tools_text(view.tools), RULES)
        return conversation(view, system, self._shown, asked(view, SYNTHESIS))

    def _shown(self, observation: Observation, newest: bool) -> str:
        listed = self.config.show_admissible and (newest or self.config.keep_old_lists)
        return sections(observation.text, admissible_text(observation) if listed else "")

    def parse(self, text: str, view: View) -> Reply:
        """The last complete action; without one the reply is unreadable. Of a synthesis what `read_synthesis` finds."""
        if view.kind == "summarise":
            return read_synthesis(text, "summary")
        found = last_tag(text, "action")
        action = found[2] if found else ""
        return Reply(action, readable=bool(action))

    def candidates(self, view: View) -> tuple[str, ...] | None:
        """None: a reply holds reasoning too, so it is not one of a few texts."""
        return None

    def write(self, action: str, view: View, report: str | None = None, thought: str = "") -> str:
        """A reply with this action; a report has no place here. Where a synthesis is asked for, `report` is it.

        Raises DataError for tags in the action.
        """
        reasoning = f"<think>{thought}</think>\n" if thought else ""
        if view.kind == "summarise":
            text = f"{reasoning}<summary>{report or ''}</summary>"
            return written(text, self.parse(text, view), Reply("", report=report))
        text = f"{reasoning}<action>{action}</action>"
        return written(text, self.parse(text, view), Reply(action))
