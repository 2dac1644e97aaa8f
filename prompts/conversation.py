"""What all formats share: a view as messages that alternate, tags that are read in linear time, images beside text.

Messages are a system message (where there is something to say), then user and assistant in turn, ending with a user's.
An exchange of which the memory keeps only the action (no observation, no reply: `workspace`) is a line in the next
user's message, not a message.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from agentrl.errors import DataError
from agentrl.types import Exchange, Message, Observation, Reply, View

LAST_ACTION = "Your last action: {}"
HEADINGS = ("Your report so far", "Your last action", "Admissible actions")
"""What the messages of any format may hold beside a world's own words."""
UNREADABLE = "Your last reply could not be read."
SUMMARISE = (
    "Take no action now. All turns above are about to be cleared. Write a synthesis to stand in their place: "
    "everything that later turns need to know."
)


def tools_text(tools: Sequence[dict[str, Any]]) -> str:
    """Tools as text, a JSON schema a line; an empty text for none."""
    if not tools:
        return ""
    return "Tools:\n" + "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)


def sections(*parts: str) -> str:
    """The parts that are not empty, a blank line between them."""
    return "\n\n".join(part for part in parts if part)


def admissible_text(observation: Observation) -> str:
    """The world's admissible actions, one a line; an empty text where it does not tell."""
    if not observation.admissible:
        return ""
    return "Admissible actions:\n" + "\n".join(f"- {action}" for action in observation.admissible)


def is_action_alone(exchange: Exchange) -> bool:
    """Does the memory keep nothing of this turn but its action."""
    return not (exchange.observation.text or exchange.observation.images or exchange.reply)


def last_action_text(exchange: Exchange) -> str:
    """The line that stands for a turn of which only the action is kept."""
    return LAST_ACTION.format(exchange.action) if exchange.action else UNREADABLE


def user_message(text: str, observation: Observation) -> Message:
    """A user's message: a text, or a list of items where the observation has images; images come first."""
    if not observation.images:
        return {"role": "user", "content": text}
    images: list[dict[str, Any]] = [{"type": "image", "image": image} for image in observation.images]
    return {"role": "user", "content": [*images, {"type": "text", "text": text}]}


def earlier_messages(observation: Observation) -> list[Message]:
    """The messages of a conversation that others began, before the observation itself."""
    return [{"role": role, "content": text} for role, text in observation.earlier]


def report_text(view: View) -> str:
    """The report that the view carries, under its heading; an empty text for none."""
    return "" if view.report is None else f"Your report so far:\n{view.report}"


def asked(view: View, how: str) -> str:
    """What stands below the newest observation where a synthesis is wanted; an empty text where an action is.

    how: the form of the reply, as a sentence.
    """
    return f"{SUMMARISE} {how}" if view.kind == "summarise" else ""


def conversation(view: View, system: str, shown: Callable[[Observation, bool], str], ask: str = "") -> list[Message]:
    """A view as messages: the question and the report in front of the first observation, then turn by turn.

    system: text of the system message; none is written where it is empty.
    shown: (observation, is it the newest) -> its text.   ask: what stands below the newest observation.
    """
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    before = [view.question, report_text(view)]
    for exchange in view.exchanges:
        if is_action_alone(exchange):
            before.append(last_action_text(exchange))
            continue
        messages += earlier_messages(exchange.observation)
        messages.append(user_message(sections(*before, shown(exchange.observation, False)), exchange.observation))
        messages.append({"role": "assistant", "content": exchange.reply})
        before = []
    messages += earlier_messages(view.observation)
    messages.append(user_message(sections(*before, shown(view.observation, True), ask), view.observation))
    return messages


def last_tag(text: str, tag: str) -> tuple[int, int, str] | None:
    """The last complete <tag>…</tag>: where it begins and ends in `text`, and what it holds, stripped.

    Of nested ones the innermost; letters may be of any case; linear in the length of the text. None where there is no
    complete one.
    """
    opened: tuple[int, int] | None = None
    found: tuple[int, int, int, int] | None = None
    for mark in re.finditer(f"<(/?){tag}>", text, re.IGNORECASE):
        if not mark[1]:
            opened = mark.span()
        elif opened is not None:
            found = (*opened, *mark.span())
            opened = None
    if found is None:
        return None
    return found[0], found[3], text[found[1] : found[2]].strip()


def read_synthesis(text: str, tag: str) -> Reply:
    """The last complete <tag>…</tag>. Without one, mended by rule: what follows the last <tag> that was opened, or else
    what stands outside the reasoning, up to the first action. Where nothing is left, the reply is unreadable.
    """
    found = last_tag(text, tag)
    if found is not None and found[2]:
        return Reply("", report=found[2])
    marks = re.finditer(f"</think>|<{tag}>", text, re.IGNORECASE)
    start = max((mark.end() for mark in marks), default=0)
    rest = re.split(f"<action>|<think>|</{tag}>", text[start:], maxsplit=1, flags=re.IGNORECASE)[0].strip()
    return Reply("", readable=bool(rest), report=rest or None)


def written(text: str, reply: Reply, intended: Reply) -> str:
    """The text of a reply, once it is read back as intended.

    reply: what the format reads in `text`.
    Raises DataError where that differs: the action or report holds the format's tags, or the action is empty or has
    blanks at its ends.
    """
    if reply != intended:
        what = f"action {intended.action[:80]!r}" if intended.action else f"synthesis {(intended.report or '')[:80]!r}"
        raise DataError(f"the {what} cannot be written in this format: it is read otherwise")
    return text
