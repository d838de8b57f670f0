"""Rows of JSON Lines and Parquet files, with the line each came from; JSON written whole.

A broken file is one error that names the first three faults by line and counts them all, so it is
read to its end even where the first line is broken.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jsonlines
import msgspec
import zstandard

from traces.codec import without_surrogates
from traces.errors import DataError
from traces.files import replacing
from traces.opened import open_rows

NAMED_FAULTS = 3


class Row(NamedTuple):
    """One row of a file. `place` is `file:line`; for Parquet the line is the row, from 1."""

    place: str
    value: dict[str, Any]


class Fault(NamedTuple):
    """A line that holds no row, and why."""

    place: str
    what: str


class Faults:
    """Faults of a file: `named` has the first few in words, `count` says how many there are."""

    def __init__(self) -> None:
        self.count = 0
        self.named: list[str] = []

    def add(self, place: str, what: str) -> None:
        """Note one fault."""
        self.count += 1
        if self.count <= NAMED_FAULTS:
            self.named.append(f"{place}: {what}")

    def raise_if_any(self, what: str, hint: str) -> None:
        """Raise a DataError with one line for each named fault and one for the rest."""
        if not self.count:
            return
        rest = self.count - len(self.named)
        more = [f"and {rest} more {what}"] if rest else []
        raise DataError("\n".join([*self.named, *more]), hint)


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a `.parquet` or JSON Lines file (also `.gz`, `.zst`), one at a time.

    Blank lines are skipped; a byte-order mark and CRLF line ends are harmless; a lone surrogate
    becomes U+FFFD.

    Raises:
        DataError: the file is missing, empty or unreadable; or, after the last good row, lines are
            broken: the first three named, and the count of all; a compressed file is cut off.
    """
    faults = Faults()
    empty = True
    for row in read_each(path):
        empty = False
        if isinstance(row, Row):
            yield row
        else:
            faults.add(*row)
    faults.raise_if_any("broken lines", "each line must be one JSON object")
    if empty:
        raise DataError(f"{path}: the file is empty")


def read_each(path: Path) -> Iterator[Row | Fault]:
    """As `read_rows`, a broken line in its place among the others; an empty file has no rows.

    Raises:
        DataError: the file is missing, unreadable or cut off, or is no JSON Lines.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file" if not path.exists() else f"{path}: not a file")
    return _parquet_rows(path) if path.suffix == ".parquet" else _json_rows(path)


def write_jsonl(path: Path, rows: Iterable[Any]) -> int:
    """Write one line for each of `rows` (dicts or records); returns how many. Whole or not at all.

    `.gz` and `.zst` compress. Bytes become base64.
    """
    count = 0
    with (
        replacing(path) as temporary,
        _compressing(temporary, path.suffix) as file,
        jsonlines.Writer(file, dumps=msgspec.json.encode) as writer,
    ):
        for count, row in enumerate(rows, 1):  # noqa: B007
            writer.write(row)
    return count


def write_json(path: Path, value: Any) -> None:
    """Write `value` (plain data or a record) as indented JSON. Whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def _json_rows(path: Path) -> Iterator[Row | Fault]:
    line = 0

    def lines(file: Iterable[bytes]) -> Iterator[bytes]:
        nonlocal line
        try:
            for line, text in enumerate(file, 1):  # noqa: B007
                yield text
        except EOFError as error:  # the reader says EOFError where all is well
            raise DataError(
                f"{path}: cut off after line {line}", "copy or download it again"
            ) from error

    try:
        with open_rows(path) as file:
            reader = jsonlines.Reader(lines(file), loads=_loads)
            while True:
                try:
                    value = reader.read(allow_none=True, skip_empty=True)
                except EOFError:
                    return
                except jsonlines.InvalidLineError as error:
                    yield Fault(f"{path}:{error.lineno}", json_fault(error.__cause__))
                else:
                    yield row_of(f"{path}:{line}", value)
    except (OSError, zlib.error, zstandard.ZstdError) as error:
        raise DataError(f"{path}:{line + 1}: cannot be read: {error}") from error


def row_of(place: str, value: Any) -> Row | Fault:
    """The row, or the fault of being something else than an object."""
    if isinstance(value, dict):
        return Row(place, value)
    return Fault(place, f"a JSON {_json_name(value)}, not an object")


def _loads(line: str) -> Any:
    try:
        value = json.loads(line.rstrip("\r\n"))
        return without_surrogates(value) if "\\ud" in line.lower() else value
    except RecursionError as error:
        raise ValueError(json_fault(error)) from error


def json_fault(error: BaseException | None) -> str:
    """What is wrong with a line, of the error that decoding it raised."""
    if isinstance(error, json.JSONDecodeError):
        return f"broken JSON: {error.msg} at column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start + 1} of the line"
    if isinstance(error, RecursionError):
        return "nested too deep"
    return str(error)


def _json_name(value: Any) -> str:
    names = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def _compressing(path: Path, suffix: str) -> io.BufferedIOBase | BinaryIO:
    if suffix == ".gz":
        return gzip.open(path, "wb")
    if suffix == ".zst":
        return zstandard.ZstdCompressor().stream_writer(path.open("wb"))
    return path.open("wb")


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                for value in batch.to_pylist():
                    number += 1
                    yield Row(f"{path}:{number}", value)
    except (pyarrow.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable Parquet file: {first}") from error
