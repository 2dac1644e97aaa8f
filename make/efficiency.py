"""EAPO against GRPO where an episode is a row of rounds with a workspace: success, and how many turns it takes.

    python make/efficiency.py --out runs/efficiency

A tiny model imitates demonstrators of two kinds of ALFWorld's games, who keep a report of what they did. From
there both algorithms learn from as many episodes, on the same games, with three seeds each. All are judged on games
that nothing has met. What is finished is not done again: a second call goes on; `--only eapo` leaves the other to a
second process. `--scale 0.1` does a tenth of the steps, to try it.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # run as a file, it sees its own folder alone
    sys.path.insert(0, str(ROOT))

import agentrl  # noqa: E402
from agentrl.demonstrations import as_trajectories  # noqa: E402
from agentrl.display import Display, Silent  # noqa: E402
from agentrl.eval.report_measures import values_of_task  # noqa: E402
from agentrl.eval.statistics import paired_difference_interval  # noqa: E402
from agentrl.memory.workspace import Workspace  # noqa: E402
from agentrl.records import write_trajectories  # noqa: E402
from agentrl.registry import load  # noqa: E402
from agentrl.run_directory import write_json  # noqa: E402
from agentrl.settings import from_mapping  # noqa: E402
from agentrl.types import Trajectory  # noqa: E402
from make.deeds import Deeds  # noqa: E402

ALGORITHMS = ("grpo", "eapo")
SEEDS = (0, 1, 2)
STEPS = 30
UNMET = 7
"""Panel of the games that are judged on."""
JUDGED, EPISODES = "valid_unseen", 134
PLAYED: Mapping[str, Any] = {
    "env": "alfworld",
    "env_settings": {"data": "generated", "task_types": ["pick_and_place_simple", "look_at_obj_in_light"]},
    "memory": "workspace",
    "format": "report",
    "format_settings": {"show_admissible": False},
    "threads": 1,
    "rollout": {"concurrency": 64, "max_turns": 30, "max_context": 512, "max_new_tokens": 48},
}
IMITATION: Mapping[str, Any] = {
    "algo": "sft",
    "model": {"name": "tiny-random"},
    "rollout": PLAYED["rollout"] | {"tasks_per_step": 8, "group_size": 1},
    "trainer": {
        "steps": 600,
        "optimiser": "muon",
        "muon_lr": 0.03,
        "lr": 3e-3,
        "betas": [0.9, 0.98],
        "warmup_steps": 30,
        "checkpoint_every": 150,
        "save_trajectories": False,
    },
    "validation": {"split": "valid_seen", "every": 150, "num_tasks": 32},
}
REINFORCEMENT: Mapping[str, Any] = {
    "rollout": PLAYED["rollout"] | {"tasks_per_step": 8, "group_size": 8},
    "trainer": {
        "lr": 1e-3,
        "betas": [0.9, 0.95],
        "warmup_steps": 3,
        "schedule": "linear",
        "final_lr": 0.1,
        "checkpoint_every": 1000,
        "save_trajectories": False,
    },
    "validation": {"num_tasks": 0},
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", default="runs/efficiency", help="folder of the runs and their results")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the steps")
    parser.add_argument("--only", choices=ALGORITHMS, help="one of the algorithms; a later call without it sums up")
    parser.add_argument("--verbose", action="store_true", help="show each run as it trains")
    return parser.parse_args()


def trained(folder: Path, config: Mapping[str, Any], display: Display) -> Path:
    """The last checkpoint of a run, trained to its end; one that is finished is left as it is."""
    if not (folder / "finished.json").is_file():
        if (folder / "config.yaml").is_file():
            agentrl.train(resume=folder, display=display)
        else:
            agentrl.train({**PLAYED, **config}, run_dir=folder, display=display)
        write_json(folder / "finished.json", {})
    return max(folder.glob("checkpoints/step-*"))


def demonstrations(path: Path, num: int) -> Path:
    """Episodes of demonstrators who keep a report, a file of them; made where it is not there."""
    if not path.is_file():
        world = load("env", PLAYED["env"])
        config = from_mapping(world.Config, PLAYED["env_settings"], "env_settings")
        shown = world.demonstrations("train", config, num, 0, search="rounds", direct=0.5, eps=0.15)
        write_trajectories(path, list(as_trajectories(world, config, shown, Workspace(), Deeds(), None)))
    return path


def judged(policy: Path) -> list[Trajectory]:
    """The episodes of a policy in games that nothing has met, sampled; in the order of the games."""
    config = {**PLAYED, "env_settings": PLAYED["env_settings"] | {"panel": UNMET}}
    played = agentrl.evaluate(config, policy=str(policy), split=JUDGED, episodes=EPISODES, seed=UNMET)
    return list(played.trajectories)


def numbers(episodes: Sequence[Trajectory]) -> dict[str, float]:
    """Success, mean turns of the episodes that succeeded, mean turns of all, tokens written a round."""
    won = [len(t.turns) for t in episodes if t.outcome.success]
    rounds = sum(len(t.turns) for t in episodes)
    return {
        "success": len(won) / len(episodes),
        "turns_of_successes": sum(won) / max(len(won), 1),
        "turns": rounds / len(episodes),
        "tokens_a_round": sum(t.num_tokens for t in episodes) / rounds,
    }


def difference(first: Mapping[str, list[float]], second: Mapping[str, list[float]]) -> dict[str, float]:
    """Of the means over games, second minus first, with its 95 % interval."""
    mean, low, high = paired_difference_interval(first, second)
    return {"difference": mean, "low": low, "high": high}


def by_game(runs: Sequence[Sequence[Trajectory]]) -> dict[str, list[float]]:
    """Game -> success of each seed."""
    return values_of_task((trajectory, float(trajectory.outcome.success)) for run in runs for trajectory in run)


def turns_where_both_won(
    first: Sequence[Sequence[Trajectory]], second: Sequence[Sequence[Trajectory]]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Game -> mean turns of its successes, of the games that both sides won with at least one seed."""
    sides = []
    for runs in (first, second):
        won: dict[str, list[float]] = {}
        for trajectory in (trajectory for episodes in runs for trajectory in episodes):
            if trajectory.outcome.success:
                won.setdefault(trajectory.task.id, []).append(len(trajectory.turns))
        sides.append({task: [sum(turns) / len(turns)] for task, turns in won.items()})
    both = [task for task in sides[0] if task in sides[1]]
    return {task: sides[0][task] for task in both}, {task: sides[1][task] for task in both}


def main() -> int:
    asked = arguments()
    out, display = Path(asked.out), Display() if asked.verbose else Silent()

    def scaled(config: Mapping[str, Any], steps: int) -> dict[str, Any]:
        return {**config, "trainer": config["trainer"] | {"steps": max(2, round(asked.scale * steps))}}

    imitation = scaled(IMITATION, IMITATION["trainer"]["steps"])
    num = imitation["trainer"]["steps"] * imitation["rollout"]["tasks_per_step"]
    shown = demonstrations(out / "demonstrations.jsonl.gz", num)
    start = trained(out / "imitation", imitation | {"data": str(shown)}, display)
    runs: dict[str, list[list[Trajectory]]] = {}
    for algo in (asked.only,) if asked.only else ALGORITHMS:
        for seed in SEEDS:
            config = scaled(REINFORCEMENT, STEPS) | {"algo": algo, "seed": seed, "model": {"name": str(start)}}
            policy = trained(out / f"{algo}-{seed}", config, display)
            if not asked.only:
                runs.setdefault(algo, []).append(judged(policy))
    if asked.only:
        return 0
    grpo, eapo = (runs[algo] for algo in ALGORITHMS)
    result = {
        "start": numbers(judged(start)),
        **{algo: [numbers(episodes) for episodes in played] for algo, played in runs.items()},
        "success: eapo - grpo": difference(by_game(grpo), by_game(eapo)),
        "turns of successes, games that both won: eapo - grpo": difference(*turns_where_both_won(grpo, eapo)),
    }
    write_json(out / "result.json", result)
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
