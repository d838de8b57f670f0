"""Group commit: rows queued by any thread, written by one, a group at a time.

One commit costs one flush of the disk whatever it holds, so rows wait for company: up to
`GROUP_ROWS` of them or `GROUP_WAIT_S` after the first, whichever comes first.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from itertools import compress, islice
from typing import NamedTuple

from traces.database import Database
from traces.errors import CountError, DistillError

GROUP_ROWS = 256
GROUP_WAIT_S = 0.05
QUEUE_ROWS = 4096
QUEUE_BYTES = 64 << 20

_INSERT = "INSERT INTO traces (key, attempt, status, body) VALUES (?, ?, ?, ?)"
_LAST = "SELECT coalesce(max(seq), 0) FROM traces"
_SPENT = f"""
UPDATE spent SET upto = ({_LAST}), micro_usd = micro_usd + ?, tokens = tokens + ?,
requests = requests + ? WHERE upto = ?
"""
_INSERT_NEW = _INSERT.replace("INSERT", "INSERT OR IGNORE", 1)


class Row(NamedTuple):
    """One trace on its way to disk. `durable` is called after the commit.

    `spent` is what it cost in micro-dollars, tokens and requests.
    """

    key: str
    attempt: int
    status: str
    body: bytes
    durable: Callable[[], None] | None
    spent: tuple[int, int, int] = (0, 0, 0)

    @property
    def columns(self) -> tuple[str, int, str, bytes]:
        """What the INSERT binds."""
        return self.key, self.attempt, self.status, self.body


class GroupWriter:
    """The queue and its thread. The first failure is kept and raised by every later call.

    A duplicate or a raising callback does not stop the rows that are already queued; a failure of
    the file does, and what was queued behind it is lost with it (none of it was announced).
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue: deque[Row] = deque()
        self._queued_bytes = 0
        self._added = self._done = self._wanted = 0  # counts of rows; `_wanted` by a flush
        self._closing = False
        self._failure: BaseException | None = None
        lock = threading.Lock()
        self._work = threading.Condition(lock)  # the thread waits on it
        self._progress = threading.Condition(lock)  # callers wait on it
        self._thread = threading.Thread(target=self._run, name="trace-writer", daemon=True)
        self._thread.start()

    def add(self, row: Row) -> None:
        """Queue `row`; waits while the queue is full.

        Raises:
            DistillError: an earlier write failed. `row` is not queued.
        """
        with self._progress:
            self._progress.wait_for(lambda: self._failure or self._has_room())
            self._raise_failure()
            self._queue.append(row)
            self._queued_bytes += len(row.body)
            self._added += 1
            if len(self._queue) in (1, GROUP_ROWS):
                self._work.notify()

    def flush(self) -> None:
        """Wait until every row added before this call is on disk and announced.

        Raises:
            DistillError: a write failed.
        """
        with self._progress:
            target = self._wanted = self._added
            self._work.notify()
            self._progress.wait_for(lambda: self._done >= target)
            self._raise_failure()

    def close(self) -> None:
        """Write what is queued and end the thread. A failure does not raise here: see `flush`."""
        with self._progress:
            self._closing = True
            self._work.notify()
        self._thread.join()

    def _has_room(self) -> bool:
        return len(self._queue) < QUEUE_ROWS and self._queued_bytes < QUEUE_BYTES

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _fail(self, failure: BaseException) -> None:
        with self._progress:
            self._failure = self._failure or failure
            self._progress.notify_all()

    def _run(self) -> None:
        try:
            while group := self._next_group():
                for row in self._write(group):
                    self._announce(row)
                self._finish(group)
        except BaseException as error:
            self._fail(error)
        finally:
            self._finish(list(self._queue))

    def _next_group(self) -> list[Row]:
        """The rows of the next commit; none when the writer is closed and has nothing left."""
        with self._work:
            self._work.wait_for(lambda: self._queue or self._closing)
            self._work.wait_for(self._is_due, timeout=GROUP_WAIT_S)
            return list(islice(self._queue, GROUP_ROWS))

    def _is_due(self) -> bool:
        return len(self._queue) >= GROUP_ROWS or self._wanted > self._done or self._closing

    def _write(self, group: list[Row]) -> list[Row]:
        """The rows of `group` that are now on disk: all but duplicates."""

        def together(connection: sqlite3.Connection) -> None:
            ((last,),) = connection.execute(_LAST)
            connection.executemany(_INSERT, (r.columns for r in group))
            _add_spent(connection, group, last)

        def one_by_one(connection: sqlite3.Connection) -> list[bool]:
            ((last,),) = connection.execute(_LAST)
            new = [connection.execute(_INSERT_NEW, r.columns).rowcount == 1 for r in group]
            _add_spent(connection, list(compress(group, new)), last)
            return new

        try:
            self._database.transaction(together)
        except sqlite3.IntegrityError:
            inserted = self._database.transaction(one_by_one)
            first = group[inserted.index(False)]
            self._fail(
                CountError(
                    f"{self._database.path}: attempt {first.attempt} of trace {first.key} is "
                    f"stored already; {inserted.count(False)} such in a group of {len(group)}"
                )
            )
            return list(compress(group, inserted))
        return group

    def _announce(self, row: Row) -> None:
        if row.durable is None:
            return
        try:
            row.durable()
        except Exception as error:
            failure = DistillError(f"the callback of trace {row.key} failed: {error!r}")
            failure.__cause__ = error
            self._fail(failure)

    def _finish(self, group: list[Row]) -> None:
        """Take `group`, the head of the queue, out of it: only now is its memory free."""
        with self._progress:
            for row in group:
                self._queue.popleft()
                self._queued_bytes -= len(row.body)
            self._done += len(group)
            self._progress.notify_all()


def _add_spent(connection: sqlite3.Connection, rows: list[Row], last: int) -> None:
    """Add what `rows` cost to the running total, if that holds all up to row `last`."""
    sums = [sum(row.spent[part] for row in rows) for part in range(3)]
    connection.execute(_SPENT, (*sums, last))
