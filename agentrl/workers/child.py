"""A worker process: reads requests from its socket, carries them out one after another, answers.

It is its own session and process group, so that it can be killed with all that its world started. It ends when its
parent does: its socket then is at its end, and the system sends it SIGKILL where the system can (Linux). It has a
folder of its own for temporary files, and a limit of memory.
"""

import contextlib
import faulthandler
import itertools
import os
import signal
import socket
import sys
import tempfile
from typing import Any

from agentrl.errors import WorldFailure
from agentrl.workers.failures import OutOfMemory
from agentrl.workers.processes import adopt_orphans, die_with_parent
from agentrl.workers.slots import Slots
from agentrl.workers.surroundings import Surroundings
from agentrl.workers.wire import REQUEST_HEADER, Answer, pack_answer, unpack_request


def main(channel: socket.socket, output: int, parent: int, memory: int, folder: str) -> None:
    """Serve until the channel is at its end; never returns.

    output: file descriptor that takes what the world prints.   parent: process id of the nursery.
    memory: bytes that it may hold; 0: no limit.   folder: for its temporary files.
    """
    die_with_parent()
    if sys.platform == "linux" and os.getppid() != parent:  # it died before we asked
        os._exit(1)
    adopt_orphans()
    _redirect(output)
    faulthandler.enable(sys.__stderr__ or 2)
    _keep_temporary_files_in(folder)
    _limit(memory)
    slots = Slots()
    try:
        channel.setblocking(True)
        _serve(channel, slots, memory)
    except EOFError:  # the parent has gone
        slots.close()
    except OSError as error:
        _last_words(f"the connection of the worker was closed in it ({error.strerror})")
        os._exit(1)
    os.killpg(0, signal.SIGKILL)  # with everything that the world left running


def _serve(channel: socket.socket, slots: Slots, memory: int) -> None:
    surroundings, own = Surroundings(), os.getpid()
    for number in itertools.count():
        (length,) = REQUEST_HEADER.unpack(_exactly(channel, REQUEST_HEADER.size))
        operation, slot, argument = _request(_exactly(channel, length))
        if operation == "unreadable":
            answer = argument
        else:
            surroundings.enter(slot)
            answer = slots.carry_out(operation, slot, argument)
            if os.getpid() != own:  # the world forked, and its child came back to us
                os._exit(0)
            surroundings.leave(slot, operation)
        if isinstance(answer.error, OutOfMemory):
            limit = f": rollout.worker_memory is {memory / 2**30:.2f} GiB" if memory else ""
            _last_words(f"{answer.error}{limit}")
            os._exit(1)
        channel.sendall(pack_answer(answer, number))


def _last_words(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, text.encode())


def _keep_temporary_files_in(folder: str) -> None:
    """So that they go when the worker does, however it ends."""
    os.environ.update(TMPDIR=folder, TEMP=folder, TMP=folder)
    tempfile.tempdir = None  # what the import of the world may have set for the nursery


def _limit(memory: int) -> None:
    """Private memory that can be written to: what is reserved only, as a JVM does, does not count (Linux)."""
    if memory:
        import resource

        _, highest = resource.getrlimit(resource.RLIMIT_DATA)
        limit = memory if highest == resource.RLIM_INFINITY else min(memory, highest)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


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


def _redirect(output: int) -> None:
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
