"""Worlds that do the worst: a kind of fault a task, at reset, the second step, the outcome or the close.

What they leave behind writes its process id to the file that the task names, so that a test can see it end.
"""

import asyncio
import contextlib
import ctypes
import itertools
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agentrl.types import Observation, Outcome, StepResult, Task
from agentrl.workers.wire import Answer, pack_answer

MIB = 2**20


@dataclass(frozen=True)
class Fault:
    """What goes wrong in a task, and where."""

    kind: str
    at: str = "step"
    file: str = ""
    """Takes the process ids of what is left behind."""


class Strange(BaseException):
    """No Exception."""


class Mute(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise ValueError("no words")


class Deep(Exception):
    """Cannot travel."""

    def __reduce__(self):
        raise TypeError("not this one")


def raises(error: BaseException) -> Callable[[Fault], None]:
    def act(fault: Fault) -> None:
        raise error

    return act


def hang(fault: Fault) -> None:
    threading.Event().wait()


def hang_in_c(fault: Fault) -> None:
    """With the interpreter's lock held, deaf to every signal that can be refused."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    ctypes.PyDLL(None).sleep(1000)


def told(fault: Fault) -> None:
    with open(fault.file, "a") as file:
        file.write(f"{os.getpid()}\n")


def wait_forever(fault: Fault) -> None:
    told(fault)
    hang(fault)


class Left:
    """Processes that a world leaves behind: each says so before it hangs, and the world waits until so many have."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.heard, self.tell = os.pipe()

    def here(self, close: bool = False) -> None:
        told(self.fault)
        os.write(self.tell, b".")
        if close:
            os.closerange(0, 64)
        hang(self.fault)

    def wait(self, num: int) -> None:
        while num:
            num -= len(os.read(self.heard, num))


def children(fault: Fault, num: int = 3) -> None:
    """Children that are left behind."""
    left = Left(fault)
    for _ in range(num):
        if os.fork() == 0:
            left.here()
    left.wait(num)


def daemons(fault: Fault, num: int = 3) -> None:
    """Grandchildren in sessions of their own, without their parent, without the worker's connection."""
    left = Left(fault)
    for _ in range(num):
        child = os.fork()
        if child == 0:
            os.setsid()
            if os.fork() == 0:
                left.here(close=True)
            os._exit(0)
        os.waitpid(child, 0)
    left.wait(num)


def daemons_and_exit(fault: Fault) -> None:
    daemons(fault, 40)
    os._exit(7)


def storm(fault: Fault) -> None:
    """Every child forks on: three generations of three, 39 in all, and none of them ends; back once one has told."""
    worker, left = os.getpid(), Left(fault)
    for _ in range(3):
        if not any(os.fork() == 0 for _ in range(3)):
            break
    if os.getpid() != worker:
        left.here()
    left.wait(1)


def fork_and_return(fault: Fault) -> None:
    """Both come back from it."""
    os.fork()


def flood(fault: Fault) -> None:
    """100 MB on each."""
    block = b"x" * MIB
    for _ in range(100):
        os.write(1, block)
        os.write(2, block)


def allocate(fault: Fault) -> None:
    bytearray(10 * 1024 * MIB)


def reserve(fault: Fault) -> None:
    """32 GiB of addresses, without memory behind them: mmap(PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)."""
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    found = library.mmap(None, ctypes.c_size_t(32 * 1024 * MIB), 0, 0x2 | 0x20 | 0x4000, -1, ctypes.c_long(0))
    assert found != ctypes.c_void_p(-1).value


def leak(fault: Fault) -> None:
    """In small pieces that stay."""
    kept = []
    while True:
        kept.append(bytearray(4 * MIB))


def children_allocate(fault: Fault) -> None:
    for _ in range(4):
        if os.fork() == 0:
            block = bytearray(b"x") * (100 * MIB)
            wait_forever(fault)
            del block
    hang(fault)


def forge(fault: Fault) -> None:
    """A well-formed answer into every socket."""
    frame = pack_answer(Answer(StepResult(Observation("forged"), 1.0, terminated=True)), 0)
    for number in range(3, 64):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as channel:
            channel.sendall(frame)


def print_everywhere(fault: Fault) -> None:
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(number, b"loading the engine ...\n" * 3)


def stop(fault: Fault) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def litter(fault: Fault) -> None:
    """Temporary files, and a sudden end."""
    Path(tempfile.mkdtemp(), "big").write_bytes(bytes(1000))
    tempfile.mkstemp()
    os.kill(os.getpid(), signal.SIGKILL)


def rearrange(fault: Fault) -> None:
    """Another folder, another environment, other handlers, an alarm that comes later."""
    os.chdir("/")
    os.environ.clear()
    os.environ["STYLE"] = "theirs"
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    sys.stdout = sys.stderr = None


FAULTS: dict[str, Callable[[Fault], None]] = {
    "hang": hang,
    "hang_in_c": hang_in_c,
    "stop": stop,
    "segfault": lambda fault: ctypes.string_at(0),
    "abort": lambda fault: os.abort(),
    "exit": lambda fault: os._exit(0),
    "late_signal": lambda fault: os.kill(os.getpid(), 40),
    "kill": lambda fault: os.kill(os.getpid(), signal.SIGKILL),
    "kill_parent_and_wait": lambda fault: hang(os.kill(os.getppid(), signal.SIGKILL)),
    "kill_group": lambda fault: os.killpg(0, signal.SIGKILL),
    "children": children,
    "daemons": daemons,
    "daemons_and_exit": daemons_and_exit,
    "storm": storm,
    "fork_and_return": fork_and_return,
    "close_all": lambda fault: os.closerange(0, 256),
    "flood": flood,
    "allocate": allocate,
    "leak": leak,
    "children_allocate": children_allocate,
    "forge": forge,
    "print": print_everywhere,
    "litter": litter,
    "reserve": reserve,
    "rearrange": rearrange,
    "base": raises(Strange("odd")),
    "interrupt": raises(KeyboardInterrupt("not the user's")),
    "generator_exit": raises(GeneratorExit()),
    "cancelled": raises(asyncio.CancelledError()),
    "sys_exit": raises(SystemExit(0)),
    "stop_iteration": raises(StopIteration()),
    "mute": raises(Mute()),
    "deep": raises(Deep("inner")),
    "long": raises(RuntimeError("x" * 30 * MIB)),
    "surrogate": raises(RuntimeError("\ud800")),
}


class Wrong:
    """As a truth value it raises."""

    def __bool__(self) -> bool:
        raise RuntimeError("neither")


SEEN = Observation("seen")
ANSWERS: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "text": lambda: "a text",
    "nan": lambda: StepResult(SEEN, float("nan")),
    "infinite": lambda: StepResult(SEEN, 10**400),
    "text_reward": lambda: StepResult(SEEN, "1.0"),
    "no_reward": lambda: StepResult(SEEN, None),
    "list_reward": lambda: StepResult(SEEN, [1.0]),
    "wrong_flag": lambda: StepResult(SEEN, 1.0, Wrong()),
    "bytes": lambda: StepResult(Observation(b"seen")),
    "no_text": lambda: StepResult(Observation(None)),
    "huge": lambda: StepResult(Observation("x" * 100 * MIB)),
    "huge_image": lambda: StepResult(Observation("x", (bytes(100 * MIB),))),
    "huge_list": lambda: StepResult(Observation("x", admissible=("x" * MIB,) * 100)),
    "endless_list": lambda: StepResult(Observation("x", admissible=map(str, itertools.count()))),
    "number_list": lambda: StepResult(Observation("x", admissible=(1, 2))),
    "text_image": lambda: StepResult(Observation("x", ("image.png",))),
}


class Faulty:
    """Synchronous: three steps; tells its folder, a variable of its environment, and what it is told."""

    def __init__(self) -> None:
        self.count = 0

    def reset(self, task: Task) -> Observation:
        self.fault = task.data if isinstance(task.data, Fault) else Fault("")
        self._act("reset")
        return self._seen(f"{task.id} begins")

    def step(self, action: str) -> StepResult:
        self.count += 1
        if self.count == 2:
            self._act("step")
            if self.fault.kind in ANSWERS:
                return ANSWERS[self.fault.kind]()
        return StepResult(self._seen(action), float(self.count == 3), terminated=self.count == 3)

    def outcome(self) -> Outcome:
        self._act("outcome")
        return Outcome(True, 1.0)

    def close(self) -> None:
        self._act("close")

    def _seen(self, text: str) -> Observation:
        folder, style = os.getcwd(), os.environ.get("STYLE")
        return Observation(f"{text} {self.count} {folder} {style}", admissible=("left", "right"))

    def _act(self, at: str) -> None:
        if self.fault.at == at and self.fault.kind in FAULTS:
            FAULTS[self.fault.kind](self.fault)


class FaultyInLoop:
    """The same, asynchronous, and deaf to being cancelled where the fault says so."""

    def __init__(self) -> None:
        self.inner = Faulty()

    async def reset(self, task: Task) -> Observation:
        seen = self.inner.reset(task)
        await self._wait("reset")
        return seen

    async def step(self, action: str) -> StepResult:
        result = self.inner.step(action)
        if self.inner.count == 2:
            await self._wait("step")
        return result

    async def outcome(self) -> Outcome:
        await self._wait("outcome")
        return self.inner.outcome()

    async def close(self) -> None:
        await self._wait("close")
        self.inner.close()

    async def _wait(self, at: str) -> None:
        if self.inner.fault.at == at and self.inner.fault.kind == "await":
            await asyncio.Event().wait()
        while self.inner.fault.at == at and self.inner.fault.kind == "deaf":
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()


def task_with(kind: str, at: str = "step", file: object = "", name: str = "") -> Task:
    return Task("faulty", name or f"{kind}-{at}", "train", seed=0, data=Fault(kind, at, str(file)))


def healthy(num: int = 8) -> list[Task]:
    return [Task("faulty", f"healthy-{n}", "train", seed=n) for n in range(num)]
