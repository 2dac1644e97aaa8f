"""Train a model in a world by reinforcement learning, and write a run directory.

agentrl train --env guess --algo grpo --steps 20
agentrl train --config runs/guess-grpo-0/config.yaml --set trainer.lr=3e-4
agentrl train --resume runs/guess-grpo-0
"""

import argparse
from typing import Any

from agentrl.cli.parser import add_reward, add_settings, settings_layers, warn_of_programs, write
from agentrl.errors import ConfigError

SETTING_FLAGS = (
    "env",
    "algo",
    "model",
    "memory",
    "format",
    "reward",
    "steps",
    "seed",
    "lora",
    "lr",
    "threads",
    "run_dir",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser, training=True)
    add_reward(parser)
    parser.add_argument(
        "--out", "--run-dir", dest="run_dir", metavar="FOLDER", help="the run directory; default runs/ENV-ALGO-SEED"
    )
    parser.add_argument("--resume", metavar="RUN", help="go on with a run directory; its configuration is kept")
    parser.add_argument("--dry-run", action="store_true", help="show the configuration and the composition, and stop")
    parser.add_argument("--quiet", action="store_true", help="show nothing but the place of the run directory")


def run(args: argparse.Namespace) -> int:
    """Resolve, check, show, train.   Returns 0; raises AgentRLError for what a user can put right."""
    from agentrl import api
    from agentrl.own_reward import learning_from_reward
    from agentrl.run_directory import read_config

    if args.resume:
        refused = [f"--{name.replace('_', '-')}" for name in _given(args) if name not in ("resume", "dry_run", "quiet")]
        if refused:
            raise ConfigError(f"a resumed run keeps its configuration; give --resume without {', '.join(refused)}")
        config = read_config(f"{args.resume}/config.yaml", run_dir=args.resume)
    else:
        config = learning_from_reward(api.resolve_layers(*settings_layers(args, SETTING_FLAGS)))
    warn_of_programs(config)
    if args.dry_run:
        _show(config, api.check(config))
        return 0

    from agentrl.display import Display, Silent

    display = Silent() if args.quiet else Display()
    result = api.train(config if not args.resume else None, display=display, resume=args.resume or False)
    if args.quiet:
        write(str(result.run_dir))
    return 0


def _given(args: argparse.Namespace) -> list[str]:
    return [name for name, value in vars(args).items() if value not in (None, False, [])]


def _show(config: Any, composition: Any) -> None:
    import yaml

    from agentrl.cli.explain import composition_lines
    from agentrl.settings import to_mapping

    write(yaml.safe_dump(to_mapping(config), sort_keys=False, allow_unicode=True).rstrip())
    write("")
    for line in composition_lines(composition):
        write(f"# {line}".rstrip())
