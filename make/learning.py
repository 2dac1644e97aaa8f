"""What learning brings: several algorithms and seeds from one model, judged on games that no choice was made on.

    python make/learning.py --algos epo,grpo,ppo,gigpo --seeds 1,2,3 --out runs/learning

Each run is trained as `agentrl train` trains, without a look at a validation game, and then judged once, sampled and
greedy, on every game of `valid_seen` and `valid_unseen`: generated ones of a panel of its own, and the official ones
where their folder is given. What is finished is not done again: a second call goes on, and several processes may share
the work (`--algos epo` here, `--algos grpo` there).
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import agentrl
from agentrl.api import set_layer
from agentrl.display import Display
from agentrl.errors import AgentRLError
from agentrl.eval.statistics import bootstrap_interval, wilson_interval
from agentrl.run_directory import write_json
from agentrl.settings import merge

SPLITS = ("valid_seen", "valid_unseen")
PANEL = 20261121
"""Of the generated games that judge; training and its validations use panel 0."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--algos", default="epo,grpo,ppo,gigpo", help="algorithms, separated by commas")
    parser.add_argument("--seeds", default="1,2,3", help="seeds of the runs, separated by commas")
    parser.add_argument("--model", default="tiny", help="the model that all of them start from")
    parser.add_argument("--data", default="", help="a folder of official games to train on; empty: generated ones")
    parser.add_argument("--official", default="", help="a folder of official games to judge on too, 50 turns each")
    parser.add_argument("--out", default="runs/learning", help="folder of the runs and their results")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of every run")
    parser.add_argument("--table", action="store_true", help="only show what is there")
    return parser.parse_args()


def judged(policy: str, asked: argparse.Namespace, file: Path) -> dict[str, Any]:
    """An arm (panel, split, sampled or greedy) -> [task, kind, won] of each game; from the file, where it is there."""
    arms: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    for panel, config in panels(asked).items():
        for split in SPLITS:
            for way in ("sampled", "greedy") if policy not in ("random", "expert") else ("sampled",):
                arm = f"{panel} {split} {way}"
                if arm not in arms:
                    result = agentrl.evaluate(config, policy=policy, split=split, greedy=way == "greedy", seed=PANEL)
                    episodes = [[t.task.id, t.task.kind, bool(t.outcome.success)] for t in result.trajectories]
                    arms[arm] = episodes
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, arms)
    return arms


def panels(asked: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Name of a panel -> the configuration that judges on it."""
    generated = {
        "env": "alfworld",
        "env_settings": {"data": "generated", "panel": PANEL},
        "rollout": {"max_turns": 30},
    }
    official = {
        "env": "alfworld",
        "env_settings": {"data": asked.official},
        "rollout": {"max_turns": 50, "max_context": 2048},
    }
    return {"generated": generated, **({"official": official} if asked.official else {})}


def trained(algo: str, seed: int, asked: argparse.Namespace) -> str:
    """The run directory of an algorithm and a seed, trained to its end."""
    folder = Path(asked.out) / f"{algo}-{seed}"
    finished = folder / "finished.json"
    if finished.is_file():
        return str(folder)
    if (folder / "config.yaml").is_file():
        result = agentrl.train(resume=folder, display=Display())
    else:
        config: dict[str, Any] = {"validation": {"num_tasks": 0}, "trainer": {"save_trajectories": False}}
        if asked.data:
            config["env_settings"] = {"data": asked.data}
        result = agentrl.train(
            merge(config, set_layer(asked.set)),
            env="alfworld",
            algo=algo,
            model=asked.model,
            seed=seed,
            run_dir=folder,
            display=Display(),
        )
    write_json(finished, {"steps": result.steps})
    return str(folder)


def rows(asked: argparse.Namespace) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """A row of the table: its name, and the results of each of its seeds that are there."""
    out = Path(asked.out)
    seeded = [file.stem.rpartition("-")[0] for file in sorted(out.glob("judged/*-*.json"))]
    names = ["random", "warm start", *dict.fromkeys(seeded)]
    for name in names:
        single = out / "judged" / f"{name.replace(' ', '_')}.json"
        files = [single] if single.is_file() else sorted(out.glob(f"judged/{name}-[0-9]*.json"))
        if files:
            yield name, [json.loads(file.read_text()) for file in files]


def cell(results: Sequence[Mapping[str, Any]], arm: str) -> str:
    """Success over all seeds with a 95 % bootstrap interval over games, and each seed's own."""
    of_task: dict[str, list[float]] = {}
    own = []
    for result in results:
        episodes = result.get(arm, [])
        for task, _, won in episodes:
            of_task.setdefault(task, []).append(float(won))
        if episodes:
            own.append(100 * sum(won for _, _, won in episodes) / len(episodes))
    if not own:
        return "-"
    wins = {won for values in of_task.values() for won in values}
    low, high = (
        bootstrap_interval(of_task) if len(wins) > 1 else wilson_interval(int(sum(wins)) * len(of_task), len(of_task))
    )
    seeds = f" ({', '.join(f'{share:.1f}' for share in own)})" if len(own) > 1 else ""
    return f"{sum(own) / len(own):.1f} [{100 * low:.1f}-{100 * high:.1f}]{seeds}"


def table(asked: argparse.Namespace) -> str:
    """Success in %, as Markdown: a row an algorithm, a column a split and a way of sampling."""
    arms = [f"{panel} {split} {way}" for panel in panels(asked) for split in SPLITS for way in ("sampled", "greedy")]
    lines = [f"| success, % | {' | '.join(arms)} |", "|---" * (len(arms) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(cell(results, arm) for arm in arms)} |" for name, results in rows(asked)]
    return "\n".join(lines)


def main() -> int:
    asked = arguments()
    out = Path(asked.out)
    try:
        if not asked.table:
            judged("random", asked, out / "judged" / "random.json")
            judged(asked.model, asked, out / "judged" / "warm_start.json")
            for seed in (int(seed) for seed in asked.seeds.split(",")):
                for algo in asked.algos.split(","):
                    run = trained(algo, seed, asked)
                    judged(run, asked, out / "judged" / f"{algo}-{seed}.json")
    except AgentRLError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"stopped; the same command goes on{os.linesep}")
        return 130
    sys.stdout.write(table(asked) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
