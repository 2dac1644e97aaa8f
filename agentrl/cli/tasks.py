"""The splits of a world: how many tasks, of which kinds, the hash of each panel, the first ids.

agentrl tasks guess
agentrl tasks alfworld --split valid_unseen --num 5
agentrl tasks alfworld --help          the world's own settings
"""

import argparse
from collections import Counter
from typing import Any

from agentrl.cli.parser import printable, whole_number, write
from agentrl.errors import ConfigError, nearest

OWN_HELP = True
"""The parser comes without `--help`: this verb's says more."""


class _Help(argparse.Action):
    """`--help`, and with a world before it that world's settings too."""

    def __init__(self, option_strings: Any, dest: str, **settings: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **settings)

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: Any = None) -> None:
        parser.print_help()
        if getattr(namespace, "env", None):
            write("")
            for line in settings_of_world(namespace.env):
                write(line)
        parser.exit()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("env", metavar="ENV", help="a world (agentrl list envs), or module:attribute")
    parser.add_argument("-h", "--help", action=_Help, help="this text; after ENV the world's settings too")
    parser.add_argument("--split", default="", help="this split alone")
    parser.add_argument("--num", type=whole_number(), default=3, help="how many ids to show; default 3")
    parser.add_argument(
        "--set", action="append", default=[], metavar="A=C", dest="sets", help="one of the world's settings"
    )


def settings_of_world(name: str) -> list[str]:
    """The settings of a world, a line each."""
    from agentrl.cli.explain import settings_lines
    from agentrl.registry import load

    lines = settings_lines(load("env", name).Config)
    return [f"settings of {name} (--set env_settings.NAME=VALUE):", *(lines or ["  none"])]


def run(args: argparse.Namespace) -> int:
    """Print a block a split.   Raises AgentRLError for an unknown world, split or setting."""
    from agentrl.api import flag_layer, set_layer
    from agentrl.composition import world_settings
    from agentrl.registry import load
    from agentrl.run_directory import panel_hash
    from agentrl.settings import merge

    asked = flag_layer({"env": args.env})
    world = load("env", asked["env"])
    settings = set_layer(args.sets)
    inner = settings.pop("env_settings", {})
    inner = merge(asked.get("env_settings", {}), inner if isinstance(inner, dict) else {})
    config = world_settings(world, merge(inner, settings))
    if args.split and args.split not in world.SPLITS:
        raise ConfigError(
            f"{args.env} has no split {args.split!r}{nearest(args.split, world.SPLITS)} "
            f"(splits: {', '.join(world.SPLITS)})"
        )
    for split in [args.split] if args.split else world.SPLITS:
        panel = world.tasks(split, config)
        ids = [task.id for task in panel]
        marks = "  (validation)" if split == world.VALIDATION else ""
        write(f"{split}: {len(ids)} tasks, panel {panel_hash(ids)[:16]}{marks}")
        kinds = Counter(task.kind for task in panel)
        if set(kinds) - {""}:
            write("  kinds: " + ", ".join(f"{kind or 'other'} {count}" for kind, count in sorted(kinds.items())))
        for task_id in ids[: args.num]:
            write(f"  {printable(task_id)}")
        if 0 < args.num < len(ids):
            write("  ...")
    return 0
