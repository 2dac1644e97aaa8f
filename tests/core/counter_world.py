"""A world of three lines for tests: count up to the task's seed, one `up` a turn; `stop` gives up."""

from agentrl.own_world import OwnWorld
from agentrl.types import Completion, Observation, Outcome, Request, StepResult, Task


class Counter:
    """Asynchronous, without settings."""

    instructions = "Say up until I say enough."

    async def reset(self, task: Task) -> Observation:
        self._left = task.seed
        return Observation(f"{self._left} to go.", admissible=("up", "stop"))

    async def step(self, action: str) -> StepResult:
        if action == "stop":
            return StepResult(Observation("Stopped."), terminated=True)
        if action != "up":
            return StepResult(Observation("What?", admissible=("up", "stop")), valid=False)
        self._left -= 1
        if self._left <= 0:
            return StepResult(Observation("Enough."), reward=1.0, terminated=True)
        return StepResult(Observation(f"{self._left} to go.", admissible=("up", "stop")))

    def outcome(self) -> Outcome:
        return Outcome(success=self._left <= 0, score=float(self._left <= 0))

    async def close(self) -> None:
        pass


def task(number: int, split: str = "valid", kind: str = "short") -> Task:
    return Task(env="Counter", id=f"{split}-{number}", split=split, seed=number, kind=kind)


TASKS = [
    *(task(n, "train") for n in (1, 2, 3)),
    *(task(n) for n in (1, 2)),
    *(task(n, kind="long") for n in (3, 4)),
]


class Says:
    """A policy without a model: says the same each time, in the format's tags."""

    takes_ids = False

    def __init__(self, text: str = "<action>up</action>") -> None:
        self.text = text

    async def generate(self, request: Request) -> Completion:
        return Completion(self.text)

    async def release(self, episode: str) -> None:
        pass

    async def close(self) -> None:
        pass


WORLD = OwnWorld.of(Counter, TASKS)
"""For the command line: `--env tests.core.counter_world:WORLD`."""
