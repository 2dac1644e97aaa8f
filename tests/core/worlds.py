"""Small worlds for the tests of the runner and the workers: one in the event loop, one in workers, with any trouble."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from agentrl.errors import DataError
from agentrl.types import Observation, Outcome, StepResult, Task

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


@dataclass(frozen=True)
class Config:
    """Settings of both worlds."""

    length: int = 3
    """Steps after which the episode is won."""
    admissible: bool = True
    """Tell what may be done."""
    images: bool = False
    """Show a picture with each observation."""


@dataclass(frozen=True)
class Trouble:
    """What goes wrong in a task, and where."""

    kind: str
    at: str = "step"
    """reset, step (the second), outcome or close."""
    marker: str = ""
    """A file: the trouble comes only while it is not there, and makes it."""


def hang():
    threading.Event().wait()


def crash():
    raise RuntimeError("the engine broke")


def damaged():
    raise DataError("game 7 is damaged")


def flood():
    block = b"x" * 65536
    for _ in range(64):
        os.write(1, block)
        os.write(2, block)


def last_words():
    os.write(2, b"cannot open the door\n")
    os._exit(3)


def busy(seconds=0.03):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def chatter():
    """Write into every descriptor that could be the worker's channel."""
    for number in range(3, 32):
        with contextlib.suppress(OSError):
            os.write(number, b"\x00\x00\x00\x02\x00\x00\x00\x00{}")


TROUBLES = {
    "hang": hang,
    "crash": crash,
    "damaged": damaged,
    "flood": flood,
    "last_words": last_words,
    "busy": busy,
    "chatter": chatter,
    "sys_exit": lambda: sys.exit(4),
    "exit": lambda: os._exit(5),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


class Steps:
    """Synchronous: every step is accepted but `bad`; won after `length` of them. Says which process it lives in."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.count = 0

    def reset(self, task: Task) -> Observation:
        self.task = task
        self._trouble("reset")
        return self._seen(f"{task.id} begins with seed {task.seed}.")

    def step(self, action: str) -> StepResult:
        if action == "bad":
            return StepResult(self._seen("Nothing happens."), valid=False)
        self.count += 1
        if self.count == 2:
            self._trouble("step")
        if self.count == 2 and self._has("huge"):
            return StepResult(self._seen("x" * (17 * 2**20)))
        if self.count == 2 and self._has("nan"):
            return StepResult(self._seen("odd"), reward=float("nan"))
        if self.count == 2 and self._has("wrong"):
            return "a text"
        won = self.count >= self.config.length
        return StepResult(self._seen(f"{action} is step {self.count}."), reward=float(won), terminated=won)

    def outcome(self) -> Outcome:
        self._trouble("outcome")
        return Outcome(self.count >= self.config.length, self.count / self.config.length)

    def close(self) -> None:
        self._trouble("close")

    def _seen(self, text: str) -> Observation:
        actions = ("left", "right", "straight on") if self.config.admissible else None
        return Observation(text, (PNG,) if self.config.images else (), actions)

    def _has(self, kind: str) -> bool:
        return isinstance(self.task.data, Trouble) and self.task.data.kind == kind

    def _trouble(self, at: str) -> None:
        trouble = self.task.data
        if not isinstance(trouble, Trouble) or trouble.at != at or trouble.kind not in TROUBLES:
            return
        if trouble.marker:
            if Path(trouble.marker).exists():
                return
            Path(trouble.marker).touch()
        TROUBLES[trouble.kind]()


class Pids(Steps):
    """Shows the worker's process id; with a file as data, leaves a child behind and both numbers in that file."""

    def reset(self, task: Task) -> Observation:
        super().reset(task)
        if isinstance(task.data, str):
            child = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
            Path(task.data).write_text(f"{os.getpid()} {os.getppid()} {child.pid}")
            hang()
        return Observation(str(os.getpid()))


class InLoop:
    """The same as `Steps`, asynchronous; counts how many are open."""

    num_open = 0

    def __init__(self, config: Config | None = None) -> None:
        self.inner = Steps(config)

    async def reset(self, task: Task) -> Observation:
        InLoop.num_open += 1
        return await self._in_the_loop(self.inner.reset, task)

    async def step(self, action: str) -> StepResult:
        return await self._in_the_loop(self.inner.step, action)

    async def _in_the_loop(self, call, argument):
        trouble = self.inner.task.data if hasattr(self.inner, "task") else argument.data
        if isinstance(trouble, Trouble) and trouble.kind == "await_forever" and call == self.inner.step:
            import asyncio

            await asyncio.Event().wait()
        return call(argument)

    def outcome(self) -> Outcome:
        return self.inner.outcome()

    async def close(self) -> None:
        InLoop.num_open -= 1
        self.inner.close()


def tasks(split: str = "train", config: Config | None = None, num: int = 8) -> list[Task]:
    return [Task("steps", f"{split}-{n}", split, seed=n) for n in range(num)]


def troubled(kind: str, at: str = "step", marker: object = "", name: str = "poison") -> Task:
    return Task("steps", name, "train", seed=99, data=Trouble(kind, at, str(marker)))


def world(env: type, config: type = Config) -> SimpleNamespace:
    """A world's members around an Env class."""
    return SimpleNamespace(
        Config=config,
        Env=env,
        tasks=tasks,
        instructions=lambda config: "Walk.",
        tools=lambda config: None,
        solution=lambda task: ["left", "right", "left"],
    )
