"""What the runner costs a turn: a policy and a world that take no time, at 1, 16, 256 and 1,024 episodes at once.

    python benchmarks/runner.py
    python benchmarks/runner.py --concurrency 16 --repeats 2

Prints microseconds a turn, the least of several runs: processor time of the runner's own process, and wall time, which
depends on what else the machine does. In three columns: a world in the event loop; the same with prompts of the whole
conversation, 20 turns in the end; and a world in two worker processes. Beside them, a plain loop over the same world
with no runner at all. Goal: less than 150 microseconds in the loop, at any number of episodes.
"""

import argparse
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


async def played(env_class: type, concurrency: int, repeats: int, memory: Any) -> tuple[float, float]:
    """Processor and wall seconds a turn through the runner: the least of the runs, after one that warms up."""
    rollout = RolloutConfig(concurrency=concurrency, workers=2, episodes_per_worker=10**6)
    num_episodes = max(64, concurrency)
    jobs = [Job(Task("bench", str(n % 16), "train", 0), "g", n) for n in range(num_episodes)]
    seconds = []
    async with Runner(env_class, Scripted(reply), memory=memory, format="action", rollout=rollout) as runner:
        for _ in range(repeats + 1):
            wall, processor = time.perf_counter(), time.process_time()
            done = await runner.run(jobs)
            seconds.append((time.process_time() - processor, time.perf_counter() - wall))
            assert all(t.ended == "done" and len(t.turns) == TURNS for t in done)
    least = (min(column[1:]) / (num_episodes * TURNS) for column in zip(*seconds, strict=True))
    return next(least), next(least)


def reply(view: View) -> str:
    return "look"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16, 256, 1024], help="episodes at once")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs, of which the least counts")
    arguments = parser.parse_args()
    columns: list[tuple[str, type, Any]] = [
        ("in the loop", Awaiting, LastTurn()),
        ("whole conversation", Awaiting, "full"),
        ("two workers", Blocking, LastTurn()),
    ]
    print(f"plain loop: {plain(256) * 1e6:.1f} us a turn")
    print(f"{'episodes at once':>16}" + "".join(f"{name + ': processor':>32} {'wall':>7}" for name, _, _ in columns))
    for concurrency in arguments.concurrency:
        row = f"{concurrency:16}"
        for _, env_class, memory in columns:
            processor, wall = asyncio.run(played(env_class, concurrency, arguments.repeats, memory))
            row += f"{processor * 1e6:29.0f} us {wall * 1e6:4.0f} us"
        print(row, flush=True)


if __name__ == "__main__":
    import runner  # this file by its name: a worker process cannot import what a script defines

    runner.main()
