"""What the runner costs a turn: a policy and a world that take no time, at 1, 16 and 256 episodes at once.

    python benchmarks/runner.py

Prints microseconds a turn (wall time of the run over all turns) for a world in the event loop and one in two worker
processes, and, beside them, a plain loop over the same world and policy with no runner at all.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from agentrl.config import RolloutConfig
from agentrl.policies.scripted import Scripted
from agentrl.runner import Job, Runner
from agentrl.types import Observation, Outcome, StepResult, Task, Turn, View

TURNS = 20
SEEN = Observation("You see a cabinet 1, a cabinet 2 and a fridge 1.", admissible=("go to cabinet 1", "look"))
STEP = StepResult(SEEN)


class Blocking:
    """A synchronous world of no time."""

    def __init__(self, config: object = None) -> None:
        self.count = 0

    def reset(self, task: Task) -> Observation:
        return SEEN

    def step(self, action: str) -> StepResult:
        self.count += 1
        return StepResult(SEEN, 1.0, terminated=True) if self.count == TURNS else STEP

    def outcome(self) -> Outcome:
        return Outcome(True, 1.0)

    def close(self) -> None:
        pass


class Awaiting:
    """The same, asynchronous."""

    def __init__(self, config: object = None) -> None:
        self.inner = Blocking()

    async def reset(self, task: Task) -> Observation:
        return self.inner.reset(task)

    async def step(self, action: str) -> StepResult:
        return self.inner.step(action)

    def outcome(self) -> Outcome:
        return self.inner.outcome()

    async def close(self) -> None:
        pass


class LastTurn:
    """A memory that shows the newest observation alone, so that no time goes into prompts."""

    def view(
        self,
        task: Task,
        instructions: str,
        turns: Sequence[Turn],
        observation: Observation,
        tools: tuple[dict[str, Any], ...] = (),
    ) -> View:
        return View(task, instructions, observation, turn=len(turns))


def plain(num_episodes: int) -> float:
    """Seconds a turn without a runner."""
    start = time.perf_counter()
    for _ in range(num_episodes):
        env = Blocking()
        env.reset(Task("bench", "0", "train", 0))
        while not env.step("look").terminated:
            pass
    return (time.perf_counter() - start) / (num_episodes * TURNS)


async def played(env_class: type, concurrency: int) -> float:
    """Seconds a turn through the runner; the best of three runs, after one that starts what is to be started."""
    rollout = RolloutConfig(concurrency=concurrency, workers=2, episodes_per_worker=10**6)
    policy = Scripted(lambda view: "look")
    num_episodes = max(64, concurrency)
    jobs = [Job(Task("bench", str(n % 16), "train", 0), "g", n) for n in range(num_episodes)]
    seconds = []
    async with Runner(env_class, policy, memory=LastTurn(), format="action", rollout=rollout) as runner:
        for _ in range(4):
            start = time.perf_counter()
            done = await runner.run(jobs)
            seconds.append(time.perf_counter() - start)
            assert all(t.ended == "done" and len(t.turns) == TURNS for t in done)
    return min(seconds[1:]) / (num_episodes * TURNS)


def main() -> None:
    print(f"plain loop                {plain(256) * 1e6:7.1f} us a turn")
    for concurrency in (1, 16, 256):
        in_loop = asyncio.run(played(Awaiting, concurrency)) * 1e6
        in_workers = asyncio.run(played(Blocking, concurrency)) * 1e6
        print(f"{concurrency:4} episodes at once     {in_loop:7.1f} in the loop {in_workers:7.1f} in two workers")


if __name__ == "__main__":
    import runner  # this file by its name: a worker process cannot import what a script defines

    runner.main()
