"""ALFWorld's engines: steps a second with loading included, against the stock package in a plain loop.

    python benchmarks/alfworld_engines.py [FOLDER] [--games 6] [--turns 50]

FOLDER holds official games; absent: generated ones. Each game is written as a game.tw-pddl file, and an episode is what
an untrained agent makes of it: the game is loaded, reset, and a random admissible command is played each turn. All
engines play the same episodes in this one process: `stock` is the alfworld package as its users run it (TextWorld's gym
environment with alfworld's wrappers), `textworld` its engine as agentrl runs it, `native` the one of plain Python.
Nothing is loaded before an episode begins; agentrl's caches of games are emptied. Times are this process's seconds of
CPU, so that whatever else the machine does is not in them. A last line has the native engine in worker processes, under
the runner, with a policy that takes no time; it is by the clock.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentrl.config import RolloutConfig
from agentrl.envs import alfworld
from agentrl.envs.alfworld import generator, sources
from agentrl.panels import spread
from agentrl.policies.scripted import Scripted
from agentrl.runner import Job, Runner
from agentrl.types import Task

ROUNDS = 5
"""Of the quick engines; their mean is given."""


@dataclass
class Times:
    """CPU seconds of loads and of steps, and the texts, which must be the same on every engine."""

    loads: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Steps a second, loading included."""
        return len(self.steps) / (sum(self.loads) + sum(self.steps))


def written(tasks: Sequence[Task], folder: Path) -> list[str]:
    """The games as files of the official form."""
    files = []
    for number, task in enumerate(tasks):
        text = sources.load_text(task.data)
        game = {"pddl_domain": text.domain, "grammar": text.grammar, "pddl_problem": text.problem, "solvable": True}
        file = folder / "json_2.1.1" / "train" / f"{task.kind}-None-None-None-{number}" / "trial_0" / "game.tw-pddl"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(game | {"walkthrough": list(text.walkthrough)}))
        files.append(str(file))
    return files


def stock(file: str, turns: int, seed: int, times: Times) -> None:
    """An episode with the package alone, as its AlfredTWEnv sets it up, but in this process."""
    import textworld.gym
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos

    begin = time.process_time()
    infos = textworld.EnvInfos(won=True, admissible_commands=True, extras=["gamefile"])
    wrappers = [AlfredDemangler(shuffle=False), AlfredInfos]
    name = textworld.gym.register_games(
        [file], infos, batch_size=1, asynchronous=False, max_episode_steps=turns, wrappers=wrappers
    )
    env = textworld.gym.make(name)
    texts, found = env.reset()
    times.loads.append(time.process_time() - begin)
    rng = random.Random(seed)
    for _ in range(turns):
        times.texts.append(texts[0])
        begin = time.process_time()
        texts, _, done, found = env.step([choose(found["admissible_commands"][0], rng)])
        times.steps.append(time.process_time() - begin)
        if done[0]:
            break
    env.close()


def ours(engine: str, file: str, turns: int, seed: int, times: Times) -> None:
    """An episode with agentrl's world."""
    task = Task("alfworld", file, "train", 0, data=sources.GameRef("folder", file, "train", 0))
    begin = time.process_time()
    env = alfworld.Env(alfworld.Config(engine=engine, max_steps=turns))
    seen = env.reset(task)
    times.loads.append(time.process_time() - begin)
    rng = random.Random(seed)
    for _ in range(turns):
        times.texts.append(seen.text)
        command = choose(seen.admissible, rng)
        begin = time.process_time()
        result = env.step(command)
        times.steps.append(time.process_time() - begin)
        seen = result.observation
        if result.terminated or result.truncated:
            break
    env.close()


def choose(commands: Sequence[str], rng: random.Random) -> str:
    return rng.choice([command for command in commands if command != "help"])


def empty_caches() -> None:
    """Forget every game: the next episode loads its own."""
    sources._load_game.cache_clear()
    generator.made.cache_clear()


@contextlib.contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """A cache folder that is empty."""
    before = os.environ.get("AGENTRL_CACHE")
    os.environ["AGENTRL_CACHE"] = str(folder)
    try:
        yield
    finally:
        del os.environ["AGENTRL_CACHE"]
        if before is not None:
            os.environ["AGENTRL_CACHE"] = before


async def under_the_runner(turns: int, episodes: int, workers: int) -> float:
    """Turns a second of the native engine in worker processes, games never seen before, random commands."""
    rng = random.Random(0)

    def act(view: Any) -> str:
        return choose(view.observation.admissible, rng)

    config = alfworld.Config(data="generated", num_train=2 * episodes, max_steps=turns)
    panel = alfworld.tasks("train", config)
    rollout = RolloutConfig(concurrency=64, workers=workers, max_turns=turns, episodes_per_worker=10**6)
    policy = Scripted(act)
    async with Runner(alfworld, policy, memory="window", format="action", rollout=rollout, config=config) as runner:
        await runner.run([Job(task, task.id, 0) for task in panel[:workers]])  # the workers start
        begin = time.perf_counter()
        played = await runner.run([Job(task, task.id, 0) for task in panel[episodes:]])
        seconds = time.perf_counter() - begin
    assert all(t.ended in ("done", "turn_limit") for t in played), next(t.failure for t in played if t.failure)
    return sum(len(t.turns) for t in played) / seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default="generated", help="official games; default: generated ones")
    parser.add_argument("--games", type=int, default=6, help="an episode of each; default 6")
    parser.add_argument("--turns", type=int, default=50, help="of an episode; default 50")
    args = parser.parse_args()
    tasks = spread(alfworld.tasks("train", alfworld.Config(data=args.folder)), args.games)
    times = {name: Times() for name in ("stock", "textworld", "native")}
    with tempfile.TemporaryDirectory() as folder, own_cache(Path(folder) / "cache"):
        files = written(tasks, Path(folder))
        for seed, file in enumerate(files):
            stock(file, args.turns, seed, times["stock"])
            ours("textworld", file, args.turns, seed, times["textworld"])
        for _ in range(ROUNDS):
            empty_caches()
            for seed, file in enumerate(files):
                ours("native", file, args.turns, seed, times["native"])
        workers = asyncio.run(under_the_runner(args.turns, 128, 2))
    base = times["stock"]
    assert times["textworld"].texts * ROUNDS == times["native"].texts
    assert [alfworld.world.shown(text).strip() for text in base.texts] == [t.strip() for t in times["textworld"].texts]
    print(f"{len(files)} games, {len(base.steps)} steps, the same texts on every engine")
    for name, found in times.items():
        load, step = sum(found.loads) / len(found.loads), sum(found.steps) / len(found.steps)
        print(
            f"{name:10} load and reset {load * 1e3:9.2f} ms   a step {step * 1e3:8.3f} ms   "
            f"{found.rate:9.0f} steps/s with loading   {found.rate / base.rate:7.1f} times the stock engine's"
        )
    print(f"native in two workers under the runner, new games: {workers:.0f} steps/s, {workers / base.rate:.1f} times")
    return 0


if __name__ == "__main__":
    sys.argv[0] = os.path.abspath(sys.argv[0])
    sys.exit(main())
