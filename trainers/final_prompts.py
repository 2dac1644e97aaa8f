"""What the agent would have been shown next: the final observation of a cut episode, as ids, for a value to be read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.briefs import Briefs
from agentrl.errors import BoundaryError, PolicyFailure, boundary
from agentrl.models.renderer import Rendered
from agentrl.types import Memory, PromptFormat, Trajectory, Turn


@dataclass(frozen=True)
class FinalPrompts:
    """Writes them as the runner would have: by the same memory, format and renderer."""

    memory: Memory
    format: PromptFormat
    renderer: Any
    briefs: Briefs
    max_context: int

    def __call__(self, trajectory: Trajectory) -> Rendered | None:
        """The prompt after the last turn; None where it cannot be read.

        That is where there is none, it does not fit into the context, it shows new images, or cannot be written.
        """
        turns, seen = trajectory.turns, trajectory.final_observation
        if not turns or seen is None or seen.images:
            return None
        last = turns[-1]
        try:
            with boundary(PolicyFailure, "prompt"):
                rendered: Rendered = self.renderer.render(
                    self._messages(trajectory, turns, seen), None, self._before(trajectory), last.completion
                )
        except BoundaryError:
            return None
        return rendered if len(rendered.ids) <= self.max_context else None

    def _messages(self, trajectory: Trajectory, turns: Sequence[Turn], seen: Any) -> Any:
        brief = self.briefs(trajectory.task)
        view = self.memory.view(trajectory.task, brief.instructions, turns, seen, brief.tools)
        return self.format.messages(view)

    def _before(self, trajectory: Trajectory) -> Rendered:
        """The last turn's prompt: the template's text of it, and the very ids that were sampled after."""
        last = trajectory.turns[-1]
        again = self.renderer.render(self._messages(trajectory, trajectory.turns[:-1], last.observation))
        return Rendered(prompt_of_last_turn(trajectory.turns), (), last.continues, again.text, again.images)


def prompt_of_last_turn(turns: Sequence[Turn]) -> tuple[int, ...]:
    """All its ids, put together from the turns that it continues."""
    ids: list[int] = []
    for number, turn in enumerate(turns):
        ids = [*ids, *turns[number - 1].completion.token_ids, *turn.prompt_ids] if turn.continues else turn.prompt_ids
    return tuple(ids)
