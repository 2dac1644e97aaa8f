"""tools: the action is a tool call, as models that are trained on tools write it; over an API also the host's own."""

import json
from dataclasses import dataclass
from typing import Any

from agentrl.policies.api_tools import ACT, act_tool
from agentrl.prompts.conversation import (
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
    "Each turn, first reason about what to do. Then call exactly one tool, as "
    '<tool_call>{"name": NAME, "arguments": {...}}</tool_call>.'
)
SYNTHESIS = "Call no tool. Put it inside <summary> and </summary>."


@dataclass(frozen=True, kw_only=True)
class ToolCallsConfig:
    """What a prompt with tools holds."""

    show_admissible: bool = True
    """List the world's admissible actions under every observation."""


class ToolCalls:
    """The last complete <tool_call>…</tool_call> is the action: of the world's own tools the call as JSON, of a world
    without tools the argument `action` of the one tool that then is offered."""

    Config = ToolCallsConfig

    def __init__(self, config: ToolCallsConfig | None = None) -> None:
        self.config = config or ToolCallsConfig()

    def messages(self, view: View) -> list[Message]:
        """The view as messages; instructions, tools and the rules of the reply are the system message."""
        system = sections(view.instructions, tools_text(view.tools or (act_tool(),)), RULES)
        return conversation(view, system, self._shown, asked(view, SYNTHESIS))

    def _shown(self, observation: Observation, newest: bool) -> str:
        return sections(observation.text, admissible_text(observation) if self.config.show_admissible else "")

    def parse(self, text: str, view: View) -> Reply:
        """The last complete call; one that is no JSON, or has no action, is unreadable."""
        if view.kind == "summarise":
            return read_synthesis(text, "summary")
        found = last_tag(text, "tool_call")
        action = _action(found[2], view) if found else ""
        return Reply(action, readable=bool(action))

    def candidates(self, view: View) -> tuple[str, ...] | None:
        """None: a reply holds reasoning too, so it is not one of a few texts."""
        return None

    def write(self, action: str, view: View, report: str | None = None, thought: str = "") -> str:
        """A reply with this action; a report has no place here. Where a synthesis is asked for, `report` is it.

        Raises DataError for an action that would be read otherwise.
        """
        before = f"<think>{thought}</think>\n" if thought else ""
        if view.kind == "summarise":
            text = f"{before}<summary>{report or ''}</summary>"
            return written(text, self.parse(text, view), Reply("", report=report))
        call = action if view.tools else json.dumps({"name": ACT, "arguments": {"action": action}}, ensure_ascii=False)
        text = f"{before}<tool_call>{call.replace('<', chr(92) + 'u003c')}</tool_call>"
        return written(text, self.parse(text, view), Reply(action))


def _action(text: str, view: View) -> str:
    """The action of a call; an empty text for what is none."""
    try:
        call: Any = json.loads(text)
        arguments = call.get("arguments", {})
        if not view.tools:
            return str(arguments["action"]).strip() if call.get("name") == ACT else ""
        return json.dumps({"name": str(call["name"]), "arguments": arguments}, ensure_ascii=False)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
