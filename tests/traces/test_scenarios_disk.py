"""The store under what disks do: each time, what was announced is there, once, and it goes on."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.children import Children, Outcome
from tests.scenario import stored
from traces.store import TraceStore

COUNT = 24
KILL, TORN = -1, -2


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    """Children whose system calls can be made to fail."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler: system calls are made to fail by a preloaded library")
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    source = Path(__file__).parents[1] / "syscall_faults.c"
    flags = ["-O1", "-shared", "-fPIC", "-Wall", "-Werror", "-ldl"]
    subprocess.run([compiler, "-o", library, source, *flags], check=True)
    with Children(preload=library) as children:
        yield children


def write(children: Children, folder: Path, *faults: int) -> Outcome:
    limits = {"faults": [str(folder), *(faults or (0, 0, 0))]}
    return children.run("write", path=str(folder / "traces.sqlite"), count=COUNT, limits=limits)


def nothing_lost(folder: Path, outcome: Outcome) -> None:
    """What was announced is there, whole and once."""
    rows = stored(folder) if (folder / "traces.sqlite").exists() and holds_traces(folder) else []
    keys = [row.key for row in rows]
    assert len(set(keys)) == len(keys)
    assert set(outcome.acknowledged) <= set(keys)
    assert len(set(outcome.acknowledged)) == len(outcome.acknowledged)
    assert all(row.content.startswith(f"{row.key[1:]} because") for row in rows)


def holds_traces(folder: Path) -> bool:
    connection = sqlite3.connect(folder / "traces.sqlite")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    connection.close()
    return bool(tables)


@pytest.mark.slow
def test_killed_at_each_system_call_of_the_writer_it_loses_nothing(
    tmp_path: Path, faulty: Children
) -> None:
    hit = 0
    for at in range(1, system_calls(faulty, tmp_path) + 1):
        folder = tmp_path / str(at)
        folder.mkdir()
        killed = write(faulty, folder, at, 1, TORN if at % 2 else KILL)
        if killed.code == 0:  # commits are grouped by time, so the number of calls varies
            assert killed.number("calls") < at
        else:
            assert killed.code == -9, at
            hit += 1
        goes_on(faulty, folder, killed)
    assert hit > 30


@pytest.mark.slow
@pytest.mark.parametrize(("error", "step"), [(errno.ENOSPC, 1), (errno.EIO, 3)])
def test_an_error_at_each_system_call_of_the_writer_costs_nothing(
    tmp_path: Path, faulty: Children, error: int, step: int
) -> None:
    held = 0
    for at in range(1, system_calls(faulty, tmp_path) + 1, step):
        folder = tmp_path / str(at)
        folder.mkdir()
        hit = write(faulty, folder, at, 3, error)
        if hit.code:
            assert "disk is full" in hit.said[0] or "disk I/O error" in hit.said[0]
        else:
            held += 1
            assert len(hit.acknowledged) == COUNT
        assert hit.code in (0, 1, 2)
        goes_on(faulty, folder, hit)
    if error == errno.ENOSPC:  # once it writes, a full disk is waited for
        assert held > 20


def system_calls(children: Children, folder: Path) -> int:
    """How many change the files of a store while it is written without a fault."""
    (folder / "whole").mkdir()
    calls = write(children, folder / "whole").number("calls")
    assert calls > 30
    return calls


def goes_on(children: Children, folder: Path, outcome: Outcome) -> None:
    """Nothing is lost, and the same writer does the rest and no more."""
    nothing_lost(folder, outcome)
    again = write(children, folder)
    assert again.code == 0
    assert len(stored(folder)) == COUNT
    assert not set(again.acknowledged) & set(outcome.acknowledged)
    shutil.rmtree(folder)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A small file system of its own at `folder`."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs root and the right to mount a small file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_file_system_holds_the_writer_until_there_is_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    noise = random.Random(3).randbytes(60_000).hex()
    with mounted(disk, "size=1m"), Children() as children:
        grow = ["sh", "-c", f"sleep 0.6; mount -o remount,size=40m {disk}"]
        with subprocess.Popen(grow):
            outcome = children.run(
                "write", path=str(disk / "traces.sqlite"), count=100, content=noise
            )
        assert (outcome.code, len(outcome.acknowledged)) == (0, 100)
        assert len(stored(disk)) == 100


def test_a_file_system_for_reading_only_is_one_clear_line(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "ro"), Children() as children:
        outcome = children.run("write", path=str(disk / "traces.sqlite"), count=1)
    assert outcome.code == 2
    assert outcome.said == [
        f"error DataError {disk}/traces.sqlite: cannot be written: Read-only file system "
        "hint: choose a place that can be read and written"
    ]


def test_a_file_system_without_locks_is_warned_about_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("traces.filelock.fcntl.flock", no_locks)
    TraceStore.open(tmp_path / "traces.sqlite").close()
    assert "keep other writers away" in caplog.text


def test_a_store_of_version_1_is_read_and_goes_on(tmp_path: Path) -> None:
    with Children() as children:
        path = str(tmp_path / "traces.sqlite")
        children.run("write", path=path, count=5)
        connection = sqlite3.connect(path)
        connection.executescript("DROP TABLE scores; PRAGMA user_version = 1")
        connection.close()
        assert len(stored(tmp_path)) == 5
        assert children.run("write", path=path, count=8).acknowledged == ["k5", "k6", "k7"]
    assert [row.key for row in stored(tmp_path)] == [f"k{n}" for n in range(8)]
