"""What a store remembers so that a resume need not work it out again.

Both parts can be made again: the plan from the prompts, the sum of costs from the traces. A store
that an older program wrote to has traces that its sum lacks; they are read and added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

from traces.database import Database
from traces.record import RESPLIT, Trace

Spent = tuple[int, int, int]
"""Micro-dollars, tokens, requests."""
MOST_BYTES = 500_000_000
"""A larger plan is not kept: SQLite's limit for one value is 1 GB."""


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


def keep_plan(database: Database, name: str, body: bytes | bytearray) -> None:
    """Remember the digests of what is wanted, in the place of an earlier plan's."""
    if len(body) <= MOST_BYTES:
        row = name, _digest(body), body
        sql = "INSERT OR REPLACE INTO plan VALUES (1, ?, ?, ?)"
        database.transaction(lambda connection: connection.execute(sql, row))


def plan_of(database: Database, name: str) -> bytes | None:
    """The digests remembered under `name`; None where there are none, or they are damaged."""
    if not database.has("plan"):
        return None
    rows = database.query("SELECT digest, body FROM plan WHERE name = ?", (name,))
    return rows[0][1] if rows and _digest(rows[0][1]) == rows[0][0] else None


def _digest(body: bytes | bytearray) -> str:
    return hashlib.blake2b(body, digest_size=16).hexdigest()
