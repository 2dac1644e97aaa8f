"""Every algorithm trained for a short while from the same model on the same tasks, and what came of each, as a table.

    python make/algorithms.py --out runs/algorithms

A run of an algorithm on a world takes about 90 seconds: the world's own tiny model, the same tasks, seed, rollouts and
optimiser for all, judged on held-out tasks as the model was before. What is finished is not done again, so a second
call goes on; several processes may share the work (`--worlds rlvr` here, `--worlds alfworld` there).
"""

import argparse
import json
import os
import re
import statistics
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import agentrl
from agentrl.api import set_layer
from agentrl.display import Display
from agentrl.errors import AgentRLError
from agentrl.eval.statistics import paired_difference_interval
from agentrl.registry import TABLES
from agentrl.run_directory import write_json
from agentrl.settings import merge

PANEL = 20261121
"""Seed of the judgement; on ALFWorld also the panel of generated games, which no training sees."""
WORLDS: Mapping[str, dict[str, Any]] = {
    "rlvr": {
        "run": {"trainer": {"steps": 60, "lr": 5e-4}},
        "judge": {"episodes": 200},
    },
    "alfworld": {
        "run": {"trainer": {"steps": 20}, "rollout": {"tasks_per_step": 8, "group_size": 8}},
        "judge": {"split": "valid_unseen", "config": {"env_settings": {"data": "generated", "panel": PANEL}}},
    },
}
ARGUMENTS: Mapping[tuple[str, str], list[str]] = {
    ("rlvr", "dapo"): ["settings.overlong.max_length=200", "settings.overlong.buffer=50"],
    ("alfworld", "dapo"): ["settings.overlong.max_length=200", "settings.overlong.buffer=50"],
    ("rlvr", "capo"): ["settings.capo.tau_objective=0.06", "settings.capo.tau_policy=0.001"],
    ("alfworld", "capo"): ["settings.capo.tau_objective=0.3", "settings.capo.tau_policy=0.05"],
}
"""What an algorithm has no default for, or one for other rates: CAPO's bounds drop a hundredth so, as meant."""
COMBINATIONS: Mapping[str, tuple[str, list[str]]] = {
    "gigpo + EPO's terms": ("gigpo", ["parts.regularisers=[epo-entropy, epo-smoothing]"]),
    "epo on GSPO": ("epo", ["parts.surrogate=gspo"]),
    "empg over gigpo's steps": ("gigpo", ["parts.modifiers=+empg"]),
    "bnpo on CISPO": ("bnpo", ["parts.surrogate=cispo"]),
    "riskpo on Clip-Cov": ("riskpo", ["parts.surrogate=clip-cov"]),
    "copo under empg": ("copo", ["parts.modifiers=+empg"]),
    "gtpo's conflict tokens on SAPO": ("gtpo", ["parts.surrogate=sapo"]),
    "ppo's critic on MDPO": ("ppo", ["parts.surrogate=mdpo"]),
    "d3s with Lp-Reg": ("d3s", ["parts.surrogate=lp-reg-clip"]),
    "pf-ppo's filter on RatioNorm": ("pf-ppo", ["parts.surrogate=ratio-norm"]),
    "epo with dynamic sampling": ("epo", ["curriculum=dynamic-sampling"]),
    "rloo's baseline on GMPO with KL-Cov": (
        "rloo",
        ["parts.surrogate=gmpo", "parts.aggregate=turn-mean", "parts.regularisers=kl-cov"],
    ),
}
"""Ours, unpublished: label -> (algorithm, what one line of config changes in it)."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--algos", default="", help="algorithms, separated by commas; empty: every one")
    parser.add_argument("--combinations", action="store_true", help="the unpublished combinations instead")
    parser.add_argument("--worlds", default=",".join(WORLDS), help="worlds, separated by commas")
    parser.add_argument("--seeds", default="1", help="seeds of the runs, separated by commas")
    parser.add_argument("--steps", type=int, default=0, help="steps of a run; 0: what takes about 90 seconds")
    parser.add_argument("--out", default="runs/algorithms", help="folder of the runs and their results")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of every run")
    parser.add_argument("--table", action="store_true", help="only show what is there")
    return parser.parse_args()


def judged(world: str, policy: str) -> dict[str, Any]:
    """Success of each held-out task, sampled, and the entropy of the replies."""
    how = dict(WORLDS[world]["judge"])
    config = {"env": world, **how.pop("config", {})}
    result = agentrl.evaluate(config, policy=policy, seed=PANEL, **how)
    replies = [turn.completion.logprobs for t in result.trajectories for turn in t.turns]
    logprobs = [value for reply in replies for value in reply]
    return {
        "won": {t.task.id: float(bool(t.outcome.success)) for t in result.trajectories},
        "entropy": -statistics.fmean(logprobs),
    }


def run(
    world: str, label: str, algo: str, changes: Iterable[str], seed: int, asked: argparse.Namespace
) -> dict[str, Any]:
    """Train and judge; the result is kept beside the run."""
    folder = Path(asked.out) / world / f"{re.sub('[^a-z0-9]+', '-', label.lower())}-{seed}"
    finished = folder / "judged.json"
    if finished.is_file():
        return dict(json.loads(finished.read_text()))
    if (folder / "config.yaml").is_file():
        agentrl.train(resume=folder, display=Display())
    else:
        layers = [*ARGUMENTS.get((world, algo), []), *changes, *asked.set]
        common = {"validation": {"num_tasks": 0}, "trainer": {"save_trajectories": False, "checkpoint_every": 1000}}
        config = merge(merge(common, WORLDS[world]["run"]), set_layer(layers))
        if asked.steps:
            config = merge(config, {"trainer": {"steps": asked.steps}})
        agentrl.train(config, env=world, algo=algo, model="tiny", seed=seed, run_dir=folder, display=Display())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    result = judged(world, str(folder)) | {
        "label": label,
        "algo": algo,
        "seed": seed,
        "steps": len(steps),
        "update_seconds": statistics.median(line["seconds/update_processor"] for line in steps),
    }
    write_json(finished, result)
    return result


def before(world: str, asked: argparse.Namespace) -> dict[str, Any]:
    """The judgement of the model that all start from."""
    file = Path(asked.out) / world / "before.json"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, judged(world, "tiny"))
    return dict(json.loads(file.read_text()))


def table(world: str, start: Mapping[str, Any], results: Iterable[Mapping[str, Any]]) -> str:
    """Markdown: a row a label, seeds together; update times as ratios to GRPO's."""
    by_label: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        by_label.setdefault(result["label"], []).append(result)
    grpo = by_label.get("grpo")
    unit = statistics.fmean(r["update_seconds"] for r in grpo) if grpo else None
    first = 100 * statistics.fmean(start["won"].values())
    lines = [
        f"**{world}**, {len(start['won'])} held-out tasks; before: {first:.1f} %, {start['entropy']:.3f} nats a token",
        "",
        "| | success, % | gain, points [95 %] | entropy | learning, processor s a step | of GRPO's |",
        "|---|---|---|---|---|---|",
    ]
    for label, runs in by_label.items():
        after = {task: [r["won"][task] for r in runs] for task in start["won"]}
        gain = paired_difference_interval({task: [won] for task, won in start["won"].items()}, after)
        own = [100 * statistics.fmean(r["won"].values()) for r in runs]
        seeds = f" ({', '.join(f'{share:.1f}' for share in own)})" if len(own) > 1 else ""
        seconds = statistics.fmean(r["update_seconds"] for r in runs)
        lines.append(
            f"| {label} | {statistics.fmean(own):.1f}{seeds} | {100 * gain[0]:+.1f} "
            f"[{100 * gain[1]:+.1f}, {100 * gain[2]:+.1f}] | {statistics.fmean(r['entropy'] for r in runs):.3f} | "
            f"{seconds:.2f} | {f'{seconds / unit:.2f}' if unit else '-'} |"
        )
    return "\n".join(lines)


def finished(world: str, out: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted((out / world).glob("*/judged.json"))]


def main() -> int:
    asked = arguments()
    worlds = asked.worlds.split(",")
    rows = COMBINATIONS if asked.combinations else {algo: (algo, []) for algo in TABLES["algorithm"]}
    if asked.algos:
        rows = {label: row for label, row in rows.items() if label in asked.algos.split(",")}
    failed = 0
    try:
        for world in worlds:
            start = before(world, asked)
            for label, (algo, changes) in {} if asked.table else rows.items():
                for seed in (int(seed) for seed in asked.seeds.split(",")):
                    try:
                        run(world, label, algo, changes, seed, asked)
                    except AgentRLError as error:
                        failed += 1
                        sys.stderr.write(f"{label} on {world}: {error}\n")
            sys.stdout.write(table(world, start, finished(world, Path(asked.out))) + "\n\n")
    except AgentRLError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"stopped; the same command goes on{os.linesep}")
        return 130
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
