"""What a store remembers so that a resume need not work it out again.

Both parts can be made again: the plan from the prompts, the sum of costs from the traces. A store
that an older program wrote to has traces that its sum lacks; they are read and added.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from traces.database import Database
from traces.digests import WIDTH, Digests, pieces
from traces.errors import DataError
from traces.record import RESPLIT, Trace

Spent = tuple[int, int, int]
"""Micro-dollars, tokens, requests."""
_PIECES_HELD = 4


def cost_of(trace: Trace) -> Spent:
    """What one attempt cost; one that was only split again is free."""
    if RESPLIT in trace.flags:
        return 0, 0, 0
    return trace.cost_micro_usd or 0, trace.usage.prompt + trace.usage.completion, 1


def spent_in(database: Database, between: Callable[[int, int], Iterable[Trace]]) -> Spent:
    """What all attempts in a store cost; `between` gives those behind one row, up to another."""
    ((last,),) = database.query("SELECT coalesce(max(seq), 0) FROM traces")
    upto, micro_usd, tokens, requests = 0, 0, 0, 0
    if database.has("spent"):
        upto, micro_usd, tokens, requests = database.query(
            "SELECT upto, micro_usd, tokens, requests FROM spent"
        )[0]
    for trace in between(upto, last):
        cost = cost_of(trace)
        micro_usd, tokens, requests = micro_usd + cost[0], tokens + cost[1], requests + cost[2]
    total = micro_usd, tokens, requests
    if upto < last and not database.readonly:
        sql = "UPDATE spent SET upto = ?, micro_usd = ?, tokens = ?, requests = ? WHERE upto = ?"
        database.transaction(lambda connection: connection.execute(sql, (last, *total, upto)))
    return total


class StoredDigests:
    """The digests of a plan, in its store; of which few are in memory."""

    def __init__(self, database: Database, name: str, count: int) -> None:
        self._database, self.name, self._count = database, name, count
        self.piece = lru_cache(_PIECES_HELD)(self._piece)

    def __len__(self) -> int:
        return self._count

    def _piece(self, number: int) -> bytes:
        sql = "SELECT body FROM plan_pieces WHERE number = ? AND name = ?"
        rows = self._database.query(sql, (number, self.name))
        if not rows:
            raise DataError(
                f"{self._database.path}: another harvest's plan took the place of this one's",
                "run the same command again",
            )
        body: bytes = rows[0][0]
        return body


def write_digests(database: Database, name: str, blocks: Iterable[bytes]) -> StoredDigests:
    """Keep digests, given in pieces, in the place of an earlier plan's, which is forgotten."""

    def clear(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM plan")
        connection.execute("DELETE FROM plan_pieces")

    database.transaction(clear)
    sql, count = "INSERT OR REPLACE INTO plan_pieces VALUES (?, ?, ?)", 0
    for number, block in enumerate(blocks):
        _write(database, sql, (number, name, block))
        count += len(block) // WIDTH
    return StoredDigests(database, name, count)


def keep_plan(database: Database, name: str, digests: Digests, repeated: bytes) -> None:
    """Remember what is wanted, in the place of an earlier plan; `repeated` as in `plan_of`."""
    if not (isinstance(digests, StoredDigests) and digests.name == name):
        digests = write_digests(database, name, pieces(digests))
    row = name, _digest(digests, repeated), len(digests).to_bytes(8, "big") + repeated
    _write(database, "INSERT OR REPLACE INTO plan VALUES (1, ?, ?, ?)", row)


def plan_of(database: Database, name: str) -> tuple[Digests, bytes] | None:
    """What is remembered under `name`; None where that is nothing, or damaged.

    The digests, and what `keep_plan` was given of the places that an earlier one repeats.
    """
    if not database.has("plan_pieces"):
        return None
    rows = database.query("SELECT digest, body FROM plan WHERE name = ?", (name,))
    if not rows:
        return None
    digest, body = rows[0]
    digests = StoredDigests(database, name, int.from_bytes(body[:8], "big"))
    try:
        whole = _digest(digests, body[8:]) == digest
    except DataError:
        return None
    return (digests, body[8:]) if whole else None


def _write(database: Database, sql: str, row: tuple[Any, ...]) -> None:
    database.transaction(lambda connection: connection.execute(sql, row))


def _digest(digests: Digests, repeated: bytes) -> str:
    hashed = hashlib.sha256(repeated, usedforsecurity=False)
    for piece in pieces(digests):
        hashed.update(piece)
    return hashed.hexdigest()
