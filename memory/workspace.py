"""workspace: the question, a report that the agent keeps rewriting, the last action and its response; nothing else.

After IterResearch (arXiv 2511.07327, whose text was read):

    s_1 = (q, empty, empty)      (think_t, M_{t+1}, a_t) ~ policy(s_t)      s_{t+1} = (q, M_{t+1}, {a_t, response_t})

q is the question, M the report; all else is dropped, the reasoning too. Size and work of a turn depend on the report
and one response, not on how deep the episode is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.history import history_of
from agentrl.types import Exchange, Observation, Task, Turn, View


@dataclass(frozen=True, kw_only=True)
class WorkspaceConfig:
    """The workspace has nothing to set; how long a report may be is bounded by `rollout.max_new_tokens`."""


class Workspace:
    """Question: the first observation's text. Report: that of the last readable reply that held one; a reply that broke
    the format leaves the old one in its place. Every turn of the trajectory keeps the report that it wrote.

    The one exchange of the view holds the last action alone: what was seen before it and the reply it stood in are
    empty. Its response is the newest observation. Every turn opens a new sequence.
    """

    Config = WorkspaceConfig

    def __init__(self, config: WorkspaceConfig | None = None) -> None:
        self.config = config or WorkspaceConfig()

    def view(
        self,
        task: Task,
        instructions: str,
        turns: Sequence[Turn],
        observation: Observation,
        tools: tuple[dict[str, Any], ...] = (),
    ) -> View:
        """What is shown at the turn that answers `observation`."""
        history = history_of(turns)
        last = history.exchanges[-1:]
        return View(
            task,
            instructions,
            observation,
            tuple(Exchange(Observation(""), "", exchange.action) for exchange in last),
            question=history.question,
            report=history.report,
            turn=len(history.exchanges),
            tools=tools,
        )
