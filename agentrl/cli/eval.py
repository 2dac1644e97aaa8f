"""Judge a policy on a split of a world: success by task kind with 95 % intervals, infrastructure failures apart.

agentrl eval --env guess --policy random --episodes 100
agentrl eval --env alfworld --policy runs/alfworld-epo-0 --repeats 4 --out runs/judged
agentrl eval --env guess --policy api:NAME --base-url http://127.0.0.1:8000/v1
"""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from agentrl.cli.parser import add_settings, number, settings_layers, whole_number, write

if TYPE_CHECKING:
    from agentrl.config import RunConfig

SETTING_FLAGS = ("env", "memory", "format", "seed", "threads")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_policy(parser)
    parser.add_argument("--split", default="", help="default: the world's split of what was never seen")
    parser.add_argument("--episodes", type=whole_number(), default=0, help="tasks, spread over the split; 0: all")
    parser.add_argument("--repeats", type=whole_number(1), default=1, help="episodes of each task")
    parser.add_argument("--out", default="", metavar="FOLDER", help="write trajectories and results.json here")
    parser.add_argument("--quiet", action="store_true", help="show the table alone")
    parser.add_argument("--dry-run", action="store_true", help="show the configuration, check it, and stop")
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
    if args.temperature is not None:
        layers.append({"rollout": {"temperature": args.temperature}})
    return resolve_layers(*layers), args.policy


def run(args: argparse.Namespace) -> int:
    """Play, print the table.   Raises AgentRLError for what a user can put right."""
    from agentrl.api import evaluate
    from agentrl.display import Display, Silent

    config, policy = configuration(args)
    if args.dry_run:
        show_dry_run(config, args)
        return 0
    result = evaluate(
        config,
        policy=policy,
        display=Silent() if args.quiet or not sys.stdout.isatty() else Display(),
        split=args.split,
        episodes=args.episodes,
        repeats=args.repeats,
        greedy=args.greedy,
        out=args.out,
        base_url=args.base_url,
    )
    for line in table(result):
        write(line)
    return 0


def show_dry_run(config: "RunConfig", args: argparse.Namespace) -> None:
    """What would be played, without loading a model.   Raises AgentRLError for what could not be."""
    import yaml

    from agentrl.composition import build
    from agentrl.registry import load
    from agentrl.settings import to_mapping

    build("memory", config.memory, config.memory_settings)
    build("format", config.format, config.format_settings)
    panel = load("evaluation", "agentrl.eval.evaluate:panel_of")
    split, tasks, _ = panel(config, load("env", config.env), args.split, args.episodes)
    unused = ("algo", "parts", "settings", "curriculum", "curriculum_settings", "trainer", "validation")
    shown = {name: value for name, value in to_mapping(config).items() if name not in unused}
    write(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True).rstrip())
    write("")
    write(f"# {args.policy} on {len(tasks)} tasks of {split}, {args.repeats} a task")


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
        f"{result.policy} on {result.split}, panel {result.panel[:16]}, {result.seconds:.1f} s; intervals: {by}",
    ]
    if result.all.failures:
        lines.append(
            f"{result.all.failures} episodes ended by an infrastructure failure and are in no mean; first: "
            + next(str(t.failure) for t in result.trajectories if t.failure)
        )
    if result.run_dir is not None:
        lines.append(f"written to {result.run_dir}")
    return lines


_MEANS = (("score", 3), ("turns", 1))
