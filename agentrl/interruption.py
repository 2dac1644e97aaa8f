"""Ctrl-C, SIGTERM and SIGHUP end a command in the same way: what runs is cancelled, and the prompt comes back soon.

The first is a KeyboardInterrupt. While libraries are imported some swallow it, or raise something else in its place;
so it is remembered. Once a run is being ended, another one ends the process at once: a run directory is whole at any
moment, and worker processes end when their parent does.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType

ENDING = ("SIGTERM", "SIGHUP")
"""What ends a command beside Ctrl-C: a scheduler's word, and a terminal that goes away."""

_noticed = 0
_words = "interrupted"
_active = False


def notice() -> None:
    """From now on remember what ends the command, beside raising KeyboardInterrupt. Only in the main thread.

    A signal that is ignored, as under nohup, stays so.
    """
    global _noticed, _active
    _noticed, _active = 0, threading.current_thread() is threading.main_thread()
    if not _active:
        return
    if _is(signal.default_int_handler):
        signal.signal(signal.SIGINT, _handler)
    for name in ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _as_ctrl_c)


def restore() -> None:
    """Give the signals back as `notice` found them, for a program that calls the command line."""
    global _active
    if not _active or threading.current_thread() is not threading.main_thread():
        return
    _active = False
    if _is(_handler) or _is(_at_once):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) in (_as_ctrl_c, _at_once):
            signal.signal(number, signal.SIG_DFL)


def noticed() -> int:
    """Number of the signal that came since `notice`, 0 for none."""
    return _noticed


def hand_over() -> None:
    """Give Ctrl-C back to Python, and so to asyncio, which then cancels what runs.

    Raises KeyboardInterrupt where one was swallowed before.
    """
    if threading.current_thread() is threading.main_thread() and _is(_handler):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if _noticed:
            raise KeyboardInterrupt


def leave_at_the_next(words: str = "interrupted") -> None:
    """What runs is being ended: the next Ctrl-C ends the process at once, with these words.

    Does nothing where the command line is not what runs.
    """
    global _words
    if not _active or threading.current_thread() is not threading.main_thread():
        return
    _words = words
    for name in ("SIGINT", *ENDING):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _at_once)


def _handler(number: int, frame: FrameType | None) -> None:
    global _noticed
    _noticed = _noticed or number
    signal.default_int_handler(number, frame)


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    """As if Ctrl-C had been pressed, whoever listens to it now."""
    global _noticed
    _noticed = _noticed or number
    if signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, signal.SIG_DFL):
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def _at_once(number: int, frame: FrameType | None) -> None:
    shown = "\x1b[?25h" if sys.stderr is not None and sys.stderr.isatty() else ""  # a progress bar hides the cursor
    with suppress(OSError):
        os.write(2, f"{shown}agentrl: {_words}\n".encode())
    os._exit(128 + (_noticed or number))


def _is(handler: object) -> bool:
    return signal.getsignal(signal.SIGINT) is handler
