"""A worker process: reads requests from its socket, carries them out one after another, answers.

It is its own session and process group, so that it can be killed with all that its world started. It ends when its
parent does: its socket then is at its end, and the system sends it SIGKILL where the system can (Linux).
"""

import contextlib
import faulthandler
import os
import signal
import socket
import sys
from typing import Any

from agentrl.errors import WorldFailure
from agentrl.workers.slots import Slots
from agentrl.workers.wire import REQUEST_HEADER, Answer, pack_answer, unpack_request

_PR_SET_PDEATHSIG = 1


def main(channel: socket.socket, output: int, parent: int) -> None:
    """Serve until the channel is at its end; never returns.

    output: file descriptor that takes what the world prints.   parent: process id of the nursery.
    """
    _die_with(parent)
    _redirect(output)
    faulthandler.enable(sys.__stderr__ or 2)
    slots = Slots()
    with contextlib.suppress(OSError, EOFError):
        channel.setblocking(True)
        while True:
            (length,) = REQUEST_HEADER.unpack(_exactly(channel, REQUEST_HEADER.size))
            operation, slot, argument = _request(_exactly(channel, length))
            if operation == "unreadable":
                channel.sendall(pack_answer(argument))
            else:
                channel.sendall(pack_answer(slots.carry_out(operation, slot, argument)))
    slots.close()
    os.killpg(0, signal.SIGKILL)  # with everything that the world left running


def _request(body: bytes) -> tuple[str, int, Any]:
    """A request, or why it cannot be read here (a task of a class that this process cannot import)."""
    try:
        return unpack_request(body)
    except Exception as failure:
        error = WorldFailure(f"the worker cannot read the task: {type(failure).__name__}: {failure}")
        return "unreadable", 0, Answer(error=error)


def _exactly(channel: socket.socket, length: int) -> bytes:
    parts = []
    while length:
        part = channel.recv(min(length, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)


def _redirect(output: int) -> None:
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
