"""The process from which workers are forked: it has imported the world, holds no threads, and buries its dead.

    parent ──control socket──▶ nursery ──fork──▶ worker   (own session, own group; its channel leads to the parent)

A fork of the training process itself would copy locked mutexes of torch's threads; a fresh interpreter a worker would
import the world again and again. Whoever is forked here shares the imported pages and is ready in milliseconds. Where
the world's import has started threads, workers are fresh interpreters instead.

Control, as JSON lines: {"start": n} with the worker's end of its channel, {"kill": n}; back: {"died": n, "why": text}.
At the end of the control socket (the parent has closed it, or was killed) everything below is killed, and the folder
for temporary files removed.
"""

import base64
import collections
import contextlib
import gc
import json
import os
import select
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from agentrl.workers import child
from agentrl.workers.processes import (
    adopt_orphans,
    children,
    is_alive,
    kill_children,
    kill_group,
    memory,
    outlive_parent,
    tree,
)
from agentrl.workers.slots import import_module

TAIL_BYTES = 2000
"""Of what a worker printed, this much is kept for the message when it dies."""

MAX_PROCESSES = 512
"""Of a worker and all that it has started."""
_WATCH_SECONDS = 0.5
"""Between two looks at what the workers hold."""
_KILL_SECONDS = 30.0
"""How long what a world has started is chased, where it forks faster than it dies."""

BOOT = "import ctypes, sys; sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, 9); " + (
    "import base64, json; sys.path[:] = json.loads(base64.b64decode(sys.argv[1])); from {} import boot; boot()"
)
"""What a fresh interpreter runs: with the parent's import path, which may hold more than its own would.

Until it watches its parent itself, the system kills it with that (prctl(PR_SET_PDEATHSIG, SIGKILL))."""


def command(module: str, *arguments: object) -> list[str]:
    """The command line of a fresh interpreter that runs `module.boot()` with this process's import path."""
    path = base64.b64encode(json.dumps(sys.path).encode()).decode()
    return [sys.executable, "-c", BOOT.format(module), path, *map(str, arguments)]


def quiet_environment() -> dict[str, str]:
    """The environment of workers: one thread a process, for there are many of them."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def boot() -> None:
    """Entry of a fresh nursery; arguments: import path, control socket, limit of memory, folder for temporary files,
    file of the world's module, modules.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to deal with
    control, limit, folder = socket.socket(fileno=int(sys.argv[2])), int(sys.argv[3]), Path(sys.argv[4])
    os.environ.update(TMPDIR=str(folder), TEMP=str(folder), TMP=str(folder))
    tempfile.tempdir = None
    adopt_orphans()
    _preload(control, folder, sys.argv[5] or None, sys.argv[6:])
    Nursery(control, limit, folder).serve()
    os._exit(0)


def boot_worker() -> None:
    """Entry of a worker that is a fresh interpreter."""
    channel = socket.socket(fileno=int(sys.argv[2]))
    child.main(channel, int(sys.argv[3]), os.getppid(), int(sys.argv[4]), sys.argv[5])


def _preload(control: socket.socket, folder: Path, file: str | None, modules: list[str]) -> None:
    """Import the world's module (the first; it stands in `file`) and others, unless the parent dies meanwhile.

    What fails here fails again, and is told, in the worker.
    """
    done, end = socket.socketpair()
    watch = threading.Thread(target=_exit_at_end_of, args=(control, end, folder), daemon=True)
    watch.start()
    outlive_parent()
    folder.mkdir(0o700)
    with contextlib.suppress(BaseException):
        for module in modules:
            import_module(module, file if module == modules[0] else None)
    done.close()
    watch.join()  # a fork must find one thread only
    end.close()
    gc.collect()
    gc.freeze()  # the collector of a worker would write into every shared page


def _exit_at_end_of(control: socket.socket, done: socket.socket, folder: Path) -> None:
    """End this process when the control socket is at its end, behind whatever waits in it; return when `done` is."""
    poll = select.poll()
    poll.register(control, 0)  # the end of a socket is told unasked
    poll.register(done, select.POLLIN)
    if control.fileno() in {descriptor for descriptor, _ in poll.poll()}:
        kill_children((), _KILL_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)


@dataclass
class _Nursling:
    pid: int
    output: int
    """Read end of what it prints."""
    folder: Path
    """For its temporary files."""
    why: str = ""
    """What we have killed it for."""
    heard: bool = True
    """Is the selector still listening to it."""
    tail: collections.deque[bytes] = field(default_factory=lambda: collections.deque(maxlen=8))


class Nursery:
    """Starts workers, keeps the tail of what they print, kills and buries them. One thread, one loop."""

    def __init__(self, control: socket.socket, limit: int, folder: Path) -> None:
        """limit: bytes that a worker may hold with all that it starts; 0: none.   folder: for temporary files."""
        self._control, self._limit, self._folder = control, limit, folder
        self._next_look = 0.0
        self._preloaded = set(children(os.getpid()))  # what the import of the world has started, for all workers
        self._nurslings: dict[int, _Nursling] = {}
        self._channels: collections.deque[int] = collections.deque()
        self._lines = b""
        self._selector = selectors.DefaultSelector()
        self._wake, wake = socket.socketpair()
        for end in (self._wake, wake):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, _nothing)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._wake_end = wake
        self._selector.register(control, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)

    def serve(self) -> None:
        """Until the control socket is at its end; then kill everything below."""
        try:
            self._serve()
        finally:
            for nursling in self._nurslings.values():
                kill_group(nursling.pid)
            kill_children((), _KILL_SECONDS)
            shutil.rmtree(self._folder, ignore_errors=True)

    def _serve(self) -> None:
        alive = True
        while alive:
            for key, _ in self._selector.select(_WATCH_SECONDS if self._nurslings else None):
                if key.fileobj is self._control:
                    alive = self._obey()
                elif key.fileobj is self._wake:
                    with contextlib.suppress(BlockingIOError):
                        self._wake.recv(4096)
                    self._bury()
                elif key.data.output >= 0:  # not buried since the select
                    self._listen(key.data)
            if time.monotonic() >= self._next_look:
                self._look()

    def _look(self) -> None:
        """End a worker that holds too much, or has started too many."""
        for nursling in self._nurslings.values():
            pids = tree(nursling.pid)
            held = memory(pids, self._limit) if self._limit else 0
            if held > self._limit:
                nursling.why = f"was ended: it held {held / 2**30:.2f} GiB; rollout.worker_memory is " + (
                    f"{self._limit / 2**30:.2f} GiB"
                )
            elif len(pids) > MAX_PROCESSES and sum(map(is_alive, pids)) > MAX_PROCESSES:
                nursling.why = f"was ended: it had started {len(pids)} processes; at most {MAX_PROCESSES} are let be"
            else:
                continue
            kill_group(nursling.pid)
        self._next_look = time.monotonic() + _WATCH_SECONDS

    def _obey(self) -> bool:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, 65536, 64)
        except OSError:  # the parent was killed before it had read what we told it last
            return False
        self._channels.extend(descriptors)
        if not data:
            return False
        *lines, self._lines = (self._lines + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if "start" in order:
                self._start(order["start"], self._channels.popleft())
            elif order["kill"] in self._nurslings:
                kill_group(self._nurslings[order["kill"]].pid)  # not buried yet, so the number is its own
        return True

    def _start(self, number: int, channel: int) -> None:
        nursery, folder = os.getpid(), self._folder / str(number)
        pipe: tuple[int, ...] = ()
        try:
            read, write = pipe = os.pipe()
            os.set_blocking(read, False)
            folder.mkdir(parents=True, exist_ok=True)
            if _num_threads() > 1:
                pid = self._start_fresh(channel, write, folder)
            else:
                pid = os.fork()
                if pid == 0:
                    os.close(read)
                    self._become_worker(channel, write, nursery, folder)
        except OSError as error:  # no process, no file, no space is left
            for descriptor in (channel, *pipe):
                os.close(descriptor)
            self._tell(number, f"could not be started: {error.strerror}")
            return
        os.close(channel)
        os.close(write)
        nursling = _Nursling(pid, read, folder)
        self._nurslings[number] = nursling
        self._selector.register(read, selectors.EVENT_READ, nursling)

    def _start_fresh(self, channel: int, output: int, folder: Path) -> int:
        arguments = command("agentrl.workers.nursery", channel, output, self._limit, folder)
        arguments[2] = arguments[2].replace("import boot; boot()", "import boot_worker; boot_worker()")
        process = subprocess.Popen(
            arguments, pass_fds=(channel, output), stdin=subprocess.DEVNULL, start_new_session=True
        )
        process.returncode = 0  # we bury it ourselves
        return process.pid

    def _become_worker(self, channel: int, output: int, nursery: int, folder: Path) -> None:
        """In the fork: let go of what is the nursery's, then serve. Never returns."""
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            for end in (self._control, self._wake, self._wake_end):
                end.close()
            for descriptor in (*self._channels, *(sibling.output for sibling in self._nurslings.values())):
                os.close(descriptor)
            child.main(socket.socket(fileno=channel), output, nursery, self._limit, str(folder))
        finally:
            os._exit(1)

    def _listen(self, nursling: _Nursling) -> None:
        try:
            data = os.read(nursling.output, 65536)
        except BlockingIOError:
            return
        if data:
            nursling.tail.append(data[-TAIL_BYTES:])
        elif nursling.heard:
            nursling.heard = False
            self._selector.unregister(nursling.output)

    def _bury(self) -> None:
        dead = []
        for number, nursling in self._nurslings.items():
            pid, status = os.waitpid(nursling.pid, os.WNOHANG)
            if pid:
                dead.append((number, nursling, status))
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)  # what the world left running
        # A living worker adopts its own orphans: who is a child of ours, and no worker, was left by a dead one.
        kill_children(self._preloaded | {nursling.pid for nursling in self._nurslings.values()}, _KILL_SECONDS)
        for number, nursling, status in dead:
            self._listen(nursling)
            shutil.rmtree(nursling.folder, ignore_errors=True)
            if nursling.heard:
                self._selector.unregister(nursling.output)
            os.close(nursling.output)
            nursling.output = -1
            del self._nurslings[number]
            self._tell(number, nursling.why or _why(os.waitstatus_to_exitcode(status), b"".join(nursling.tail)))

    def _tell(self, number: int, why: str) -> None:
        with contextlib.suppress(OSError):
            self._control.sendall(json.dumps({"died": number, "why": why}).encode() + b"\n")


def _why(code: int, tail: bytes) -> str:
    name = next((known.name for known in signal.Signals if known == -code), f"signal {-code}")
    how = f"was killed by {name}" if code < 0 else f"exited with code {code}"
    words = " ".join(tail[-TAIL_BYTES:].decode("utf-8", "replace").split())
    start = words.find("Fatal Python error")  # then come the lines of the world, and ours last
    words = words[start : start + 500] if start >= 0 else words[-500:]
    return f"{how}; it last printed: {words}" if words else how


def _num_threads() -> int:
    if sys.platform == "linux":
        return len(os.listdir("/proc/self/task"))
    return threading.active_count()


def _nothing(signum: int, frame: FrameType | None) -> None:
    """A handler there must be for the wake-up descriptor to be written."""
