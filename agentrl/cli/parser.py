"""An argument parser whose errors are one line with the nearest flag, and the arguments that several verbs share."""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from agentrl.errors import ConfigError, nearest

if TYPE_CHECKING:
    from agentrl.config import RunConfig


class Parser(argparse.ArgumentParser):
    """Raises ConfigError where argparse would print its usage and exit."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} ({self.prog} --help)")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Raises ConfigError for what no argument takes, with the nearest flag."""
        found, extra = self.parse_known_args(args, namespace)
        if extra:
            word = next((e for e in extra if e.startswith("-")), extra[0]).partition("=")[0]
            known = [o for action in self._actions for o in action.option_strings if o.startswith("--")]
            kind = "flag" if word.startswith("-") else "argument"
            raise ConfigError(f"unknown {kind} {word!r}{nearest(word, known)} ({self.prog} --help)")
        return found


def whole_number(least: int = 0) -> Any:
    """An argument's type: a whole number that is at least `least`."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is too small; it must be at least {least}")
        return value

    return read


def number(text: str) -> float:
    """An argument's type: a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None


def add_settings(parser: argparse.ArgumentParser, *, training: bool, several: bool = False) -> None:
    """The flags that stand for settings, `--config` and `--set`.

    several: world, memory and format may be given again; memories and formats also as A,B.
    """
    how: dict[str, Any] = {"action": "append"} if several else {}
    again = "; may be given again" if several else ""
    group = parser.add_argument_group("settings", "default < the model's own < --config < --set < flag")
    group.add_argument(
        "--env",
        metavar="NAME",
        help="the world (agentrl list envs), module:attribute, or a mixture with weights: alfworld:3,rlvr:1" + again,
        **how,
    )
    group.add_argument("--memory", metavar="NAME", help="what the agent sees of earlier turns" + again, **how)
    group.add_argument(
        "--format", metavar="NAME", help="how a view becomes messages and a reply an action" + again, **how
    )
    group.add_argument("--seed", type=whole_number(), help="everything random follows from it")
    group.add_argument("--threads", type=whole_number(), help="CPU threads of the model; 0: one a core")
    group.add_argument(
        "--data",
        metavar="FOLDER",
        help="what to learn from (docs/data.md); with --env the world's own data, as env_settings.data",
    )
    group.add_argument(
        "--data-less", action="store_true", help="the world's generated tasks, whatever data is installed"
    )
    group.add_argument(
        "--unsafe-local-exec",
        action="store_true",
        help="run a model's programs without a sandbox where none can be had, as env_settings.unsafe_local_exec",
    )
    if training:
        group.add_argument("--algo", metavar="NAME", help="the algorithm (agentrl list algos)")
        group.add_argument("--model", metavar="NAME", help="tiny, a folder, a run directory, or a hub id")
        group.add_argument("--steps", type=whole_number(1), help="steps of the run")
        group.add_argument("--lr", type=number, help="peak learning rate")
        group.add_argument(
            "--lora", type=whole_number(), nargs="?", const=16, metavar="RANK", help="train an adapter; alone: rank 16"
        )
    group.add_argument("--config", metavar="FILE", help="a YAML file of settings, such as a run's config.yaml")
    group.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", dest="sets", help="one setting; may be given again"
    )


def add_reward(parser: argparse.ArgumentParser) -> None:
    """The flag that names a reward function."""
    parser.add_argument(
        "--reward",
        metavar="MODULE:FUNCTION",
        help="a function of a trajectory, paid beside what the world pays; or in its place model:FOLDER, judge:FILE",
    )


def settings_layers(args: argparse.Namespace, names: Sequence[str]) -> list[dict[str, Any]]:
    """The layers of a command line: file, --set, flags. names: the flags among `agentrl.api.FLAGS` to read."""
    from agentrl.api import flag_layer, set_layer
    from agentrl.data_world import flag_layers
    from agentrl.run_directory import read_yaml

    layers: list[dict[str, Any]] = []
    if args.config:
        layers.append(read_yaml(args.config))
    layers.append(set_layer(args.sets))
    layers.append(flag_layer({name: getattr(args, name, None) for name in names}))
    if args.data and args.data_less:
        raise ConfigError("--data and --data-less exclude each other")
    if args.data:
        layers = flag_layers(args.data, layers)
    if args.data_less:
        layers.append({"env_settings": {"data": "generated"}})
    if args.unsafe_local_exec:
        layers.append({"env_settings": {"unsafe_local_exec": True}})
    return layers


def warn_of_programs(config: "RunConfig") -> None:
    """A line on standard error where a model's programs will run without a sandbox."""
    if config.env_settings.get("unsafe_local_exec"):
        from agentrl.sandbox import available

        way, reasons = available()
        if way is None:
            sys.stderr.write(f"warning: a model's programs run here as you, with nothing to keep them in ({reasons})\n")


def printable(text: str, keep: str = "\n\t") -> str:
    """A text that comes from a world or a model, without what could move a terminal's cursor."""
    return "".join(c if c.isprintable() or c in keep else " " for c in re.sub(r"\r\n?", "\n", text))


def write(text: str) -> None:
    """One line, or several, to standard output."""
    sys.stdout.write(text + "\n")
