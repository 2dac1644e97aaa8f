"""report: reasoning, the new report in <report>, one action in <action>; written for the workspace memory.

After the prompts of IterResearch (arXiv 2511.07327): its last part is a tool call or an answer, here an action, which
is either.
"""

import re
from dataclasses import dataclass

from agentrl.prompts.conversation import (
    HEADINGS,
    admissible_text,
    asked,
    conversation,
    is_action_alone,
    last_action_text,
    last_tag,
    read_synthesis,
    report_text,
    sections,
    tools_text,
    user_message,
    written,
)
from agentrl.types import Message, Observation, Reply, View

RULES = (
    "You are shown the question, your report, your last action and its response; all else is forgotten. "
    "Each turn, first reason about what to do inside <think> and </think>. "
    "Then write the whole new report inside <report> and </report>: everything that later turns need to know. "
    "Then give exactly one action inside <action> and </action>."
)
NO_REPORT = "(nothing yet)"
SYNTHESIS = "Put it inside <report> and </report>."


@dataclass(frozen=True, kw_only=True)
class ReportAndActionConfig:
    """What a prompt with a report holds."""

    show_admissible: bool = True
    """List the world's admissible actions under the observation."""


class ReportAndAction:
    """A workspace's view is one user message: question, report, last action, response. Other views are written turn by
    turn, with the question and the report in front.

    Read leniently: the last complete <report>…</report>, and the last complete <action>…</action> outside it. What
    breaks the form is mended by rule:
    - a report that is opened and not closed ends where the action begins;
    - one that is closed and not opened begins where the reasoning ends;
    - a reply with an empty report, or none, keeps the old one.
    A reply without an action is unreadable: it is marked so, and the old report stays.
    """

    Config = ReportAndActionConfig
    marks = (
        *("<think>", "</think>", "<report>", "</report>", "<action>", "</action>"),
        *(*HEADINGS, "Response", NO_REPORT),
    )
    """For a tokenizer of whole words, which a tiny model has."""

    def __init__(self, config: ReportAndActionConfig | None = None) -> None:
        self.config = config or ReportAndActionConfig()

    def messages(self, view: View) -> list[Message]:
        """The view as messages; instructions, tools and the rules of the reply are the system message."""
        system = sections(view.instructions, tools_text(view.tools), RULES)
        if not view.exchanges or not all(map(is_action_alone, view.exchanges)):
            return conversation(view, system, self._shown, asked(view, SYNTHESIS))
        text = self._workspace(view, self._shown(view.observation, True))
        return [{"role": "system", "content": system}, user_message(text, view.observation)]

    def _workspace(self, view: View, newest: str) -> str:
        report = report_text(view) or f"Your report so far:\n{NO_REPORT}"
        said = sections(view.question, report, *map(last_action_text, view.exchanges), "Response:\n" + newest)
        return sections(said, asked(view, SYNTHESIS))

    def _shown(self, observation: Observation, newest: bool) -> str:
        return sections(observation.text, admissible_text(observation) if self.config.show_admissible else "")

    def parse(self, text: str, view: View) -> Reply:
        """The report, and the last complete action outside it; without an action it is unreadable.

        Of a synthesis what `read_synthesis` finds.
        """
        if view.kind == "summarise":
            return read_synthesis(text, "report")
        report = last_tag(text, "report") or _broken_report(text)
        outside = text if report is None else text[: report[0]] + "\n" + text[report[1] :]
        found = last_tag(outside, "action")
        action = found[2] if found else ""
        return Reply(action, readable=bool(action), report=(report[2] or None) if report else None)

    def candidates(self, view: View) -> tuple[str, ...] | None:
        """None: a reply holds reasoning and a report too, so it is not one of a few texts."""
        return None

    def write(self, action: str, view: View, report: str | None = None, thought: str = "") -> str:
        """A reply with this action and report; without one the old report stays. A synthesis takes no action.

        Raises DataError for tags in the action or the report, and for blanks at their ends.
        """
        parts = [f"<think>{thought}</think>"] if thought else []
        parts += [f"<report>{report}</report>"] if report else []
        parts += [] if view.kind == "summarise" else [f"<action>{action}</action>"]
        text = "\n".join(parts)
        return written(text, self.parse(text, view), Reply(action, report=report or None))


def _broken_report(text: str) -> tuple[int, int, str] | None:
    """A report of which one tag is missing: where it begins and ends in `text`, and what it holds, stripped.

    None where there is nothing that could be one.
    """
    action = last_tag(text, "action")
    opened = [mark.span() for mark in re.finditer("<report>", text, re.IGNORECASE)]
    if opened:
        start, inside = opened[-1]
        end = action[0] if action else 0
        return (start, end, text[inside:end].strip()) if inside <= end else None
    closed = [mark.span() for mark in re.finditer("</report>", text, re.IGNORECASE)]
    reasoned = [mark.end() for mark in re.finditer("</think>", text, re.IGNORECASE)]
    if not (closed and reasoned and reasoned[-1] <= closed[-1][0]):
        return None
    inside, end = reasoned[-1], closed[-1][0]
    return inside, closed[-1][1], text[inside:end].strip()
