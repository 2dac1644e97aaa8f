"""A format for demonstrations of ALFWorld with a workspace: the report is what was done with things.

`take mug 1 clean mug 1`: short enough for a tiny model to write anew each round. Where it stands its last action says;
a searcher who goes round and round needs to know no more. What a model writes is read as in the format `report`.
"""

from agentrl.prompts.report import ReportAndAction
from agentrl.types import View

NOTHING = "Nothing happens"
DEEDS = ("take", "move", "clean", "heat", "cool", "slice")
"""Commands that are to be remembered, each with the thing that it names first."""


class Deeds(ReportAndAction):
    """The format `report`, whose demonstrations note deeds."""

    def write(self, action: str, view: View, report: str | None = None, thought: str = "") -> str:
        """A reply with this action, and the report that follows from the view, whatever `report` says."""
        return super().write(action, view, noted(view), thought)


def noted(view: View) -> str:
    """The report of a view with its last action noted; empty where there is nothing to note."""
    told = view.report or ""
    last = view.exchanges[-1].action.split() if view.exchanges else []
    if not last or last[0] not in DEEDS or view.observation.text.startswith(NOTHING):
        return told
    return " ".join([told, *last[:3]]).strip()
