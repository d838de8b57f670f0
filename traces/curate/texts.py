"""One field of every row of a file: read once in order, then again wherever it is asked for."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from traces.codec import without_surrogates
from traces.errors import DataError
from traces.jsonio import Fault, Faults, Row, json_fault, read_each, row_of
from traces.opened import refuse_other_kinds

_BUFFER = 1 << 17
BATCH = 1 << 16
PER_TEXT = 1 << 10  # what a text has beside its characters, such as its sketch
PLAIN = (".jsonl", ".json", ".ndjson", ".txt", "")


class Texts:
    """The texts of `path`. Of plain files only the place of each row is kept in memory.

    Rows that are broken or lack the field have an empty text and are noted in `faults`.
    """

    def __init__(self, path: Path, field: str, faults: Faults) -> None:
        self.path = path
        self.field = field
        self.faults = faults
        self._starts, self._ends = array("q"), array("q")
        self._kept: list[str] = []
        self._decode = msgspec.json.Decoder().decode
        if not path.is_file():
            raise DataError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
        self.size = path.stat().st_size
        if path.suffix in PLAIN:
            refuse_other_kinds(path)
        self._file = path.open("rb", _BUFFER) if path.suffix in PLAIN else None

    def __len__(self) -> int:
        return len(self._starts) or len(self._kept)

    def __enter__(self) -> Texts:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def every(self) -> Iterator[list[str]]:
        """The texts of all rows in order, some at a time. To be called once, before `text`.

        Raises:
            DataError: the file is missing or unreadable, or no row has the field.
        """
        some = False
        for texts in batches(self._kept_rows() if self._file is None else self._rows()):
            some = some or any(texts)
            yield texts
        if len(self) and not some:
            self.faults.raise_if_any("broken rows", f"choose another field than {self.field}")

    def text(self, number: int) -> str:
        """The text of one row."""
        if self._file is None:
            return self._kept[number]
        start = self._starts[number]
        line = os.pread(self._file.fileno(), self._ends[number] - start, start)
        text = self._quickly(line)
        if text is None:
            value = text_of(parse_row(f"{self.path}:{number}", line), (self.field,))
            text = value if isinstance(value, str) else ""
        return text

    def _quickly(self, line: bytes) -> str | None:
        """The text of a row that is as it should be."""
        try:
            text = self._decode(line)[self.field]
        except (KeyError, TypeError, ValueError, RecursionError):
            return None
        return text if type(text) is str else None

    def _kept_rows(self) -> Iterator[str]:
        for row in read_each(self.path):
            self._kept.append(self._text(row))
            yield self._kept[-1]

    def _rows(self) -> Iterator[str]:
        assert self._file is not None
        start = 0
        for number, line in enumerate(self._file, 1):
            end = start + len(line)
            text = self._quickly(line)
            if text is not None or line.strip():
                self._starts.append(start)
                self._ends.append(end)
                if text is None:
                    text = self._text(parse_row(f"{self.path}:{number}", line))
                yield text
            start = end

    def _text(self, row: Row | Fault) -> str:
        text = text_of(row, (self.field,))
        if isinstance(text, Fault):
            self.faults.add(*text)
            return ""
        return text


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in lists, each of about as many characters as stay in a processor's cache."""
    some, size = [], 0
    for text in texts:
        some.append(text)
        size += len(text) + PER_TEXT
        if size >= BATCH:
            yield some
            some, size = [], 0
    if some:
        yield some


def parse_row(place: str, line: bytes) -> Row | Fault:
    """The row that a line holds."""
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _slowly(place, line)
    return row_of(place, value)


def _slowly(place: str, line: bytes) -> Row | Fault:
    """What the strict decoder refuses: lone surrogates are mended, all else is a fault."""
    import json

    try:
        value = without_surrogates(json.loads(line.decode().removeprefix("\ufeff")))
    except (ValueError, RecursionError) as error:
        return Fault(place, json_fault(error))
    return row_of(place, value)


def text_of(row: Row | Fault, fields: Sequence[str]) -> str | Fault:
    """The first of `fields` that the row has, or why there is none."""
    if isinstance(row, Fault):
        return row
    for field in fields:
        value = row.value.get(field)
        if isinstance(value, str):
            return value
        if value is not None:
            return Fault(row.place, f"{field}: {value!r:.40} is not text")
    has = ", ".join(row.value)[:200] or "nothing"
    return Fault(row.place, f"{' or '.join(fields)}: missing; the row has {has}")
