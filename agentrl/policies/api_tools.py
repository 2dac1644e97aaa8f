"""Tool calls between text and the protocol's own: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.

The text is what a trained policy writes and what is stored; a server that has tool calls of its own gets and gives
those, and the same format reads both.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from agentrl.types import Message, View

_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)
ACT = "act"
"""The tool of worlds that have none: its one argument is the action."""


def native_tools(view: View) -> list[dict[str, Any]]:
    """The world's tools as functions; of a world without any, one that takes the action as text."""
    if view.tools:
        return [
            tool if tool.get("type") == "function" else {"type": "function", "function": tool} for tool in view.tools
        ]
    return [{"type": "function", "function": act_tool()}]


def act_tool() -> dict[str, Any]:
    """The one tool of a world that has none of its own."""
    action = {"type": "string", "description": "The action, as the world reads it."}
    parameters = {"type": "object", "properties": {"action": action}, "required": ["action"]}
    return {"name": ACT, "description": "Act in the world.", "parameters": parameters}


def call_text(name: str, arguments: str) -> str:
    """A tool call as text.   arguments: JSON as the server wrote it; what is none stays as it is, unreadable."""
    try:
        parsed = json.loads(arguments or "{}")
    except ValueError:
        return f'<tool_call>{{"name": {json.dumps(name)}, "arguments": {arguments}}}</tool_call>'
    return f"<tool_call>{json.dumps({'name': name, 'arguments': parsed}, ensure_ascii=False)}</tool_call>"


def as_native(messages: Sequence[Message]) -> list[Message]:
    """Messages whose tool calls are the protocol's: what follows a call is its result.

    Results are text in this protocol, so images of one follow it in a user's message.
    """
    written: list[Message] = []
    called = ""
    for number, message in enumerate(messages):
        content = message["content"]
        if called and message["role"] == "user":
            text, images = _parts(content)
            written.append({"role": "tool", "tool_call_id": called, "content": text})
            written += [{"role": "user", "content": images}] if images else []
            called = ""
            continue
        call = _call(content) if message["role"] == "assistant" and isinstance(content, str) else None
        if call is None or number + 1 == len(messages) or messages[number + 1]["role"] != "user":
            written.append(message)
            continue
        said, function = call
        called = f"call_{number}"
        use = {"id": called, "type": "function", "function": function}
        written.append({"role": "assistant", "content": said or None, "tool_calls": [use]})
    return written


def _parts(content: Any) -> tuple[str, list[dict[str, Any]]]:
    """The text of a message's content, and its items of any other sort."""
    if isinstance(content, str):
        return content, []
    text = "\n".join(item["text"] for item in content if item.get("type") == "text")
    return text, [item for item in content if item.get("type") != "text"]


def _call(text: str) -> tuple[str, dict[str, str]] | None:
    """What is said beside the last call of a text, and the call; None where it has none that can be read."""
    found = list(_CALL.finditer(text))
    if not found:
        return None
    try:
        call = json.loads(found[-1][1])
        function = {"name": str(call["name"]), "arguments": json.dumps(call.get("arguments", {}), ensure_ascii=False)}
    except (ValueError, KeyError, TypeError):
        return None
    return _CALL.sub("", text).strip(), function
