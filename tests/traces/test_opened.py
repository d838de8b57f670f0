"""Files that are cut off or of another kind: told by one error, never by rows that are missing."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from traces.errors import DataError
from traces.opened import open_rows

LINES = b"".join(b'{"n": %d}\n' % n for n in range(40_000))
SKIPPED = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
"""A frame that holds no data, as parallel compressors write them."""


def frames() -> bytes:
    half = LINES[: len(LINES) // 2]
    return SKIPPED + b"".join(zstandard.compress(part) for part in (half, LINES[len(half) :]))


def read(path: Path) -> bytes:
    with open_rows(path) as file:
        return b"".join(file)


def test_all_frames_are_read_whatever_lies_between_them(tmp_path: Path) -> None:
    (tmp_path / "a.zst").write_bytes(frames())
    assert read(tmp_path / "a.zst") == LINES
    (tmp_path / "a.gz").write_bytes(gzip.compress(LINES[:9]) + gzip.compress(LINES[9:]))
    assert read(tmp_path / "a.gz") == LINES


@pytest.mark.parametrize("options", [{}, {"write_checksum": True}, {"write_content_size": False}])
@pytest.mark.parametrize("content", [LINES, b"", b" " * 300_000, bytes(range(256)) * 2_000])
def test_a_frame_of_any_kind_is_whole_to_its_last_byte_only(
    tmp_path: Path, content: bytes, options: dict[str, bool]
) -> None:
    whole = zstandard.ZstdCompressor(**options).compress(content)
    path = tmp_path / "a.zst"
    for frames in (whole, SKIPPED + whole + SKIPPED, whole + whole):
        path.write_bytes(frames)
        assert read(path) == content * frames.count(whole)
        for cut in (1, 3, 5):
            path.write_bytes(frames[:-cut])
            with pytest.raises(EOFError):
                read(path)


def test_a_small_file_that_expands_without_end_is_read_row_by_row(tmp_path: Path) -> None:
    line = b"a" * 999 + b"\n"
    (tmp_path / "a.zst").write_bytes(zstandard.compress(line * 32_000))
    tracemalloc.start()
    try:
        with open_rows(tmp_path / "a.zst") as file:
            assert file.readline() == line
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("left", [0.1, 0.5, 0.999])
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_data_that_ends_early_is_an_error(
    tmp_path: Path, suffix: str, left: float
) -> None:
    whole = frames() if suffix == ".zst" else gzip.compress(LINES)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(whole[: int(left * len(whole))])
    with pytest.raises(EOFError):
        read(path)


@pytest.mark.parametrize(
    ("content", "what", "hint"),
    [
        (gzip.compress(LINES, mtime=0), "compressed by gzip", "ends in .gz"),
        (zstandard.compress(LINES), "compressed by zstd", "ends in .zst"),
        ('{"a": 1}\n'.encode("utf-16"), "UTF-16, not UTF-8", "iconv -f UTF-16 -t UTF-8 '"),
        (b'\xef\xbb\xbf [\n {"a": 1}]', "one JSON array, not JSON Lines", "jq -c '.[]' '"),
        (b"PAR1....", "a Parquet file", "ends in .parquet"),
    ],
)
def test_another_kind_of_file_is_named_with_what_to_do(
    tmp_path: Path, content: bytes, what: str, hint: str
) -> None:
    path = tmp_path / "my rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_rows(path)
    assert caught.value.message.startswith(f"{path}: {what}")
    assert hint in caught.value.hint


def test_a_first_line_that_holds_an_array_of_numbers_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'[1, 2]\n{"a": 1}\n')
    assert read(tmp_path / "a.jsonl") == b'[1, 2]\n{"a": 1}\n'


def test_a_table_is_not_read_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,answer\n1,2\n")
    with pytest.raises(DataError, match=r"a\.csv: not JSON Lines or Parquet"):
        open_rows(tmp_path / "a.csv")
