"""report: reasoning, the new report in <report>, one action in <action>; written for the workspace memory."""

from dataclasses import dataclass

from agentrl.prompts.conversation import (
    admissible_text,
    conversation,
    is_action_alone,
    last_action_text,
    last_tag,
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


@dataclass(frozen=True, kw_only=True)
class ReportAndActionConfig:
    """What a prompt with a report holds."""

    show_admissible: bool = True
    """List the world's admissible actions under the observation."""


class ReportAndAction:
    """A workspace's view is one user message: question, report, last action, response. Other views are written turn by
    turn, with the question and the report in front.

    Read leniently: the last complete <report>…</report>, and the last complete <action>…</action> outside it. A reply
    without a report keeps the old one; a reply without an action is unreadable.
    """

    Config = ReportAndActionConfig

    def __init__(self, config: ReportAndActionConfig | None = None) -> None:
        self.config = config or ReportAndActionConfig()

    def messages(self, view: View) -> list[Message]:
        """The view as messages; instructions, tools and the rules of the reply are the system message."""
        system = sections(view.instructions, tools_text(view.tools), RULES)
        if not all(is_action_alone(exchange) for exchange in view.exchanges):
            return conversation(view, system, self._shown)
        newest = self._shown(view.observation, True)
        first = not (view.exchanges or view.question or view.report is not None)
        text = newest if first else self._workspace(view, newest)
        return [{"role": "system", "content": system}, user_message(text, view.observation)]

    def _workspace(self, view: View, newest: str) -> str:
        report = "Your report so far:\n" + (NO_REPORT if view.report is None else view.report)
        return sections(view.question, report, *map(last_action_text, view.exchanges), "Response:\n" + newest)

    def _shown(self, observation: Observation, newest: bool) -> str:
        return sections(observation.text, admissible_text(observation) if self.config.show_admissible else "")

    def parse(self, text: str, view: View) -> Reply:
        """The last complete report, and the last complete action outside it; without an action it is unreadable."""
        report = last_tag(text, "report")
        outside = text if report is None else text[: report[0]] + "\n" + text[report[1] :]
        found = last_tag(outside, "action")
        action = found[2] if found else ""
        return Reply(action, readable=bool(action), report=report[2] if report else None)

    def candidates(self, view: View) -> tuple[str, ...] | None:
        """None: a reply holds reasoning and a report too, so it is not one of a few texts."""
        return None

    def write(self, action: str, view: View, report: str | None = None, thought: str = "") -> str:
        """A reply with this action and report; without one the old report stays.

        Raises DataError for tags in the action or the report, and for blanks at their ends.
        """
        parts = [f"<think>{thought}</think>"] if thought else []
        parts += [] if report is None else [f"<report>{report}</report>"]
        text = "\n".join([*parts, f"<action>{action}</action>"])
        return written(text, self.parse(text, view), Reply(action, report=report))
