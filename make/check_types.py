"""mypy over all rooms: in a folder of links in which `agentrl/` holds them, as the wheel does.

`mypy -p agentrl` in the checkout sees the core alone and is green and blind. Therefore the number of files that mypy
says it has checked is compared with the number that there are.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINKS = ROOT / ".lint"


def rooms(root: Path = ROOT) -> dict[str, Path]:
    """Package name -> folder of the core and of each room, as pyproject.toml has them."""
    table = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-dir"]
    return {"agentrl": root / "agentrl", **{name: root / folder for name, folder in table.items()}}


def source_files(root: Path = ROOT) -> list[Path]:
    """Every Python file of the core and the rooms."""
    return sorted(file for folder in rooms(root).values() for file in folder.rglob("*.py"))


def make_links(links: Path = LINKS, root: Path = ROOT) -> Path:
    """A folder with one package `agentrl`, made of links into the checkout. Returns it."""
    package = links / "agentrl"
    package.mkdir(parents=True, exist_ok=True)
    wanted = {entry.name: entry for entry in (root / "agentrl").iterdir() if entry.name != "__pycache__"}
    wanted |= {name.removeprefix("agentrl."): folder for name, folder in rooms(root).items() if name != "agentrl"}
    for old in package.iterdir():
        if old.name not in wanted or old.resolve() != wanted[old.name].resolve():
            old.unlink()
    for name, target in wanted.items():
        if not (package / name).exists():
            (package / name).symlink_to(target)
    return links


def main() -> int:
    links = make_links()
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "-p", "agentrl"]
    command += ["--no-namespace-packages"]  # folders of data are no modules
    command += ["--cache-dir", str(ROOT / ".mypy_cache")]
    done = subprocess.run(command, cwd=links, capture_output=True, text=True)
    print((done.stdout + done.stderr).strip())
    if done.returncode:
        return done.returncode
    match = re.search(r"in (\d+) source files?", done.stdout)
    checked, there = int(match[1]) if match else 0, len(source_files())
    if checked != there:
        print(f"mypy checked {checked} files, but there are {there}: a folder is missing from its sight")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
