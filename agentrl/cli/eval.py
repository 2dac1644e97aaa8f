"""Judge policies on splits of worlds: success by task kind with 95 % intervals, infrastructure failures apart.

agentrl eval --env guess --policy random --episodes 100
agentrl eval --env alfworld --policy tiny --split valid_seen,valid_unseen --both
agentrl eval --env alfworld --policy runs/alfworld-epo-0 --repeats 4 --out runs/judged
agentrl eval --env guess --env chain --policy expert,random --memory full,window --episodes 20 --out runs/compared
agentrl eval --matrix evaluation.yaml --out runs/compared
agentrl eval --resume runs/compared
agentrl eval --env guess --policy api:NAME --base-url http://127.0.0.1:8000/v1 --out runs/judged
agentrl eval --env guess --policy api:NAME --base-url http://127.0.0.1:8000/v1 --replay runs/judged
"""

import argparse
import itertools
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
from agentrl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentrl.config import RunConfig

SETTING_FLAGS = ("env", "memory", "format", "reward", "seed", "threads")

_POLICY_HELP = "random, expert, human, a model's folder, run or hub id, or api:NAME"
_IN_THE_FILE = (
    *("policy", "base_url", "env", "memory", "format", "split", "both", "greedy", "temperature", "replay", "reward"),
    *("config", "data", "data_less", "unsafe_local_exec"),
)
"""Flags that say what a matrix file says."""
_OF_A_RUN = (*(name for name in _IN_THE_FILE if name != "base_url"), "matrix", "episodes", "repeats", "seed", "threads")
"""Flags that say what an evaluation is; with --resume it has to be the same."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy", action="append", default=[], help=f"{_POLICY_HELP}; several as A,B, or given again; default random"
    )
    _add_sampling(parser)
    parser.add_argument(
        "--split", default="", help="one, or several as A,B; default: the world's split of what was never seen"
    )
    parser.add_argument("--both", action="store_true", help="sampled, then greedy")
    parser.add_argument("--episodes", type=whole_number(), help="tasks, spread over the split; default 0: all")
    parser.add_argument("--repeats", type=whole_number(1), help="episodes of each task; default 1")
    parser.add_argument(
        "--matrix", default="", metavar="FILE", help="models, worlds, memories and formats (docs/evaluation.md)"
    )
    parser.add_argument("--out", default="", metavar="FOLDER", help="write trajectories, results and reports here")
    parser.add_argument(
        "--resume", default="", metavar="FOLDER", help="go on with an evaluation; nothing finished is played again"
    )
    parser.add_argument(
        "--replay", default="", metavar="FOLDER", help="take the replies of api:NAME from this evaluation's record"
    )
    parser.add_argument("--quiet", action="store_true", help="show the table alone")
    parser.add_argument(
        "--dry-run", action="store_true", help="show and check what would be played, and what it may cost, and stop"
    )
    add_reward(parser)
    add_settings(parser, training=False, several=True)


def add_policy(parser: argparse.ArgumentParser, default: str = "random") -> None:
    """The arguments that say who plays and how its replies are sampled."""
    parser.add_argument("--policy", default=default, help=_POLICY_HELP)
    _add_sampling(parser)


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base-url", default="", metavar="URL", help="of the server for api:NAME")
    sampling = parser.add_mutually_exclusive_group()
    sampling.add_argument("--greedy", action="store_true", help="the likeliest token each time")
    sampling.add_argument("--temperature", type=number, help="of the sampling; default as configured")


def configuration(args: argparse.Namespace) -> "tuple[RunConfig, str]":
    """The run's settings, and the policy's word; a model's own settings are a layer of them."""
    from agentrl.api import is_scripted, policy_layer, resolve_layers

    layers: list[dict[str, Any]] = settings_layers(args, SETTING_FLAGS)
    layers.append(policy_layer(args.policy))
    if getattr(args, "replay", ""):
        layers.append({"api": {"replay": args.replay}})
    if args.temperature is not None:
        layers.append({"rollout": {"temperature": args.temperature}})
    return resolve_layers(*layers, scripted=is_scripted(args.policy)), args.policy


def run(args: argparse.Namespace) -> int:
    """Play, print the table.   Raises AgentRLError for what a user can put right."""
    from agentrl.api import evaluate_cells, resume_evaluation
    from agentrl.display import Display, Silent

    # a table that is piped on has standard output to itself
    display = Silent() if args.quiet else Display(sys.stdout if sys.stdout.isatty() else sys.stderr)
    if args.resume:
        if args.out:
            raise ConfigError("--resume names the folder already; leave --out away")
        if args.dry_run:
            return _dry_run_of_rest(args)
        if not _given(args, _OF_A_RUN):
            from agentrl.api import set_layer

            results = resume_evaluation(
                args.resume, display=display, changes=set_layer(args.sets), base_url=args.base_url
            )
            _show(results, args.resume)
            return 0
    cells, left_out, out = _cells(args)
    for config in {id(cell.config): cell.config for cell in cells}.values():
        warn_of_programs(config)
    for name, why in left_out.items():
        sys.stderr.write(f"left out: {name}: {why}\n")
    if args.dry_run:
        _dry_run(args, cells)
        return 0
    results = evaluate_cells(
        cells, display=display, out=args.resume or out, left_out=left_out, resume=bool(args.resume)
    )
    _show(results, args.resume or out)
    return 0


def _given(args: argparse.Namespace, names: "Sequence[str]") -> list[str]:
    return [name for name in names if getattr(args, name) not in (None, False, "", [])]


def _cells(args: argparse.Namespace) -> "tuple[list[Any], dict[str, str], str]":
    """The cells that a command line asks for, those that cannot be, and the folder.   Raises AgentRLError."""
    from agentrl.registry import load

    if args.matrix:
        return _cells_of_file(args)
    make, reward_of = load("evaluation", "agentrl.eval.cells:Cell"), load("reward", "agentrl.own_reward:reward_of")
    decodings = (False, True) if args.both else (args.greedy,)
    axes: tuple[list[Any], ...] = (
        _several(args.policy) or ["random"],
        args.env or [None],
        _several(args.memory) or [None],
        _several(args.format) or [None],
    )
    cells = []
    for words in itertools.product(*axes):
        told = dict(zip(("policy", "env", "memory", "format"), words, strict=True))
        config, policy = configuration(argparse.Namespace(**{**vars(args), **told}))
        counts = {"episodes": args.episodes or 0, "repeats": args.repeats or 1}
        asked = {"config": config, "policy": policy, "base_url": args.base_url, "reward": reward_of(config), **counts}
        cells += [make(split=split, greedy=greedy, **asked) for split in splits_of(args) for greedy in decodings]
    kept, left_out = load("evaluation", "agentrl.eval.matrix:that_can_be")(cells)
    return kept, left_out, args.out


def _cells_of_file(args: argparse.Namespace) -> "tuple[list[Any], dict[str, str], str]":
    from dataclasses import replace

    from agentrl.api import flag_layer, set_layer
    from agentrl.registry import load

    clash = _given(args, _IN_THE_FILE)
    if clash:
        raise ConfigError(f"--{clash[0].replace('_', '-')} stands in the file of --matrix; say it there")
    matrix = load("evaluation", "agentrl.eval.matrix:read_matrix_file")(args.matrix)
    counts = {name: getattr(args, name) for name in ("episodes", "repeats") if getattr(args, name) is not None}
    if counts:
        worlds = tuple(replace(world, **dict.fromkeys(counts)) for world in matrix.worlds)
        matrix = replace(matrix, worlds=worlds, **counts)
    over = [set_layer(args.sets), flag_layer({"seed": args.seed, "threads": args.threads})]
    cells = load("evaluation", "agentrl.eval.matrix:cells_of")(matrix, over)
    kept, left_out = load("evaluation", "agentrl.eval.matrix:that_can_be")(cells)
    return kept, left_out, args.out or matrix.out


def _several(words: "Sequence[str] | None") -> list[str]:
    """A flag that was given again, or with a list: every word once."""
    return list(dict.fromkeys(word.strip() for given in words or [] for word in given.split(",") if word.strip()))


def splits_of(args: argparse.Namespace) -> tuple[str, ...]:
    """The splits that are asked for; an empty name is the world's own choice."""
    return tuple(dict.fromkeys(name.strip() for name in args.split.split(",")))


def _show(results: "Sequence[Any]", out: str) -> None:
    """The table of one result; of several, those of their cells, or a line a cell where they differ in more."""
    from agentrl.cli.eval_tables import cells_table, side_by_side, table

    alike = len({(result.policy, result.env, result.memory, result.format) for result in results}) == 1
    if alike:
        for result in results:
            for line in table(result):
                write(line)
            if len(results) > 1:
                write("")
    if len(results) > 1:
        for line in side_by_side(results) if alike else cells_table(results):
            write(line)
        if out:
            write(f"written to {out}/summary.json")


def _dry_run(args: argparse.Namespace, cells: "Sequence[Any]") -> None:
    """What would be played, without loading a model.   Raises AgentRLError for what could not be."""
    import yaml

    from agentrl.cli.eval_tables import estimate_lines
    from agentrl.registry import load
    from agentrl.settings import to_mapping

    plans = load("evaluation", "agentrl.eval.evaluate:plans_of")(cells)
    if len({id(cell.config) for cell in cells}) == 1:
        unused = ("algo", "parts", "settings", "curriculum", "curriculum_settings", "trainer", "validation")
        shown = {name: value for name, value in to_mapping(cells[0].config).items() if name not in unused}
        write(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True).rstrip())
        write("")
    estimate = load("evaluation", "agentrl.eval.estimate:estimate")
    for line in estimate_lines([estimate(plan) for plan in plans]):
        write(line)


def _dry_run_of_rest(args: argparse.Namespace) -> int:
    """What is left of an evaluation that was cut short, and what it will cost by what was played."""
    from agentrl.cli.eval_tables import rest_lines
    from agentrl.registry import load

    for line in rest_lines(load("evaluation", "agentrl.eval.estimate:rests")(args.resume)):
        write(line)
    return 0
