from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from tests.tiny_traces import make_prompt, make_trace
from traces.errors import DataError
from traces.record import TeacherRecord, Trace
from traces.salvage import salvage
from traces.store import TraceStore

PROMPTS = [make_prompt(f"What is {number} + {number}?") for number in range(200)]
TRACES = [
    make_trace(prompt, f"<think>{prompt.source} twice {n}</think>It is {2 * n}. " * (1 + n % 40))
    for n, prompt in enumerate(PROMPTS)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with TraceStore.open(tmp_path / "traces.sqlite") as store:
        store.add_prompts(PROMPTS)
        store.add_teacher(TeacherRecord("teacher", "file", "m"))
        for trace in TRACES:
            store.add(trace)
    return tmp_path / "traces.sqlite"


def read(path: Path) -> list[Trace]:
    with TraceStore.open(path, readonly=True) as store:
        return list(store.traces(latest=False))


def test_a_sound_store_comes_out_whole(path: Path, tmp_path: Path) -> None:
    found = salvage(path, tmp_path / "new.sqlite")
    assert found.rows == {"prompts": 200, "teachers": 1, "traces": 200, "scores": 0}
    assert found.lost == []
    assert read(tmp_path / "new.sqlite") == TRACES
    with TraceStore.open(tmp_path / "new.sqlite", readonly=True) as store:
        assert list(store.prompts()) == PROMPTS


def test_after_any_flipped_bit_the_others_are_readable_and_the_lost_one_is_named(
    path: Path, tmp_path: Path
) -> None:
    whole, rng, named, beyond = path.read_bytes(), random.Random(4), 0, 0
    for turn in range(80):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        broken, new = tmp_path / "broken.sqlite", tmp_path / f"{turn}.sqlite"
        broken.write_bytes(damaged)
        try:
            found = salvage(broken, new)
        except DataError as error:  # the first page, which says what is in the file
            beyond += str(broken) in error.message
            continue
        rows = read(new)
        assert all(row in TRACES for row in rows)
        assert len(rows) == found.rows["traces"]
        lost = [name for name in found.lost if name.startswith("traces ")]
        assert len(rows) == 200 or lost
        named += bool(found.lost)
        assert len(rows) >= 140  # no page holds more than 60
    assert named > 40
    assert beyond < 5


def test_a_damaged_page_costs_only_its_own_rows(path: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(path)
    (page,) = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'traces_by_status'"
    ).fetchone()
    connection.close()
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = bytes(4096)
    path.write_bytes(content)
    found = salvage(path, tmp_path / "new.sqlite")
    assert (found.rows["traces"], found.lost) == (200, [])
    assert len(read(tmp_path / "new.sqlite")) == 200


def test_a_file_that_is_there_is_not_written_over(path: Path) -> None:
    with pytest.raises(DataError, match="is there already"):
        salvage(path, path)
