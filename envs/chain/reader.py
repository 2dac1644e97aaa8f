"""A reader of letters that knows only what it is shown: what a memory forgets, it does not know.

It reads its report, or the synthesis, then every visible letter that its count has not passed, and writes where it
stands. The expert knows the trail and needs no memory; this policy tells memories apart.
"""

import re
from dataclasses import dataclass

from agentrl.envs.chain.world import COUNTER
from agentrl.policies.scripted import Scripted
from agentrl.types import PromptFormat, View

_FIRST = re.compile(r"The first letter lies in box (\w+ \w+ \d)")
_LETTER = re.compile(
    r"Letter (\d+): turn the counter on by (\d+)\.[^:]*?(?:The next letter lies in box (\w+ \w+ \d)|This is the last)"
)
_NOTES = re.compile(r"Letters read: (\d+)\. Counter: (\d+)\. Next: (?:box (\w+ \w+ \d)|the answer)\.")


@dataclass(frozen=True, slots=True)
class Known:
    """Where a reader stands."""

    read: int = 0
    """Number of the last letter that was read."""
    counter: int = 0
    box: str = ""
    """Of the next letter; empty where none is left."""

    @property
    def notes(self) -> str:
        """As a report that `known` reads."""
        following = f"box {self.box}" if self.box else "the answer"
        return f"Letters read: {self.read}. Counter: {self.counter}. Next: {following}."

    @property
    def action(self) -> str:
        return f"open {self.box}" if self.box else f"answer {self.counter}"


def known(view: View) -> Known:
    """What follows from a view alone; letters that it no longer holds are missing in the counter."""
    told = _NOTES.search(view.report or "")
    state = Known(int(told[1]), int(told[2]), told[3] or "") if told else Known()
    for text in (view.question, *(e.observation.text for e in view.exchanges), view.observation.text):
        first, letter = _FIRST.search(text), _LETTER.search(text)
        if first is not None and not state.read:
            state = Known(box=first[1])
        elif letter is not None and int(letter[1]) > state.read:
            state = Known(int(letter[1]), (state.counter + int(letter[2])) % COUNTER, letter[3] or "")
    return state


def reader(format: PromptFormat) -> Scripted:
    """The reader as a policy.   format: in which it replies, the runner's own."""

    def reply(view: View) -> str:
        state = known(view)
        return format.write("" if view.kind == "summarise" else state.action, view, report=state.notes)

    return Scripted(reply, name="reader")
