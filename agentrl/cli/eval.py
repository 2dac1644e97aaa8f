"""Judge a policy on splits of a world: success by task kind with 95 % intervals, infrastructure failures apart.

agentrl eval --env guess --policy random --episodes 100
agentrl eval --env alfworld --policy tiny --split valid_seen,valid_unseen --both
agentrl eval --env alfworld --policy runs/alfworld-epo-0 --repeats 4 --out runs/judged
agentrl eval --env guess --policy api:NAME --base-url http://127.0.0.1:8000/v1 --out runs/judged
agentrl eval --env guess --policy api:NAME --base-url http://127.0.0.1:8000/v1 --replay runs/judged
"""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from agentrl.cli.parser import (
    add_reward,
    add_settings,
    number,
    settings_layers,
    warn_of_programs,
    whole_number,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from agentrl.config import RunConfig

SETTING_FLAGS = ("env", "memory", "format", "reward", "seed", "threads")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_policy(parser)
    parser.add_argument(
        "--split", default="", help="one, or several as A,B; default: the world's split of what was never seen"
    )
    parser.add_argument("--both", action="store_true", help="sampled, then greedy")
    parser.add_argument("--episodes", type=whole_number(), default=0, help="tasks, spread over the split; 0: all")
    parser.add_argument("--repeats", type=whole_number(1), default=1, help="episodes of each task")
    parser.add_argument("--out", default="", metavar="FOLDER", help="write trajectories and results.json here")
    parser.add_argument(
        "--replay", default="", metavar="FOLDER", help="take the replies of api:NAME from this evaluation's record"
    )
    parser.add_argument("--quiet", action="store_true", help="show the table alone")
    parser.add_argument("--dry-run", action="store_true", help="show the configuration, check it, and stop")
    add_reward(parser)
    add_settings(parser, training=False)


def add_policy(parser: argparse.ArgumentParser, default: str = "random") -> None:
    """The arguments that say who plays and how its replies are sampled."""
    parser.add_argument(
        "--policy", default=default, help="random, expert, human, a model's folder, run or hub id, or api:NAME"
    )
    parser.add_argument("--base-url", default="", metavar="URL", help="of the server for api:NAME")
    sampling = parser.add_mutually_exclusive_group()
    sampling.add_argument("--greedy", action="store_true", help="the likeliest token each time")
    sampling.add_argument("--temperature", type=number, help="of the sampling; default as configured")


def configuration(args: argparse.Namespace) -> "tuple[RunConfig, str]":
    """The run's settings, and the policy's word; a model's own settings are a layer of them."""
    from agentrl.api import policy_layer, resolve_layers

    layers: list[dict[str, Any]] = settings_layers(args, SETTING_FLAGS)
    layers.append(policy_layer(args.policy))
    if getattr(args, "replay", ""):
        layers.append({"api": {"replay": args.replay}})
    if args.temperature is not None:
        layers.append({"rollout": {"temperature": args.temperature}})
    return resolve_layers(*layers), args.policy


def run(args: argparse.Namespace) -> int:
    """Play, print the table.   Raises AgentRLError for what a user can put right."""
    from agentrl.api import evaluate_several
    from agentrl.display import Display, Silent

    config, policy = configuration(args)
    warn_of_programs(config)
    if args.dry_run:
        show_dry_run(config, args)
        return 0
    results = evaluate_several(
        config,
        policy=policy,
        display=Silent() if args.quiet or not sys.stdout.isatty() else Display(),
        splits=splits_of(args),
        decodings=(False, True) if args.both else (args.greedy,),
        episodes=args.episodes,
        repeats=args.repeats,
        out=args.out,
        base_url=args.base_url,
    )
    for result in results:
        for line in table(result):
            write(line)
        if len(results) > 1:
            write("")
    if len(results) > 1:
        for line in side_by_side(results):
            write(line)
        if args.out:
            write(f"written to {write_summary(args.out, results)}")
    return 0


def splits_of(args: argparse.Namespace) -> tuple[str, ...]:
    """The splits that are asked for; an empty name is the world's own choice."""
    return tuple(dict.fromkeys(name.strip() for name in args.split.split(",")))


def side_by_side(results: "Sequence[Any]") -> list[str]:
    """A line a task kind, a column a result: success in percent, its 95 % interval, and the episodes."""
    kinds = list(dict.fromkeys(kind for result in results for kind in result.by_kind))
    head = ("success, %", *(f"{result.split} {result.decoding}" for result in results))
    rows = [head, *((kind, *(_share(result, kind) for result in results)) for kind in kinds)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _share(result: Any, kind: str) -> str:
    counts = result.by_kind.get(kind)
    if counts is None or not counts.episodes:
        return "-"
    low, high = result.intervals[kind]
    return f"{100 * counts.success:.1f} [{100 * low:.1f}, {100 * high:.1f}] of {counts.episodes}"


def write_summary(out: str, results: "Sequence[Any]") -> "Path":
    """All results in one file of the folder that holds theirs; its path."""
    from pathlib import Path

    from agentrl.run_directory import write_json

    file = Path(out) / "summary.json"
    write_json(file, {"results": [result.as_dict() for result in results], "table": side_by_side(results)})
    return file


def show_dry_run(config: "RunConfig", args: argparse.Namespace) -> None:
    """What would be played, without loading a model.   Raises AgentRLError for what could not be."""
    import yaml

    from agentrl.composition import build
    from agentrl.registry import load
    from agentrl.settings import to_mapping

    build("memory", config.memory, config.memory_settings)
    build("format", config.format, config.format_settings)
    panel = load("evaluation", "agentrl.eval.evaluate:panel_of")
    panels = [panel(config, load("env", config.env), split, args.episodes) for split in splits_of(args)]
    unused = ("algo", "parts", "settings", "curriculum", "curriculum_settings", "trainer", "validation")
    shown = {name: value for name, value in to_mapping(config).items() if name not in unused}
    write(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True).rstrip())
    write("")
    for split, tasks, _ in panels:
        how = "sampled and greedy" if args.both else "greedy" if args.greedy else "sampled"
        write(f"# {args.policy} on {len(tasks)} tasks of {split}, {args.repeats} a task, {how}")


def table(result: Any) -> list[str]:
    """A line a task kind, all episodes first, and what is to be said under them."""
    from agentrl.display import tally_cells

    head = ("", "success", "95 % interval", "episodes", "score", "turns", "invalid", "failures")
    rows = [head]
    for kind, counts in result.by_kind.items():
        share, _, episodes = tally_cells(counts)
        values = counts.as_dict()
        low, high = result.intervals[kind]
        interval = f"{100 * low:.1f}-{100 * high:.1f} %" if counts.episodes else ""
        rows.append(
            (
                kind,
                share,
                interval,
                episodes,
                *(f"{values[name]:.{digits}f}" if values[name] is not None else "-" for name, digits in _MEANS),
                f"{100 * values['invalid_rate']:.1f} %" if values["invalid_rate"] is not None else "-",
                str(counts.failures),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    ]
    by = "Wilson's" if result.interval_by == "wilson" else result.interval_by
    lines += [
        "",
        f"{result.policy} on {result.split}, {result.decoding}, panel {result.panel[:16]} from"
        f" {result.trajectories[0].task.id} on, {result.seconds:.1f} s; intervals: {by}",
    ]
    if result.all.failures:
        lines.append(
            f"{result.all.failures} episodes ended by an infrastructure failure and are in no mean; first: "
            + next(str(t.failure) for t in result.trajectories if t.failure)
        )
    if result.usage is not None:
        lines.append(usage_line(result.usage))
    if result.run_dir is not None:
        lines.append(f"written to {result.run_dir}")
    return lines


def usage_line(usage: "Mapping[str, Any]") -> str:
    """Tokens and cost of a model behind an API; an unknown price is said to be unknown."""
    tokens, policy = usage["episodes"]["tokens"], usage["policy"]
    line = (
        f"{tokens['input']:,} input tokens ({tokens['cached']:,} cached), {tokens['output']:,} output tokens"
        f" ({tokens['reasoning']:,} reasoning)"
    )
    if policy["cost"] is None:
        return f"{line}; cost unknown: the price of this model is not in the file of prices (api.prices)"
    cost = "of unknown cost" if usage["episodes"]["cost"] is None else f"{usage['episodes']['cost']:.4f}"
    spent = "nothing: replayed" if policy["replayed"] else f"{policy['cost']:.4f} with calls that gave no reply"
    return f"{line}; {cost} {policy['currency']} by prices of {policy['prices_of']}; spent: {spent}"


_MEANS = (("score", 3), ("turns", 1))
