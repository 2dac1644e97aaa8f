"""Ctrl-C while libraries are imported: some swallow it, or raise something else in its place; here it is remembered."""

import signal
import threading
from types import FrameType

_noticed = False


def notice() -> None:
    """From now on remember a Ctrl-C, beside raising KeyboardInterrupt. Does nothing outside the main thread."""
    global _noticed
    _noticed = False
    if threading.current_thread() is threading.main_thread() and _is(signal.default_int_handler):
        signal.signal(signal.SIGINT, _handler)


def noticed() -> bool:
    """Was there a Ctrl-C since `notice`."""
    return _noticed


def hand_over() -> None:
    """Give Ctrl-C back to Python, and so to asyncio, which then cancels what runs.

    Raises KeyboardInterrupt where one was swallowed before.
    """
    if threading.current_thread() is threading.main_thread() and _is(_handler):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if _noticed:
            raise KeyboardInterrupt


def _handler(number: int, frame: FrameType | None) -> None:
    global _noticed
    _noticed = True
    signal.default_int_handler(number, frame)


def _is(handler: object) -> bool:
    return signal.getsignal(signal.SIGINT) is handler
