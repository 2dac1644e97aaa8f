"""What policies come to in the worlds, and what the worlds cost: a table of each, as Markdown.

    python make/worlds.py                                           random, expert and the model of `--policy tiny`
    python make/worlds.py --trained textworld=runs/textworld-grpo-0 that run too, on the same tasks
    python make/worlds.py --cost                                    episodes a second, start, memory

Tasks are of the split that neither training nor validation of a run sees, spread over it, and the same for all
policies; replies are sampled at temperature 1. Costs are of the expert's episodes; a game that TextWorld has to
generate first, and a gold path that ScienceWorld has to find, are there before the clock runs.
"""

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import agentrl
from agentrl.eval.statistics import bootstrap_interval, paired_difference_interval

PANELS: Mapping[str, tuple[str, int, int]] = {
    "textworld": ("test", 300, 16),
    "scienceworld": ("test", 396, 16),
    "rlvr": ("test", 200, 1),
}
"""World -> its split, how many tasks of it, and the turns of an episode, as the tiny models have them."""
SETTINGS: Mapping[str, Mapping[str, Any]] = {"textworld": {"panel": 0, "num_valid": 300}}
"""World -> its settings where they are not the defaults."""
LONGEST = 100
"""Turns of the expert, whose paths are those of the package."""
COST_EPISODES = 48
LOOK_SECONDS = 0.1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--worlds", default=",".join(PANELS), help="worlds, separated by commas")
    parser.add_argument("--policies", default="random,expert,tiny", help="policies, separated by commas")
    parser.add_argument("--trained", action="append", default=[], metavar="WORLD=RUN", help="a run to judge as well")
    parser.add_argument("--seed", type=int, default=20261121, help="of the sampling")
    parser.add_argument("--cost", action="store_true", help="what the worlds cost instead")
    return parser.parse_args()


def judged(world: str, policy: str, seed: int) -> list[Any]:
    """The trajectories of a policy on a world's panel, in the order of its tasks."""
    split, num, turns = PANELS[world]
    rollout = {"max_turns": LONGEST if policy == "expert" else turns}
    config = {"env_settings": dict(SETTINGS.get(world, {})), "rollout": rollout}
    return list(agentrl.evaluate(config, env=world, policy=policy, split=split, episodes=num, seed=seed).trajectories)


def row(world: str, name: str, played: list[Any], start: list[Any] | None) -> str:
    """Success and mean score in percent, with intervals over tasks; the gain over the model that it began with."""
    success = {t.task.id: [float(t.outcome.success)] for t in played}
    score = {t.task.id: [t.outcome.score] for t in played}
    cells = [f"{100 * _mean(of):.1f} [{_interval(of)}]" for of in (success, score)]
    gain = ""
    if start is not None:
        before = {t.task.id: [t.outcome.score] for t in start}
        mean, low, high = paired_difference_interval(before, score)
        gain = f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    turns = sum(len(t.turns) for t in played) / len(played)
    failed = [t.task.id for t in played if name == "expert" and t.outcome.score < 1]
    if failed:
        print(f"{world}: the expert does not reach all of {', '.join(failed)}", file=sys.stderr)
    return f"| {world} | {name} | {len(played)} | {' | '.join(cells)} | {turns:.1f} | {gain} |"


def _mean(values: Mapping[str, list[float]]) -> float:
    return sum(value for (value,) in values.values()) / len(values)


def _interval(values: Mapping[str, list[float]]) -> str:
    low, high = bootstrap_interval(values)
    return f"{100 * low:.1f}-{100 * high:.1f}"


def cost(world: str) -> str:
    """Episodes a second with one and with eight at a time, seconds until a first episode is over, MiB an episode."""
    split, _, turns = PANELS[world]

    def played(num: int, at_once: int) -> tuple[float, float]:
        rollout = {"concurrency": at_once, "max_turns": turns}
        with Memory() as memory:
            result = agentrl.evaluate({"rollout": rollout}, env=world, policy="expert", split=split, episodes=num)
        return num / result.seconds, memory.most

    played(COST_EPISODES, 8)  # what is kept in a cache is there from now on
    one, alone = played(COST_EPISODES // 4, 1)
    eight, together = played(COST_EPISODES, 8)
    command = [
        str(Path(sys.executable).with_name("agentrl")),
        "eval",
        "--env",
        world,
        "--policy",
        "expert",
        "--split",
        split,
    ]
    begin = time.perf_counter()
    subprocess.run([*command, "--episodes", "1", "--quiet"], check=True, capture_output=True)
    seconds = time.perf_counter() - begin
    return f"| {world} | {one:.1f} | {eight:.1f} | {seconds:.1f} | {max(together - alone, 0) / 7:.1f} |"


class Memory:
    """Watches what all processes below this one hold, shared pages once. `most`: MiB."""

    def __enter__(self) -> "Memory":
        self.most, self._over = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self.most = max(self.most, sum(_held(pid) for pid in _below("self")))


def _below(pid: str) -> Iterator[str]:
    """The processes that a process started, and theirs."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield child
            yield from _below(child)


def _held(pid: str) -> float:
    """MiB, a page that several processes share counted in parts; 0 of one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def main() -> None:
    asked = arguments()
    worlds = asked.worlds.split(",")
    if asked.cost:
        print(
            "| world | episodes/s, one at a time | eight | start, s | memory an episode, MiB |\n|---|---|---|---|---|"
        )
        for world in worlds:
            print(cost(world), flush=True)
        return
    trained = dict(name.split("=", 1) for name in asked.trained)
    print("| world | policy | tasks | success, % [95 %] | score, % [95 %] | turns | gain in score |")
    print("|---|---|---|---|---|---|---|")
    for world in worlds:
        start = None
        for policy in asked.policies.split(","):
            played = judged(world, policy, asked.seed)
            start = played if policy == "tiny" else start
            print(row(world, policy, played, None), flush=True)
        if world in trained:
            print(row(world, "after RL", judged(world, trained[world], asked.seed), start), flush=True)


if __name__ == "__main__":
    main()
