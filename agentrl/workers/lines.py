"""How the parent speaks with a worker: over a socket with a process, or over a queue with a thread of its own process.

A line has two callbacks: `on_answer` for each request in order, `on_lost` once, when the worker is gone.
"""

import asyncio
import contextlib
import json
import os
import queue
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from agentrl.errors import ConfigError
from agentrl.workers.nursery import command, quiet_environment
from agentrl.workers.slots import EnvSource, Slots
from agentrl.workers.wire import ANSWER_HEADER, MAX_FRAME, Answer, pack_request, unpack_answer

OnAnswer = Callable[[Answer], None]
OnLost = Callable[[str, bool], None]
"""Why the worker is gone, and whether the request it was at is to blame."""

_END_SECONDS = 20.0
"""So long may a nursery take to end what its workers have started, on a machine that has other things to do."""
_NOTE_SECONDS = 1.0
"""How long the end of a worker's channel waits for the nursery's word of why it died."""


class Line(Protocol):
    """One worker, as its parent sees it. All members are called in the loop's thread."""

    def send(self, operation: str, slot: int, argument: Any) -> None: ...
    def attach(self, loop: asyncio.AbstractEventLoop) -> None: ...
    def kill(self) -> None: ...


class Nurse:
    """The parent's side of a nursery: starts it, asks it for workers, hears which of them died and why."""

    def __init__(self, source: EnvSource, memory: int) -> None:
        """memory: bytes that a worker may hold with all that it starts; 0: no limit."""
        self._folder = os.path.join(tempfile.gettempdir(), f"agentrl-{secrets.token_hex(8)}")  # the nursery makes it
        self._control, there = socket.socketpair()
        arguments = (there.fileno(), memory, self._folder, source.file or "", source.module, *source.preload)
        with there:
            self._process = subprocess.Popen(
                command("agentrl.workers.nursery", *arguments),
                pass_fds=(there.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=quiet_environment(),
            )
        self._lines: dict[int, ProcessLine] = {}
        self._notes = b""
        self._loop: asyncio.AbstractEventLoop | None = None
        self.dead = False
        self.proven = False
        """Has any of its workers answered: if not, what kills it may be the import of the world."""
        self._finalizer = weakref.finalize(self, _end, self._control, self._process, self._folder)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen in this loop from now on."""
        _detach(self._loop, self._control)
        self._loop = loop
        loop.add_reader(self._control, self._hear)

    def start(self, number: int, line: "ProcessLine") -> socket.socket:
        """Ask for a worker.   Returns the parent's end of its channel."""
        here, there = socket.socketpair()
        self._lines[number] = line
        with there:
            try:
                socket.send_fds(self._control, [json.dumps({"start": number}).encode() + b"\n"], [there.fileno()])
            except OSError:
                self.dead = True  # the channel is at its end, which its line will find
        return here

    def kill(self, number: int) -> None:
        """End a worker and all that it started; nothing more is heard of it.

        Where none has ever answered, the import of the world itself may hang, and with it the nursery: it goes too.
        """
        self._lines.pop(number, None)
        if not self.proven:
            _detach(self._loop, self._control)
            self._finalizer()
            self._gone()
            return
        with contextlib.suppress(OSError):
            self._control.sendall(json.dumps({"kill": number}).encode() + b"\n")

    async def close(self) -> None:
        """End the nursery with all its workers, and see it gone."""
        self._finalizer.detach()
        self.dead = True
        _detach(self._loop, self._control)
        self._control.close()
        end = time.monotonic() + _END_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            await asyncio.sleep(0.01)
        _end(self._control, self._process, self._folder, 0.0)

    def end(self) -> None:
        """The same at once, for whoever has no loop."""
        self.dead = True
        _detach(self._loop, self._control)
        self._finalizer()

    def _hear(self) -> None:
        try:
            data = self._control.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._gone()
            return
        *notes, self._notes = (self._notes + data).split(b"\n")
        for note in map(json.loads, notes):
            line = self._lines.pop(note["died"], None)
            if line is not None:
                line.bury(note["why"])

    def _gone(self) -> None:
        """The nursery itself was killed; the system kills its workers."""
        self.dead = True
        _detach(self._loop, self._control)
        shutil.rmtree(self._folder, ignore_errors=True)
        for number in list(self._lines):
            self._lines.pop(number).bury("went down with the process that starts workers", blame=not self.proven)


def _end(
    control: socket.socket, process: "subprocess.Popen[bytes]", folder: str, seconds: float = _END_SECONDS
) -> None:
    control.close()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def _detach(loop: asyncio.AbstractEventLoop | None, channel: socket.socket) -> None:
    if loop is not None and not loop.is_closed() and channel.fileno() >= 0:
        loop.remove_reader(channel)
        loop.remove_writer(channel)


class ProcessLine:
    """A line to a worker process."""

    def __init__(self, nurse: Nurse, number: int, on_answer: OnAnswer, on_lost: OnLost) -> None:
        self._nurse, self._number = nurse, number
        self._on_answer, self._on_lost = on_answer, on_lost
        self._channel = nurse.start(number, self)
        self._channel.setblocking(False)
        self._inbox, self._outbox = bytearray(), bytearray()
        self._num_answers = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        _detach(self._loop, self._channel)
        self._loop = loop
        loop.add_reader(self._channel, self._read)
        if self._outbox:
            loop.add_writer(self._channel, self._write)

    def send(self, operation: str, slot: int, argument: Any) -> None:
        """Raises ConfigError for a task or settings that no other process can read."""
        try:
            frame = pack_request(operation, slot, argument)
        except Exception as error:
            raise ConfigError(f"a task or setting cannot be sent to a worker process: {error}") from error
        if self._over:
            return
        waiting = bool(self._outbox)
        self._outbox += frame
        if not waiting:
            self._write()

    def kill(self) -> None:
        if not self._over:
            self._close()
            self._nurse.kill(self._number)

    def bury(self, why: str, blame: bool = True) -> None:
        """The worker is dead: take what it had still answered, then tell."""
        if not self._over:
            self._read(until_end=True)
        if not self._over:
            self._close()
            self._on_lost(why, blame)

    def _close(self) -> None:
        self._over = True
        _detach(self._loop, self._channel)
        self._channel.close()

    def _write(self) -> None:
        assert self._loop is not None
        try:
            sent = self._channel.send(self._outbox)
            del self._outbox[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._outbox.clear()  # it is dead; the reading side will tell
        if self._outbox:
            self._loop.add_writer(self._channel, self._write)
        else:
            self._loop.remove_writer(self._channel)

    def _read(self, until_end: bool = False) -> None:
        while not self._over:
            try:
                data = self._channel.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._ended(until_end)
                return
            self._inbox += data
            self._take_frames()
            if not until_end:
                return

    def _ended(self, buried: bool) -> None:
        _detach(self._loop, self._channel)
        if not buried and self._loop is not None:
            self._loop.call_later(_NOTE_SECONDS, self.bury, "ended without a word")

    def _take_frames(self) -> None:
        while len(self._inbox) >= ANSWER_HEADER.size and not self._over:
            number, text, blob = ANSWER_HEADER.unpack_from(self._inbox)
            start = ANSWER_HEADER.size
            end = start + text + blob
            if number != self._num_answers or text + blob > MAX_FRAME:
                self._garbled()
                return
            if len(self._inbox) < end:
                return
            try:
                answer = unpack_answer(bytes(self._inbox[start : start + text]), bytes(self._inbox[start + text : end]))
            except Exception:  # what a world prints there may be anything
                self._garbled()
                return
            self._num_answers = (number + 1) & 0xFFFFFFFF
            del self._inbox[:end]
            self._nurse.proven = True
            self._on_answer(answer)

    def _garbled(self) -> None:
        self.kill()
        self._on_lost("sent what is no answer", True)


class ThreadLine:
    """A line to a thread, for an Env class that no other process can import.

    A thread that hangs cannot be killed: it is left behind, and the next worker is a new thread.
    """

    def __init__(self, on_answer: OnAnswer) -> None:
        self._on_answer = on_answer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._requests: queue.SimpleQueue[tuple[str, int, Any] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._over = False
        threading.Thread(target=self._serve, name="agentrl-world", daemon=True).start()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        loop.call_soon(self._deliver)  # what was answered when no loop ran

    def send(self, operation: str, slot: int, argument: Any) -> None:
        self._requests.put((operation, slot, argument))

    def kill(self) -> None:
        self._over = True
        self._requests.put(None)

    def _serve(self) -> None:
        slots = Slots()
        while (request := self._requests.get()) is not None and not self._over:
            self._answers.put(slots.carry_out(*request))
            with contextlib.suppress(RuntimeError):  # a closed loop: the next one takes it
                assert self._loop is not None
                self._loop.call_soon_threadsafe(self._deliver)
        slots.close()

    def _deliver(self) -> None:
        while not self._over and not self._answers.empty():
            self._on_answer(self._answers.get())
