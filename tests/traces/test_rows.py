from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces import rows
from traces.errors import DataError
from traces.rows import StructFile, read_structs, write_structs


@given(st.lists(st.text(max_size=20), max_size=20))
def test_a_file_reads_as_the_list_that_was_written(
    tmp_path_factory: pytest.TempPathFactory, values: list[str]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "values.jsonl"
    write_structs(path, values)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rows, "_CHUNK", 9)
        patched.setattr(rows, "_GROUP", 3)
        assert_is_that_list(StructFile(path, str), path, values)
    assert_is_that_list(StructFile(path, str), path, values)


def assert_is_that_list(found: StructFile[str], path: Path, values: list[str]) -> None:
    assert list(found) == values == read_structs(path, str)
    assert len(found) == len(values)
    assert [found[n] for n in range(-len(values), len(values))] == values * 2
    assert found[1:7:2] == values[1:7:2]


def test_a_last_line_without_an_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "values.jsonl"
    path.write_bytes(b"1\n22\n333")
    found = StructFile(path, int)
    assert (list(found), found[-1], len(found)) == ([1, 22, 333], 333, 3)
    with pytest.raises(IndexError):
        found[3]


def test_a_broken_line_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "values.jsonl"
    path.write_bytes(b'1\n"two"\n3\n')
    found = StructFile(path, int)
    assert found[2] == 3
    for read in (lambda: found[1], lambda: list(found)):
        with pytest.raises(DataError, match=r"values\.jsonl:2: "):
            read()
    with pytest.raises(DataError, match="is missing"):
        StructFile(tmp_path / "none.jsonl", int)


def test_a_value_that_cannot_be_written_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_structs(path, [1, 2])
    with pytest.raises(TypeError):
        write_structs(path, [3, object()])
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.jsonl"]
    assert path.read_bytes() == b"1\n2\n"
