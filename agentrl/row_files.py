"""Files of rows: JSON lines, JSON (each also .gz) and Parquet. Nothing in them is executed.

A line that is no row is told as one, so that a reader can go on to the next; a file that cannot be read on is an error.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from agentrl.errors import DataError, missing_package

LONGEST = 2**24
"""Bytes of the longest line that is read."""
_GZIP = b"\x1f\x8b"


class Row(NamedTuple):
    """One row, and where it stands."""

    place: str
    """As `questions.jsonl, line 3`."""
    columns: Mapping[str, Any]
    problem: str = ""
    """What is wrong with it, in words that follow the place; it then has no columns."""


def rows(path: Path, shown: str = "") -> Iterator[Row]:
    """The rows of a file, by its ending, as they stand there.

    shown: an example of a row, for what is told of one that is no object.
    Raises DataError for a file that cannot be read, MissingDependency for Parquet without pyarrow.
    """
    return READERS[ending_of(path)](path, shown)


def ending_of(path: Path) -> str:
    """`.jsonl` of `x.jsonl.gz`."""
    name = path.name.lower().removesuffix(".gz")
    return name[name.rfind(".") :] if "." in name else ""


def text_of(path: Path) -> str:
    """A whole file as text, decompressed where its name ends with .gz.   Raises DataError."""
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


def json_lines(path: Path, shown: str = "") -> Iterator[Row]:
    """A row for each line that is not blank."""
    number = 0
    try:
        with path.open("rb") as file:
            packed = path.suffix.lower() == ".gz" or file.read(2) == _GZIP
            file.seek(0)
            stream: Any = gzip.GzipFile(fileobj=file) if packed else file
            while line := stream.readline(LONGEST + 1):
                number += 1
                place = f"{path}, line {number}"
                if len(line) > LONGEST:
                    _skip_line(stream, line)
                    yield Row(place, {}, f"has more than {LONGEST >> 20} MB; each line must be one row")
                elif line.strip(b"\xef\xbb\xbf \t\r\n"):
                    yield _of_line(place, line, shown)
    except (EOFError, zlib.error) as error:
        where = f"after line {number}" if number else "at its beginning"
        raise DataError(f"data: {path} breaks off {where} (gzip: {error}); copy or download it again") from error
    except OSError as error:
        raise DataError(f"data: {path} cannot be read: {error.strerror or error}") from error


def _skip_line(stream: IO[bytes], line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = stream.readline(LONGEST)


def _of_line(place: str, line: bytes, shown: str) -> Row:
    try:
        return _checked(place, _parsed(line.decode("utf-8-sig").rstrip("\r\n")), shown)
    except UnicodeDecodeError:
        return Row(place, {}, "is no UTF-8; save the file as UTF-8")
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")
        return Row(place, {}, f"is no JSON ({what} at column {error.colno}); each line must be one object")
    except (ValueError, RecursionError) as error:
        return Row(place, {}, f"is no JSON ({error}); each line must be one object")


def _parsed(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_without_repeats)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for place, (key, _) in enumerate(pairs) if key in dict(pairs[:place]))
        raise ValueError(f"the key {twice!r} stands twice in an object")
    return found


def _checked(place: str, columns: Any, shown: str) -> Row:
    if isinstance(columns, Mapping):
        return Row(place, columns)
    example = f", as {shown}" if shown else ""
    return Row(place, {}, f"is a {type(columns).__name__}; it must be an object{example}")


def json_list(path: Path, shown: str = "") -> Iterator[Row]:
    """A row for each item of a JSON file that is one list."""
    text = text_of(path)
    try:
        found = _parsed(text)
    except json.JSONDecodeError as error:
        raise DataError(f"data: {path}, line {error.lineno} is no JSON; JSON lines belong into a .jsonl file") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"data: {path} is no JSON: {error}") from None
    if not isinstance(found, list):
        raise DataError(f"data: {path} holds a {type(found).__name__}; it must be a list of objects")
    for number, columns in enumerate(found, 1):
        yield _checked(f"{path}, row {number}", columns, shown)


def parquet(path: Path, shown: str = "") -> Iterator[Row]:
    """The rows of a Parquet file, which is compressed in itself."""
    try:
        import pyarrow.parquet as reader
    except ImportError as error:
        raise missing_package(f"data: {path}", "pyarrow", "pip install 'agentrl[parquet]'") from error
    number = 0
    try:
        with reader.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for columns in batch.to_pylist():
                    number += 1
                    yield Row(f"{path}, row {number}", columns)
    except (OSError, ValueError) as error:  # pyarrow's own errors are children of these
        where = f" after row {number}" if number else ""
        raise DataError(f"data: {path} cannot be read{where}: {' '.join(str(error).split())[:200]}") from error


READERS: Mapping[str, Callable[[Path, str], Iterator[Row]]] = {
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".json": json_list,
    ".parquet": parquet,
}
"""How a file's name ends, `.gz` aside -> its reader."""
