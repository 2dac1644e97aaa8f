"""Files of questions as rows: JSON lines, JSON, CSV (each also .gz) and Parquet. Nothing in them is executed."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from agentrl.errors import DataError, missing_package, nearest

csv.field_size_limit(2**24)


class Row(NamedTuple):
    """One row, and where it stands."""

    place: str
    """As `questions.jsonl, line 3`."""
    columns: Mapping[str, Any]


def _text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"data: {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"data: {path}, line {line} is no UTF-8; save the file as UTF-8") from error


def _json_lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_text_of(path).split("\n"), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            columns = json.loads(line)
        except (ValueError, RecursionError) as error:
            what = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise DataError(f"data: {place} is no JSON ({what}); each line must be one object") from None
        yield _row(place, columns)


def _row(place: str, columns: Any) -> Row:
    if not isinstance(columns, Mapping):
        kind = type(columns).__name__
        raise DataError(f'data: {place} is a {kind}; it must be an object, as {{"question": "...", "answer": "..."}}')
    return Row(place, columns)


def _json(path: Path) -> Iterator[Row]:
    text = _text_of(path)
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        raise DataError(f"data: {path}, line {line} is no JSON; JSON lines belong into a .jsonl file") from None
    if not isinstance(rows, list):
        raise DataError(f"data: {path} holds a {type(rows).__name__}; it must be a list of objects")
    for number, columns in enumerate(rows, 1):
        yield _row(f"{path}, row {number}", columns)


def _csv(path: Path) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(_text_of(path), newline=""))
    try:
        for columns in reader:
            place = f"{path}, line {reader.line_num}"
            if None in columns or None in columns.values():
                known = ", ".join(reader.fieldnames or ())
                raise DataError(f"data: {place} has not as many fields as the first line, which names: {known}")
            yield Row(place, columns)
    except csv.Error as error:
        raise DataError(f"data: {path}, line {reader.line_num} is no CSV: {error}") from error


def _parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise missing_package(f"data: {path}", "pyarrow", "pip install 'agentrl[parquet]'") from error
    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for columns in batch.to_pylist():
                    number += 1
                    yield _row(f"{path}, row {number}", columns)
    except (OSError, ValueError) as error:  # pyarrow's own errors are children of these
        raise DataError(f"data: {path} cannot be read: {' '.join(str(error).split())[:200]}") from error


READERS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
"""How a file's name ends, `.gz` aside -> its reader. A Parquet file is compressed in itself."""


def ending_of(path: Path) -> str:
    """`.jsonl` of `x.jsonl.gz`."""
    name = path.name.lower().removesuffix(".gz")
    return name[name.rfind(".") :] if "." in name else ""


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
    return READERS[ending_of(path)](path)
