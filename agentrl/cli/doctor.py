"""What is installed here, what is missing, and the command that installs it."""

import argparse
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from agentrl.cli.parser import write

MEBIBYTE, GIBIBYTE = 2**20, 2**30
LEAST_DISK = 2 * GIBIBYTE
"""Below this a run with checkpoints may not fit."""


class Finding(NamedTuple):
    """One line of the report."""

    level: str
    """ok; missing: a part of agentrl cannot be used without it; wrong: nothing works until it is put right."""
    name: str
    text: str
    remedy: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="exit code 1 where anything is missing")


def run(args: argparse.Namespace) -> int:
    """Print every finding with its remedy. Returns 1 where something is wrong (--strict: or missing), else 0."""
    findings = [finding for check in CHECKS for finding in check()]
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        write(f"{finding.level:8} {finding.name:{width}}  {finding.text}".rstrip())
        if finding.remedy:
            write(f"{'':8} {'':{width}}  -> {finding.remedy}")
    bad = ("wrong", "missing") if args.strict else ("wrong",)
    return int(any(finding.level in bad for finding in findings))


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _python() -> Iterator[Finding]:
    text = ".".join(map(str, sys.version_info[:3]))
    known = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding("ok" if known else "wrong", "python", text, "" if known else "use Python 3.11, 3.12 or 3.13")


def _packages() -> Iterator[Finding]:
    for package in (
        "torch",
        "transformers",
        "accelerate",
        "safetensors",
        "textworld",
        "alfworld",
        "math-verify",
        "openai",
        "rich",
    ):
        found = _installed(package)
        yield Finding("ok" if found else "wrong", package, found or "", "" if found else "pip install agentrl")
    for package, extra in (
        ("peft", "lora"),
        ("pillow", "vision"),
        ("pyarrow", "parquet"),
        ("reasoning-gym", "reasoning-gym"),
    ):
        found = _installed(package)
        yield Finding(
            "ok" if found else "missing", package, found or "", "" if found else f"pip install 'agentrl[{extra}]'"
        )


def _torchvision() -> Iterator[Finding]:
    """A torchvision that was built for another torch stops every model of transformers from being imported."""
    torch, vision = _installed("torch"), _installed("torchvision")
    if torch is None or vision is None:
        return
    built = [torch.partition("+")[2], vision.partition("+")[2]]
    ours = [".".join(v.partition("+")[0].split(".")[:2]) for v in (torch, vision)]
    fits = int(ours[1].split(".")[1]) == int(ours[0].split(".")[1]) + 15  # 2.9 goes with 0.24, and so on
    same = built[0] == built[1] or "" in built
    if fits and same and _operators_exist():
        yield Finding("ok", "torchvision", vision)
    else:
        yield Finding(
            "wrong",
            "torchvision",
            f"{vision} was not built for torch {torch}: models of transformers cannot be imported",
            "pip uninstall -y torchvision torchaudio torchcodec (nothing here needs them)",
        )


def _operators_exist() -> bool:
    """Does torchvision load, asked of another process, so that this one stays as it is."""
    from agentrl.hardware import output_of

    return output_of([sys.executable, "-c", "import torchvision; print('ok')"], seconds=120).endswith("ok")


def _devices() -> Iterator[Finding]:
    from agentrl.hardware import gpu_names, hardware, usable_cores

    found = hardware()
    memory = f", {found['memory'] / GIBIBYTE:.0f} GiB" if found["memory"] else ""
    yield Finding("ok", "processor", f"{found['processor']}, {usable_cores()} cores{memory}")
    threads = os.environ.get("OMP_NUM_THREADS", "")
    yield Finding("ok", "threads", f"OMP_NUM_THREADS={threads}" if threads else "one a core (setting: threads)")
    names = gpu_names()
    torch = _installed("torch") or ""
    if not names:
        yield Finding("ok", "CUDA", "no NVIDIA driver: models run on the processor")
    elif torch.endswith("+cpu"):
        yield Finding(
            "missing", "CUDA", f"{', '.join(names)}, but torch {torch} cannot use it", "pip install --upgrade torch"
        )
    else:
        yield Finding("ok", "CUDA", ", ".join(names))


def _alfworld_data() -> Iterator[Finding]:
    value = os.environ.get("ALFWORLD_DATA", "")
    if not value:
        yield Finding("ok", "ALFWORLD_DATA", "not set: games are generated (official ones: alfworld-download)")
    elif any((Path(value).expanduser() / name).is_dir() for name in ("json_2.1.1", "json_2.1.2")):
        yield Finding("ok", "ALFWORLD_DATA", value)
    else:
        yield Finding(
            "wrong", "ALFWORLD_DATA", f"{value} holds no json_2.1.1", "alfworld-download, or unset ALFWORLD_DATA"
        )


def _textworld_compiler() -> Iterator[Finding]:
    """Games are compiled by two programs that come with the package, built for its platform."""
    found = importlib.util.find_spec("textworld")
    if found is None or not found.submodule_search_locations:
        return  # told among the packages
    compilers = Path(next(iter(found.submodule_search_locations)), "thirdparty/inform7-6M62/share/inform7/Compilers")
    missing = [name for name in ("ni", "inform6") if not os.access(compilers / name, os.X_OK)]
    if missing:
        text = f"{' and '.join(missing)} cannot be run in {compilers}: textworld cannot make games"
        yield Finding("missing", "Inform", text, "pip install --force-reinstall --no-deps textworld")
    else:
        yield Finding("ok", "Inform", "makes textworld's games")


PROGRAMS = (
    ("git", ("git",), "git", "the commit in meta.json"),
    ("java", ("java",), "default-jre-headless", "the scienceworld world"),
    ("chromium", ("chromium", "chromium-browser", "google-chrome"), "chromium", "worlds that show a browser"),
    ("C compiler", ("cc", "gcc", "clang"), "build-essential", "the fast engine of generated worlds"),
)
"""name, programs of which one is enough, Debian package, what needs it."""


def _programs() -> Iterator[Finding]:
    for name, programs, package, purpose in PROGRAMS:
        found = next((path for path in map(shutil.which, programs) if path), None)
        remedy = "" if found else f"sudo apt-get install -y --no-install-recommends {package}"
        yield Finding("ok" if found else "missing", name, found or f"needed by {purpose}", remedy)


def _sandbox() -> Iterator[Finding]:
    from agentrl.sandbox import REMEDY, available

    way, refused = available()
    if way is None:
        yield Finding("missing", "sandbox", f"needed by rewards that run a model's code ({refused})", REMEDY)
    else:
        instead = f"; {refused}" if refused else ""
        yield Finding("ok", "sandbox", f"{way.kind}: {way.contains}{instead}")


def _room() -> Iterator[Finding]:
    free = shutil.disk_usage(".").free
    enough = free >= LEAST_DISK
    yield Finding(
        "ok" if enough else "missing",
        "disk",
        f"{free / GIBIBYTE:.1f} GiB free in {Path.cwd()}",
        "" if enough else "free some space, or name another place with --out",
    )


def _caches() -> Iterator[Finding]:
    own = Path(os.environ.get("AGENTRL_CACHE") or "~/.cache/agentrl").expanduser()
    hub = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    for name, folder in (("agentrl cache", own), ("hub cache", hub)):
        if not folder.is_dir():
            yield Finding("ok", name, f"{folder} (not there yet)")
            continue
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and not f.is_symlink())
        writable = os.access(folder, os.W_OK)
        text = f"{folder}, {size / MEBIBYTE:.0f} MiB"
        yield Finding("ok" if writable else "wrong", name, text, "" if writable else f"sudo chown -R $USER {folder}")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _packages,
    _torchvision,
    _devices,
    _alfworld_data,
    _textworld_compiler,
    _programs,
    _sandbox,
    _room,
    _caches,
)
