"""Compares what a run logs with the page that explains it."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

PLACEHOLDER = re.compile(r"<[a-z ]+>")


def logged(metrics: Path) -> set[str]:
    """Every key of a metrics.jsonl; nested groups as `group/key`."""
    found: set[str] = set()
    for line in metrics.read_text(encoding="utf-8").splitlines():
        found |= set(_keys(json.loads(line)))
    return found


def _keys(record: dict[str, object], above: str = "") -> Iterable[str]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _keys(value, f"{above}{key}/")
        else:
            yield above + key


def explained(page: Path) -> list[str]:
    """The metrics of a page: every `code` in a heading or in the first cell of a table's row.

    `<name>` in one stands for a part of the key that varies, as in `ends/<kind>`.
    """
    found: list[str] = []
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            found += re.findall(r"`([^`]+)`", line)
        elif line.startswith("|"):
            found += re.findall(r"`([^`]+)`", line.split("|")[1])
    return found


def _matches(key: str, name: str) -> bool:
    return re.fullmatch("[^/]+".join(map(re.escape, PLACEHOLDER.split(name))), key) is not None


def unexplained(metrics: Path, page: Path) -> list[str]:
    """Keys that a run logs and the page does not explain; sorted."""
    names = explained(page)
    return sorted(key for key in logged(metrics) if not any(_matches(key, name) for name in names))


def never_logged(metrics: Iterable[Path], page: Path) -> list[str]:
    """Names on the page that none of the runs logs; in the page's order."""
    keys = set[str]().union(*(logged(file) for file in metrics))
    return [name for name in explained(page) if not any(_matches(key, name) for key in keys)]
