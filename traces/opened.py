"""Files of rows, opened through their decompressor; one that is cut off or of another kind is told.

A decompressor that meets the end of a file within its data says nothing (zstd), or says it in the
words of an ordinary end (gzip's EOFError), and the rows that are missing would never be missed.
"""

from __future__ import annotations

import gzip
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

from traces.errors import DataError

_PIECE = 1 << 17
_OTHERS = (
    (b"\x1f\x8b", "compressed by gzip", "give it a name that ends in .gz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "give it a name that ends in .zst"),
    (b"PAR1", "a Parquet file", "give it a name that ends in .parquet"),
    (b"SQLite format 3", "a store", "`distill traces export` writes its traces as rows"),
    (b"\xff\xfe", "UTF-16, not UTF-8", "iconv -f UTF-16 -t UTF-8 {path} > NEW.jsonl"),
    (b"\xfe\xff", "UTF-16, not UTF-8", "iconv -f UTF-16 -t UTF-8 {path} > NEW.jsonl"),
)
"""How a file begins that holds no JSON Lines, what it is, and what to do."""
_TABLES = (".csv", ".tsv", ".xls", ".xlsx")
_ARRAY = re.compile(rb"(\xef\xbb\xbf)?\s*\[\s*(\{|$)")


def open_rows(path: Path) -> io.BufferedIOBase:
    """The bytes of a JSON Lines file, `.gz` and `.zst` decompressed, all frames of them.

    Reading raises EOFError where compressed data ends before its end.

    Raises:
        DataError: the file begins as no JSON Lines file does: with an array of objects, in UTF-16,
            compressed under a name that does not say so; or its name is that of a table.
    """
    if path.suffix in _TABLES:
        raise DataError(f"{path}: not JSON Lines or Parquet", "save it as one of them")
    if path.suffix == ".gz":
        return gzip.open(path)
    if path.suffix == ".zst":
        return io.BufferedReader(_Frames(path))
    refuse_other_kinds(path)
    return path.open("rb")


def refuse_other_kinds(path: Path) -> None:
    """Raise DataError where an uncompressed file begins as no JSON Lines file does."""
    with path.open("rb") as file:
        head = file.read(256)
    for start, what, hint in _OTHERS:
        if head.startswith(start):
            raise DataError(f"{path}: {what}", hint.format(path=shlex.quote(str(path))))
    if _ARRAY.match(head):
        raise DataError(
            f"{path}: one JSON array, not JSON Lines: one object on each line",
            f"jq -c '.[]' {shlex.quote(str(path))} > NEW.jsonl",
        )


class _Frames(io.RawIOBase):
    """The content of all zstd frames of a file. EOFError where the file ends within one."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._pieces = _pieces(self._file)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """It can be read, and nothing else."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` with what comes next; returns how many bytes, 0 at the end."""
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        """Close the file below too."""
        self._file.close()
        super().close()


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    frame = None
    while piece := file.read(_PIECE):
        while piece:
            if frame is None:
                frame = zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(piece)
            piece = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("Compressed file ended before the end of a frame")
