from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traces import held
from traces.database import Database
from traces.digests import WIDTH
from traces.record import Status

DIGESTS = st.binary(min_size=WIDTH, max_size=WIDTH).map(bytes.hex)
ODD = st.sampled_from(["", ",", "a,b", "F" * 32, " " * 32, "0" * 31, "é" * 32, "0\0", "g" * 32])
HEX = set("0123456789abcdef")
ODD_LONG = DIGESTS.map(lambda name: f"{name},{name}")
Row = tuple[str, int, Status]


def keep(path: Path, rows: Sequence[Row]) -> Database:
    database = Database(path, readonly=False)
    sql = "INSERT INTO traces (key, attempt, status, body) VALUES (?, ?, ?, x'')"
    database.transaction(lambda connection: connection.executemany(sql, rows))
    return database


@settings(max_examples=30)
@given(
    st.dictionaries(st.tuples(DIGESTS | ODD | ODD_LONG, st.integers(0, 3)), st.none(), max_size=60)
)
def test_the_attempts_of_a_store_are_those_of_its_rows_that_have_digests(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[tuple[str, int], None]
) -> None:
    found: list[tuple[bytes, int]] = []

    def note(block: bytes, attempts: held.Attempts) -> None:
        assert len(block) == WIDTH * len(attempts)
        digests = [block[at : at + WIDTH] for at in range(0, len(block), WIDTH)]
        found.extend(zip(digests, attempts.tolist(), strict=True))

    database = keep(tmp_path_factory.mktemp("s") / "a.sqlite", [(*row, "ok") for row in rows])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(held, "_PAGE", 3)  # so that there are ranges
        held.each_attempt(database, note)
    database.close()
    wanted = [(bytes.fromhex(k), n) for k, n in rows if len(k) == 32 and set(k) <= HEX]
    assert sorted(found) == sorted(wanted)


def test_what_failed_last_needs_a_further_attempt_whatever_its_status(tmp_path: Path) -> None:
    rows: list[Row] = [
        ("a", 1, "timeout"), ("a", 2, "ok"), ("b", 1, "ok"), ("b", 2, "http_error"),
        ("c", 0, "cancelled"), ("d", 1, "truncated"), ("e", 1, "timeout"), ("e", 2, "timeout"),
    ]  # fmt: skip
    database = keep(tmp_path / "a.sqlite", rows)
    assert held.unfinished(database) == {"b": 2, "c": 0, "e": 2}
    database.close()


def test_a_blank_store_holds_nothing(tmp_path: Path) -> None:
    database = keep(tmp_path / "a.sqlite", [])
    held.each_attempt(database, lambda block, attempts: pytest.fail("there is none"))
    assert held.unfinished(database) == {}
    database.close()
