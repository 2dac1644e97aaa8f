"""The pictures of the study of preferences: SVG files that need nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_charts(folder: Path, before: Mapping[str, Any], results: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """A file for each part that varies a strength."""
