"""A run's best model, or a checkpoint's, as a Hugging Face folder; or its episodes as JSON lines or an Inspect log.

agentrl export runs/guess-grpo-0 my-model
agentrl export runs/alfworld-epo-0/checkpoints/step-000010 my-model --merge
agentrl export runs/guess-grpo-0 episodes.jsonl --trajectories
agentrl export runs/guess-eval episodes.eval --inspect
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from agentrl.cli.parser import write
from agentrl.errors import DataError

ADAPTER = "adapter"
"""Inside a checkpoint that was trained with LoRA: the adapter alone. The weights beside it are the merged ones."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="RUN", help="a run directory, or one of its checkpoints")
    parser.add_argument("target", metavar="FOLDER", help="a new folder; with --trajectories or --inspect a new file")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--merge", action="store_true", help="LoRA: the merged weights alone, without the adapter")
    what.add_argument("--adapter", action="store_true", help="LoRA: the adapter alone, as peft loads it")
    what.add_argument("--trajectories", action="store_true", help="the episodes, one a line, in the order of the steps")
    what.add_argument(
        "--inspect",
        action="store_true",
        help="the episodes of an evaluation, or of the last judgement, as a log for `inspect view`: .eval or .json",
    )


def run(args: argparse.Namespace) -> int:
    """Copy whole or not at all.   Raises DataError for what is missing or cannot be written."""
    target = Path(args.target)
    if target.exists():
        file = args.trajectories or args.inspect
        raise DataError(f"{target} exists already; name a new {'file' if file else 'folder'}")
    if args.trajectories:
        count = export_trajectories(Path(args.source), target)
        write(f"{count} episodes written to {target}")
        return 0
    if args.inspect:
        from agentrl.registry import load

        count = load("report", "agentrl.eval.inspect_log:write_inspect_log")(args.source, target)
        write(f"{count} episodes written to {target}; look at them with: inspect view start --log-dir {target.parent}")
        return 0
    folder = _model_folder(Path(args.source))
    if args.adapter:
        if not (folder / ADAPTER).is_dir():
            raise DataError(f"{folder} holds no adapter: it was not trained with --lora")
        export_folder(folder / ADAPTER, target)
    else:
        leave_out = ("trainer", ADAPTER) if args.merge else ("trainer",)
        export_folder(folder, target, leave_out, own_settings(folder))
    write(f"{folder} written to {target}")
    return 0


def _model_folder(source: Path) -> Path:
    from agentrl.models.defaults import model_of_run

    if not source.is_dir():
        raise DataError(f"there is no folder {source}; name a run directory or a checkpoint")
    folder = model_of_run(source) or source
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder} is neither a run directory nor a checkpoint: it holds no config.json")
    return folder


def own_settings(folder: Path) -> dict[str, Any]:
    """What agentrl.json has to say where the run directory is no longer around: format, memory, rollout."""
    from agentrl.models.defaults import model_defaults, run_defaults
    from agentrl.settings import merge

    trained = {k: v for k, v in run_defaults(folder).items() if k not in ("env", "env_settings")}
    return merge(model_defaults(str(folder)), trained)


def export_folder(
    source: Path, target: Path, leave_out: tuple[str, ...] = (), settings: dict[str, Any] | None = None
) -> None:
    """Copy a model's files under a temporary name beside the target, sync, rename; `settings` become agentrl.json."""
    from agentrl.models.defaults import SETTINGS_FILE
    from agentrl.run_directory import cannot_write, sync_folder, write_json

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            copy = temporary / "model"
            shutil.copytree(source, copy, ignore=lambda _, names: [n for n in names if n in leave_out])
            if settings is not None:
                write_json(copy / SETTINGS_FILE, settings)
            for path in copy.rglob("*"):
                if path.is_file():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
            os.replace(copy, target)
            sync_folder(target.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except shutil.Error as error:  # a list of what could not be copied
        raise DataError(f"cannot write {target}: {error.args[0][0][2]}") from error
    except OSError as error:
        raise cannot_write(target, error) from error


def export_trajectories(source: Path, target: Path) -> int:
    """Every stored episode of a run as a line of JSON; returns how many."""
    import json

    from agentrl.records import read_trajectories, trajectory_to_json
    from agentrl.run_directory import write_whole

    files = sorted((source / "trajectories").glob("step-*.jsonl.gz"))
    if not files:
        raise DataError(f"{source} holds no trajectories")
    lines = [
        json.dumps(trajectory_to_json(trajectory), ensure_ascii=False) + "\n"
        for file in files
        for trajectory in read_trajectories(file)
    ]
    write_whole(target, "".join(lines).encode())
    return len(lines)
