"""Files of rows, opened through their decompressor; one that is cut off or of another kind is told.

A decompressor that meets the end of a file within its data says nothing (zstd), or says it in the
words of an ordinary end (gzip's EOFError), and the rows that are missing would never be missed.
"""

from __future__ import annotations

import gzip
import io
import re
import shlex
import struct
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from traces.errors import DataError

_PIECE = 1 << 17
_LONGEST_HEADER = 18
_SKIPPABLE = 0x184D2A50
_REPEATED = 1
"""The kind of block that holds one byte, whatever its length."""
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
        return io.BufferedReader(_Frames(path), _PIECE)
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
    """The content of all zstd frames of a file. EOFError where the file ends within one.

    What a frame expands to is not held: a small file may hold a great deal.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        decompressor = zstandard.ZstdDecompressor()
        self._reader = decompressor.stream_reader(self._file, read_across_frames=True)

    def readable(self) -> bool:
        """It can be read, and nothing else."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer` with what comes next; returns how many bytes, 0 at the end."""
        count = self._reader.readinto(buffer)
        if not count and not _ends_with_a_frame(self._file):
            raise EOFError("Compressed file ended before the end of a frame")
        return count

    def close(self) -> None:
        """Close the file below too."""
        self._file.close()
        super().close()


def _ends_with_a_frame(file: BinaryIO) -> bool:
    """Whether zstd frames fill a file to its end, by their headers (RFC 8878, section 3.1)."""
    size, place = file.seek(0, io.SEEK_END), 0
    while place < size:
        file.seek(place)
        head = file.read(_LONGEST_HEADER)
        try:
            place += _frame_size(file, place, head)
        except (zstandard.ZstdError, struct.error):
            return False
    return place == size


def _frame_size(file: BinaryIO, place: int, head: bytes) -> int:
    magic, content = struct.unpack_from("<II", head)
    if magic & ~0xF == _SKIPPABLE:
        return 8 + int(content)
    end = place + zstandard.frame_header_size(head)
    last = 0
    while not last:
        file.seek(end)
        low, high = struct.unpack("<HB", file.read(3))
        last, kind, length = low & 1, low >> 1 & 3, (high << 16 | low) >> 3
        end += 3 + (1 if kind == _REPEATED else length)
    checksum = 4 if zstandard.get_frame_parameters(head).has_checksum else 0
    return end + checksum - place
