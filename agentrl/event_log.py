"""TensorBoard events of a run: the same numbers as metrics.jsonl, one curve a name.

Written here, without TensorBoard's own writer: that one writes in a thread, which a full disk ends with a traceback.
A file is a sequence of records, each a length, its checksum, a protocol buffer, its checksum.

    Event    1 wall_time double, 2 step int64, 3 file_version string, 5 summary Summary, 7 session SessionLog
    Summary  1 value, repeated: 1 tag string, 2 simple_value float          SessionLog  1 status (START = 1)
"""

import math
import os
import socket
import struct
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
"""Wire types of protocol buffers."""


class EventLog:
    """Writes to a folder `tensorboard/`; a failure there never stops a run, since metrics.jsonl has everything."""

    def __init__(self, folder: Path, first_step: int) -> None:
        """first_step: a resumed run hides what an earlier start wrote from this step on."""
        self._folder, self._first_step = folder, first_step
        self._path: Path | None = None
        self._num_files = 0

    def log(self, step: int, metrics: Mapping[str, Any], prefix: str) -> None:
        """Add one point to every curve whose value is a finite number."""
        values = b"".join(
            _field(1, _BYTES, _field(1, _BYTES, f"{prefix}/{name}".encode()) + _field(2, _FLOAT, float(value)))
            for name, value in metrics.items()
            if isinstance(value, (int, float)) and math.isfinite(value) and abs(value) < 3e38
        )
        data = _record(_event(step, _field(5, _BYTES, values)))
        try:
            if self._path is None:
                data = self._begun() + data
            assert self._path is not None
            with open(self._path, "ab", buffering=0) as file:
                whole = file.write(data) == len(data)
        except OSError:
            whole = False
        if not whole:
            self._path = None  # what comes after half a record cannot be read: begin a file anew

    def close(self) -> None:
        """Everything is on disk already."""

    def _begun(self) -> bytes:
        """What a new file begins with; its name sorts behind those before it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._num_files += 1
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}.{self._num_files}"
        self._path = self._folder / name
        start = _record(_event(0, _field(3, _BYTES, b"brain.Event:2")))
        if self._first_step and self._num_files == 1:
            start += _record(_event(self._first_step, _field(7, _BYTES, _field(1, _VARINT, 1))))
        return start


def _event(step: int, what: bytes) -> bytes:
    return _field(1, _DOUBLE, time.time()) + _field(2, _VARINT, step) + what


def _field(number: int, kind: int, value: Any) -> bytes:
    """One field of a protocol buffer."""
    key = _varint(number << 3 | kind)
    if kind == _VARINT:
        return key + _varint(value)
    if kind == _BYTES:
        return key + _varint(len(value)) + bytes(value)
    return key + struct.pack("<d" if kind == _DOUBLE else "<f", value)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    """CRC-32C (Castagnoli), rotated and shifted as the format wants it."""
    crc, table = 0xFFFFFFFF, _table()
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


@cache
def _table() -> list[int]:
    found = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ 0x82F63B78 * (number & 1)
        found.append(number)
    return found
