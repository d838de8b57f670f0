from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from traces.errors import DataError
from traces.jsonio import read_rows, write_json, write_jsonl
from traces.record import Message

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
LINES = b'{"a": 1}\n{"a": 2}\n'
ZSTD = zstandard.ZstdCompressor().compress(LINES)
ROWS = st.lists(st.dictionaries(st.text(), JSON_VALUES, max_size=4), min_size=1, max_size=6)


def values(path: Path) -> list[dict[str, Any]]:
    return [row.value for row in read_rows(path)]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=ROWS)
def test_rows_come_back_as_written(tmp_path: Path, suffix: str, rows: list[dict[str, Any]]) -> None:
    path = tmp_path / f"rows{suffix}"
    assert write_jsonl(path, rows) == len(rows)
    assert values(path) == rows


def test_several_frames_are_read_to_the_end(tmp_path: Path) -> None:
    for suffix in (".gz", ".zst"):
        parts = [tmp_path / f"{name}{suffix}" for name in "ab"]
        for part in parts:
            write_jsonl(part, [{"n": part.stem}])
        both = tmp_path / f"both{suffix}"
        both.write_bytes(parts[0].read_bytes() + parts[1].read_bytes())
        assert values(both) == [{"n": "a"}, {"n": "b"}]


def test_places_count_all_lines_but_blank_ones_give_no_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}\r\n  \n{"a": 3}')
    places = [(row.place.rpartition("/")[2], row.value["a"]) for row in read_rows(path)]
    assert places == [("a.jsonl:1", 1), ("a.jsonl:3", 2), ("a.jsonl:5", 3)]


def test_lone_surrogates_are_repaired_on_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "\\uD83D\\uDE00 \\ud83d"}\n')
    assert values(path) == [{"a": "\U0001f600 \ufffd"}]


def test_broken_lines_are_named_and_counted_after_the_good_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": \n[1]\n"x"\n{"a": 2}\nnull\n\xff\xfe\n')
    rows = read_rows(path)
    assert [next(rows).value["a"] for _ in range(2)] == [1, 2]
    with pytest.raises(DataError) as caught:
        next(rows)
    assert caught.value.message.splitlines() == [
        f"{path}:2: broken JSON: Expecting value at column 7",
        f"{path}:3: a JSON array, not an object",
        f"{path}:4: a JSON string, not an object",
        "and 2 more broken lines",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "the file is empty"),
        ("a.jsonl", b"\n \n", "the file is empty"),
        ("a.json", b'[\n{"a": 1}\n]\n', "a.json: one JSON array, not JSON Lines"),
        ("a.jsonl", b'{"a": ' * 99_999, "a.jsonl:1: nested too deep"),
        ("a.jsonl", b'{"a": "\xe9"}', "a.jsonl:1: not UTF-8 at byte 8 of the line"),
        ("a.jsonl.gz", b"plain", r"a.jsonl.gz:1: cannot be read: .*[Nn]ot a gzipped file"),
        ("a.jsonl.zst", b"plain", "a.jsonl.zst:1: cannot be read: zstd"),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)[:-9], "a.jsonl.gz: cut off after line"),
        ("a.jsonl.zst", ZSTD[:-1], "a.jsonl.zst: cut off after line"),
        ("a.jsonl.zst", ZSTD + ZSTD[:9], "a.jsonl.zst: cut off after line 2"),
        ("a.parquet", b"plain", "not a readable Parquet file"),
    ],
)
def test_an_unreadable_file_is_one_clear_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_rows(path))


def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        list(read_rows(tmp_path / "a.jsonl"))
    with pytest.raises(DataError, match="not a file"):
        list(read_rows(tmp_path))


def test_parquet_rows_are_plain_data_with_their_number(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = [{"q": f"{i}", "choices": ["x", "y"], "nested": {"n": i}} for i in range(600)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert values(path) == rows
    assert list(read_rows(path))[599].place == f"{path}:600"
    parquet.write_table(pyarrow.table({"q": pyarrow.array([], pyarrow.string())}), path)
    with pytest.raises(DataError, match="the file is empty"):
        values(path)


def test_nothing_is_written_when_a_row_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = ({"a": 1} if i < 3 else {"a": object()} for i in range(5))
    with pytest.raises(TypeError):
        write_jsonl(path, rows)
    assert list(tmp_path.iterdir()) == []


def test_json_is_written_indented_records_included(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"message": Message("user", "hi")})
    assert path.read_text().startswith('{\n  "message": {\n')
    assert json.loads(path.read_text()) == {"message": {"role": "user", "content": "hi"}}
