"""What a store holds, read off its indexes alone: keys, attempts, and what failed.

Keys come in pages that SQLite joins into one text, and a page is checked and turned into digests
at once: a row of its own for each key would take five times as long.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from traces.database import Database
from traces.digests import WIDTH, digests_of
from traces.record import FINAL_STATUSES

Attempts = npt.NDArray[np.int32]
Note = Callable[[bytes, Attempts], None]
_PAGE = 16_384
_NAME = 2 * WIDTH
_STATUSES = """
WITH RECURSIVE found (status) AS (
    SELECT min(status) FROM traces
    UNION ALL
    SELECT (SELECT min(status) FROM traces WHERE status > found.status) FROM found
    WHERE found.status IS NOT NULL
)
SELECT status FROM found WHERE status IS NOT NULL
"""
"""Each status once: a few looks into the index, where DISTINCT would walk all of it."""


def each_attempt(database: Database, note: Note) -> None:
    """Give `note` the digests of all keys and their attempts, by key, a page at a time.

    Keys that spell no digest are left out.
    """
    for where, bounds in _ranges(database):
        ((joined, firsts, others),) = database.query(
            "SELECT group_concat(key, ',') FILTER (WHERE attempt = 1),"
            " count(*) FILTER (WHERE attempt = 1), count(*) FILTER (WHERE attempt <> 1)"
            f" FROM traces WHERE {where}",
            bounds,
        )
        block = _block(joined, firsts) if firsts else b""
        if block is None:
            _by_row(database, note, where, bounds)
            continue
        if block:
            note(block, np.ones(len(block) // WIDTH, dtype=np.int32))
        if others:
            _by_row(database, note, f"{where} AND attempt <> 1", bounds)


def unfinished(database: Database) -> dict[str, int]:
    """The highest attempt of each key that needs a further one."""
    failed = [s for (s,) in database.query(_STATUSES) if s not in FINAL_STATUSES]
    newer = "n.key = t.key AND n.attempt > t.attempt"
    rows = database.query(
        f"SELECT key, attempt FROM traces AS t WHERE status IN ({', '.join('?' * len(failed))})"
        f" AND NOT EXISTS (SELECT 1 FROM traces AS n WHERE {newer})",
        tuple(failed),
    )
    return dict(rows)


def _ranges(database: Database) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Ranges of keys that together hold every key once; small ones where keys are digests."""
    ((last,),) = database.query("SELECT coalesce(max(seq), 0) FROM traces")
    digits = 0
    while last > _PAGE * 16**digits:
        digits += 1
    ends = [f"{number:0{digits}x}" for number in range(1, 16**digits)]
    yield from (("key < ?", (end,)) for end in ends[:1])
    for pair in pairwise(ends):
        yield "key >= ? AND key < ?", pair
    yield from (("key >= ?", (end,)) for end in ends[-1:])
    if not ends:
        yield "1", ()


def _block(joined: str, count: int) -> bytes | None:
    """The digests that `count` names with commas between them spell; None where one spells none."""
    try:
        letters = np.frombuffer(f"{joined},".encode("ascii"), dtype=np.uint8)
        rows = letters.reshape(-1, _NAME + 1)
        names = rows[:, :_NAME].tobytes()
        block = binascii.unhexlify(names)
    except ValueError:
        return None
    whole = len(rows) == count and bool((rows[:, _NAME] == ord(",")).all())
    return block if whole and binascii.hexlify(block) == names else None


def _by_row(database: Database, note: Note, where: str, bounds: Sequence[str]) -> None:
    def paged(rows: Iterable[tuple[Any, ...]]) -> None:
        rows = iter(rows)
        while page := list(islice(rows, _PAGE)):
            keys, attempts = zip(*page, strict=True)
            block, known = digests_of(keys)
            note(block, np.array(attempts, dtype=np.int32)[known])

    sql = f"SELECT key, attempt FROM traces WHERE {where} ORDER BY key, attempt"
    database.fold(paged, sql, tuple(bounds))
