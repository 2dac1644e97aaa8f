"""Ctrl-C, SIGTERM and SIGHUP end a command in the same way: what runs is cancelled, and the prompt comes back soon.

The first is a KeyboardInterrupt. While libraries are imported some swallow it, or raise something else in its place;
so it is remembered. Once a run is being ended, another one ends the process at once: a run directory is whole at any
moment, and worker processes end when their parent does.
"""

import os
import signal
import sys
import threading
from collections.abc import Awaitable
from contextlib import suppress
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

ENDING = ("SIGTERM", "SIGHUP")
"""What ends a command beside Ctrl-C: a scheduler's word, and a terminal that goes away."""

_DEAF_SECONDS = 1.0

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


async def cancelled_by_ctrl_c(work: Awaitable[T]) -> T:
    """Await something that Ctrl-C cancels; where it does not listen within a second, for it computes, Ctrl-C breaks in.

    asyncio's own cancellation would wait until a step has been learned from. Raises KeyboardInterrupt.
    """
    import asyncio

    if threading.current_thread() is not threading.main_thread() or _is(signal.SIG_IGN):
        return await work
    loop, task, presses, heard = asyncio.get_running_loop(), asyncio.current_task(), 0, False

    def hear() -> None:
        nonlocal heard
        heard = True
        if task is not None:
            task.cancel()

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal presses
        presses += 1
        if presses > 1:
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(hear)
        signal.setitimer(signal.ITIMER_REAL, _DEAF_SECONDS)

    def late(number: int, frame: FrameType | None) -> None:
        if not heard:
            raise KeyboardInterrupt

    before = [(number, signal.signal(number, act)) for number, act in ((signal.SIGINT, press), (signal.SIGALRM, late))]
    try:
        return await work
    except asyncio.CancelledError:
        if not heard:
            raise
        raise KeyboardInterrupt from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before:
            signal.signal(number, handler)


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
