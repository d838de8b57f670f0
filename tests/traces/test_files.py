from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from traces.errors import DataError
from traces.files import replacing
from traces.rows import read_structs, write_structs


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(path.parent) == ["b.txt"]


def test_processes_of_one_id_that_write_the_same_file_do_not_meet(tmp_path: Path) -> None:
    """As those of containers that share a disk are."""
    path = tmp_path / "plan.json"
    with replacing(path) as one, replacing(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"
    assert names(tmp_path) == ["plan.json"]


def fail(path: Path, error: Exception) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise error


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    path.write_text("old")
    with pytest.raises(KeyError):
        fail(path, KeyError())
    with pytest.raises(DataError, match=r"b\.txt: the disk is full"):
        fail(path, OSError(errno.ENOSPC, "No space left on device"))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["b.txt"]


def test_a_full_disk_is_told_as_the_system_does_where_a_stage_writes(tmp_path: Path) -> None:
    """The command then says that it goes on from what is saved."""
    path = tmp_path / "rows.jsonl"
    write_structs(path, [1])

    def rows() -> Iterator[int]:
        yield 2
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space") as caught:
        write_structs(path, rows())
    assert not isinstance(caught.value, DataError)
    assert read_structs(path, int) == [1]
    assert names(tmp_path) == ["rows.jsonl"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        DataError, match=r"b\.txt: cannot be written: (Not a directory|File exists)"
    ):
        fail(tmp_path / "file" / "b.txt", KeyError())
