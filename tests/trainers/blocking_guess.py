"""The world `guess`, synchronous, so that it lives in workers; each worker starts a daemon that would go on forever."""

import os
import subprocess
import sys
from collections.abc import Coroutine
from typing import Any

from agentrl.envs import guess
from agentrl.envs.guess import REPEATS, SPLITS, VALIDATION, Config, instructions, solution, tasks, tools
from agentrl.types import Observation, Outcome, StepResult, Task

__all__ = ["REPEATS", "SPLITS", "VALIDATION", "WORLD", "Config", "Env", "instructions", "solution", "tasks", "tools"]

WORLD = sys.modules[__name__]

_daemons: dict[int, "subprocess.Popen[bytes]"] = {}
"""By the process that started them."""


def _now(answer: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that waits for nothing."""
    try:
        answer.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("it waits")


class Env:
    """One game."""

    def __init__(self, config: Config) -> None:
        self._inner = guess.Env(config)
        if os.getpid() not in _daemons:
            forever = [sys.executable, "-S", "-c", "import threading; threading.Event().wait()"]
            _daemons[os.getpid()] = subprocess.Popen(forever, start_new_session=True)

    def reset(self, task: Task) -> Observation:
        seen: Observation = _now(self._inner.reset(task))
        return seen

    def step(self, action: str) -> StepResult:
        result: StepResult = _now(self._inner.step(action))
        return result

    def outcome(self) -> Outcome:
        return self._inner.outcome()
