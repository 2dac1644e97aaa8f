"""workspace: the question, a report that the agent keeps rewriting, the last action and its response; nothing else.

After IterResearch's Markovian workspace (arXiv 2511.07327; that text was not read here, the form follows its usual
description). A prompt's size depends on the report and one response, not on how deep the episode is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.types import Exchange, Observation, Task, Turn, View


@dataclass(frozen=True, kw_only=True)
class WorkspaceConfig:
    """The workspace has nothing to set; how long a report may be is bounded by `rollout.max_new_tokens`."""


class Workspace:
    """Question: the first observation's text. Report: that of the last readable reply that held one.

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
        acted = [turn for turn in turns if turn.kind == "act"]
        reports = [turn.report for turn in acted if turn.readable and turn.report is not None]
        exchanges = (Exchange(Observation(""), "", acted[-1].action),) if acted else ()
        return View(
            task,
            instructions,
            observation,
            exchanges,
            question=acted[0].observation.text if acted else "",
            report=reports[-1] if reports else None,
            turn=len(acted),
            tools=tools,
        )
