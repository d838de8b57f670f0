"""Take what can still be read out of a damaged store.

Payloads carry a checksum and name themselves, so a row counts only if its payload is whole,
whatever became of the columns and indexes beside it. Rows on a damaged page are looked for one by
one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from traces import codec
from traces.database import Database
from traces.errors import DataError
from traces.record import Prompt, Score, TeacherRecord, Trace

PAGE_ROWS = 256
SMALLEST_ROW = 64
"""Bytes: a file holds no more rows than its size divided by this."""


class Salvaged(msgspec.Struct):
    """Rows taken over by table, and the names of those that were lost."""

    rows: dict[str, int]
    lost: list[str]


class _Table(NamedTuple):
    kind: Any
    columns: str
    values: Callable[[Any], tuple[Any, ...]]


TABLES = {
    "prompts": _Table(Prompt, "id", lambda prompt: (prompt.id,)),
    "teachers": _Table(TeacherRecord, "id", lambda teacher: (teacher.id,)),
    "traces": _Table(Trace, "key, attempt, status", lambda t: (t.key, t.attempt, t.status)),
    "scores": _Table(Score, "key, scorer", lambda score: (score.key, score.scorer)),
}


def salvage(path: Path, out: Path) -> Salvaged:
    """Copy every whole row of the store at `path` into a new store at `out`.

    Raises:
        DataError: `out` is there already, or `path` cannot be opened at all.
    """
    if out.exists():
        raise DataError(f"{out}: is there already", "name a file that is not there yet")
    found = Salvaged({}, [])
    with closing(Database(path, readonly=True)) as source, closing(
        Database(out, readonly=False)
    ) as target:  # fmt: skip
        for name, table in TABLES.items():
            count = 0
            for page in _pages(source, name, table, found.lost):
                marks = ", ".join("?" * len(page[0]))
                sql = f"INSERT OR IGNORE INTO {name} ({table.columns}, body) VALUES ({marks})"
                target.transaction(lambda c, sql=sql, page=page: c.executemany(sql, page))  # type: ignore[misc]
                count += len(page)
            found.rows[name] = count
    return found


def _pages(
    source: Database, name: str, table: _Table, lost: list[str]
) -> Iterator[list[tuple[Any, ...]]]:
    """The whole rows of a table, a few at a time; the others are added to `lost` by name."""
    last = _last(source, name)
    for low in range(1, last + 1, PAGE_ROWS):
        page, missing = [], set(range(low, min(low + PAGE_ROWS, last + 1)))
        for seq, body in _range(source, name, low, low + PAGE_ROWS - 1):
            missing.discard(seq)
            try:
                page.append((*table.values(codec.decode(body, table.kind)), body))
            except (ValueError, TypeError):
                lost.append(_name(source, name, table, seq))
        lost += [_name(source, name, table, seq) for seq in sorted(missing)]
        if page:
            yield page


def _range(source: Database, name: str, low: int, high: int) -> Iterator[tuple[int, bytes]]:
    """Rows from `low` to `high`, read in halves where a page among them is damaged.

    Damage may also hide rows without a word; as rows are numbered without a gap, that is seen.
    """
    sql = f"SELECT seq, body FROM {name} WHERE seq BETWEEN ? AND ? ORDER BY seq"
    try:
        yield from source.query(sql, (low, high))
    except DataError:
        if low == high:
            return
        middle = (low + high) // 2
        yield from _range(source, name, low, middle)
        yield from _range(source, name, middle + 1, high)


def _last(source: Database, name: str) -> int:
    if not source.query("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)):
        return 0
    indexes = [row[1] for row in source.query(f"PRAGMA index_list({name})")]
    found = []
    for place in (name, *(f'{name} INDEXED BY "{index}"' for index in indexes)):
        with suppress(DataError):
            found.append(source.query(f"SELECT coalesce(max(seq), 0) FROM {place}")[0][0] or 0)
    most = source.path.stat().st_size // SMALLEST_ROW
    return min(most, max(found)) if found else most


def _name(source: Database, name: str, table: _Table, seq: int) -> str:
    """What a damaged row is called: its key, if that can be read."""
    key = table.columns.partition(",")[0]
    try:
        rows = source.query(f"SELECT {key} FROM {name} WHERE seq = ?", (seq,))
        return f"{name} {rows[0][0]}"
    except (DataError, IndexError):
        return f"{name} row {seq}"
