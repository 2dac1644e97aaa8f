"""System programs that tests need: skipped by name where one is missing, failed under CI.

`tests/system_programs.txt` lists them with the Debian package of each; `make test` installs what may be installed.
"""

import os
import shutil
from pathlib import Path

import pytest

PACKAGES: dict[str, str] = dict(
    pair.split("=")
    for line in (Path(__file__).parent / "system_programs.txt").read_text(encoding="utf-8").splitlines()
    for pair in line.partition("#")[0].split()
)
"""program -> Debian package."""

missing: set[str] = set()
"""What tests of this run asked for in vain."""


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("true", "1")


def needs_program(name: str) -> str:
    """Path of a system program. Skips the test where it is missing; fails it under CI=true."""
    package = PACKAGES[name]
    found = shutil.which(name)
    if found is None:
        missing.add(name)
        refuse = pytest.fail if in_ci() else pytest.skip
        refuse(f"needs {name} (apt-get install {package})")
    return str(found)
