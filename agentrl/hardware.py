"""What a run ran on: versions, processor, memory, accelerators, the commit of this code. Imports nothing heavy."""

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("agentrl", "torch", "transformers", "accelerate", "peft", "safetensors", "textworld", "alfworld", "vllm")
"""Whose versions can change what a run ends with."""


def environment() -> dict[str, Any]:
    """For meta.json: versions, hardware, commit."""
    return {"versions": versions(), "hardware": hardware(), "git": commit_of_this_code()}


def versions() -> dict[str, str]:
    """Python's and the packages' versions; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """System, processor, number of cores, bytes of memory, names of the NVIDIA devices."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": usable_cores(),
        "memory": memory_of_this_machine(),
        "gpus": gpu_names(),
    }


def usable_cores() -> int:
    """Cores that this process may use: in a container fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpu_names() -> list[str]:
    """Names of the NVIDIA devices, by nvidia-smi; empty without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    return output_of(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]).splitlines()


def commit_of_this_code() -> dict[str, Any] | None:
    """{"commit", "changed"} of the checkout that this package runs from; None where it was installed from a wheel."""
    here = Path(__file__).resolve()
    tracked = output_of(["git", "-C", str(here.parent), "ls-files", here.name])
    if not tracked:  # no git, no repository, or one that holds us as somebody's site-packages
        return None
    commit = output_of(["git", "-C", str(here.parent), "rev-parse", "HEAD"])
    changed = output_of(["git", "-C", str(here.parent), "status", "--porcelain", "--untracked-files=no"])
    return {"commit": commit, "changed": bool(changed)}


def output_of(command: list[str], seconds: float = 10) -> str:
    """What a short command prints, stripped; empty where it is missing, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    if sys.platform == "linux":
        try:
            for line in Path("/proc/cpuinfo").read_text().splitlines():
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
        except OSError:
            pass
    return platform.processor() or platform.machine()


def memory_of_this_machine() -> int | None:
    """Bytes of memory; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
