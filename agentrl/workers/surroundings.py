"""The working folder, the environment and the alarm of a worker process: each of its episodes has its own.

Many episodes share a process. What one of them changes there is put back after its request, and given to it again
before its next one; so an engine that works in its game's folder does, and its neighbours do not notice.
"""

import contextlib
import os
import signal
import sys
from typing import Any

_EVENTS = frozenset({"os.chdir", "os.putenv", "os.unsetenv"})

State = tuple[str, dict[str, str]]


class Surroundings:
    """One for a process: it cannot be taken back. Costs nothing for worlds that change nothing."""

    def __init__(self) -> None:
        self._home = _now()
        self._own: dict[int, State] = {}
        self._changed = False
        sys.addaudithook(self._hear)

    def enter(self, slot: int) -> None:
        """Before a request of an episode: what it had made of them."""
        own = self._own.get(slot)
        if own is not None:
            _set(own)
        self._changed = False

    def leave(self, slot: int, operation: str) -> None:
        """After it: what is everybody's. What a world's import changes stays; an alarm ends with its request."""
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        if operation == "start":
            self._home = _now()
        elif self._changed or slot in self._own:
            self._own[slot] = _now()
            _set(self._home)
        if operation == "close":
            self._own.pop(slot, None)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS:
            self._changed = True


def _now() -> State:
    try:
        folder = os.getcwd()
    except OSError:  # it was removed
        folder = os.sep
    return folder, dict(os.environ)


def _set(state: State) -> None:
    folder, environment = state
    with contextlib.suppress(OSError):
        os.chdir(folder)
    if dict(os.environ) != environment:
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
