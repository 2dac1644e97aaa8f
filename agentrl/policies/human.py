"""A person as the policy: sees what the agent sees, answers on a stream."""

import asyncio
import threading
from typing import Any, TextIO

from agentrl.errors import DataError, PolicyFailure
from agentrl.policies.scripted import Source, write
from agentrl.types import Completion, PromptFormat, Request, View

SHOWN_ACTIONS = 60
"""So many admissible actions are listed at most."""


class Human:
    """Writes the observation, reads a line: an action, or the number of an admissible one."""

    takes_ids = False
    source: Source = "logged"
    name = "human"

    def __init__(self, read: TextIO, show: TextIO | None = None, *, format: PromptFormat | None = None) -> None:
        """read: where the person's lines come from.   show: where observations go; None: nowhere.

        format: in which actions are written; None: the runner's.
        """
        self.format = format
        self._read, self._show = read, show

    async def generate(self, request: Request) -> Completion:
        """Raises PolicyFailure at the end of the stream."""
        if self._show is not None:
            self._show.write(shown(request.view))
            self._show.flush()
        line = await _line(self._read)
        if not line:
            raise PolicyFailure("human: the input has ended")
        try:
            if request.view.kind == "summarise":
                return Completion(synthesis(self.format, line, request.view))
            return Completion(write(self.format, chosen(line, request.view), request.view))
        except DataError:  # an empty line, or tags: told as it is, so that the world or the format answers
            return Completion(line.strip())

    async def release(self, episode: str) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """The streams are the caller's."""


def shown(view: View) -> str:
    """A view as a person reads it: what was told at first, the newest observation, the numbered actions."""
    parts = [view.instructions] if view.turn == 0 and view.instructions else []
    parts.append(view.observation.transcript)
    if view.kind == "summarise":
        return (
            "\n\n".join([*parts, "All turns are about to be cleared. Notes for later (an empty line: plain ones)"])
            + "\n> "
        )
    actions = view.observation.admissible or ()
    parts += ["\n".join(f"{n:3} {action}" for n, action in enumerate(actions[:SHOWN_ACTIONS], 1))] if actions else []
    return "\n\n".join(parts) + "\n> "


def synthesis(format: Any, line: str, view: View) -> str:
    """The reply to a view of the kind `summarise`: a person's notes; an empty line leaves them to `write`.

    Raises DataError for notes that the format cannot hold.
    """
    notes = line.strip()
    return str(format.write("", view, report=notes)) if notes else write(format, "", view)


def chosen(line: str, view: View) -> str:
    """The action that a line means: itself, or the admissible action of that number."""
    word = line.strip()
    actions = view.observation.admissible or ()
    if word.isdecimal() and word not in actions and 1 <= int(word) <= len(actions):
        return actions[int(word) - 1]
    return word


async def _line(stream: TextIO) -> str:
    """One line, read in a thread that holds nothing up: Ctrl-C ends the program though the thread still reads."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()

    def tell(line: str, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(line)

    def read() -> None:
        try:
            line, error = stream.readline(), None
        except Exception as failure:
            line, error = "", failure
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, line, error)

    threading.Thread(target=read, name="agentrl-human", daemon=True).start()
    return await future
