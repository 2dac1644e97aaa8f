"""Files of questions as rows: JSON lines, JSON, CSV (each also .gz) and Parquet. Nothing in them is executed."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from agentrl.errors import DataError, nearest
from agentrl.row_files import Row, ending_of, json_lines, json_list, parquet, text_of

csv.field_size_limit(2**24)
_SHOWN = '{"question": "...", "answer": "..."}'


def _csv(path: Path, shown: str) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text_of(path), newline=""))
    try:
        for columns in reader:
            place = f"{path}, line {reader.line_num}"
            if None in columns or None in columns.values():
                known = ", ".join(reader.fieldnames or ())
                raise DataError(f"data: {place} has not as many fields as the first line, which names: {known}")
            yield Row(place, columns)
    except csv.Error as error:
        raise DataError(f"data: {path}, line {reader.line_num} is no CSV: {error}") from error


READERS: Mapping[str, Callable[[Path, str], Iterator[Row]]] = {
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".json": json_list,
    ".csv": _csv,
    ".parquet": parquet,
}
"""How a file's name ends, `.gz` aside -> its reader. A Parquet file is compressed in itself."""


def files_of(data: str) -> list[tuple[str, Path]]:
    """The files that a name stands for, each with its name without endings: the file, or a folder's, two levels deep.

    Raises DataError where there are none.
    """
    path = Path(data).expanduser()
    if path.is_file():
        if ending_of(path) not in READERS:
            raise DataError(f"data: {path} has an unknown ending; known: {', '.join(READERS)}, with .gz too")
        return [(_stem(path.name), path)]
    if not path.is_dir():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(
            f"data: there is no file or folder {data}{nearest(path.name, beside)} "
            "(also: generated, reasoning-gym:NAME, module:function)"
        )
    found = sorted(p for depth in ("*", "*/*") for p in path.glob(depth) if p.is_file() and ending_of(p) in READERS)
    if not found:
        raise DataError(f"data: {path} holds no file of questions; known endings: {', '.join(READERS)}, with .gz too")
    return [(_stem(str(p.relative_to(path))), p) for p in found]


def _stem(name: str) -> str:
    name = name[:-3] if name.lower().endswith(".gz") else name
    return name.rpartition(".")[0] or name


def rows_of(path: Path) -> Iterator[Row]:
    """The rows of a file.   Raises DataError with file and line, MissingDependency for Parquet without pyarrow."""
    for row in READERS[ending_of(path)](path, _SHOWN):
        if row.problem:
            raise DataError(f"data: {row.place} {row.problem}")
        yield row
