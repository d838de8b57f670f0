"""The trace store: prompts, teachers and traces in one SQLite file that survives anything.

A trace that was announced (`on_durable`) or flushed is on disk: kill -9, a power cut and a full
disk do not take it back. Rows are appended, never edited: a retry is a new attempt under the same
key. One process writes a file at a time; any number may read it meanwhile. Several writers write
several files, which `traces.stores.open_all` reads as one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from traces import codec, held, remembered
from traces.database import DAMAGED, Database
from traces.digests import Digests
from traces.errors import DataError
from traces.record import Prompt, Score, TeacherRecord, Trace
from traces.writer import GroupWriter, Row

log = logging.getLogger(__name__)
Record = TypeVar("Record", bound=msgspec.Struct)

_PAGE_ROWS = 256
_PROMPTS_PER_COMMIT = 4096
_KEYS = "SELECT key FROM traces ORDER BY key"

ATTEMPTS = "SELECT key, attempt FROM traces ORDER BY key, attempt"
"""A key's last row has its highest attempt; read off the index, without a sort."""

# SQLite takes the bare columns of a GROUP BY with max() from the row that has the maximum.
_LATEST = "SELECT key, max(attempt), seq FROM traces GROUP BY key"


class TraceStore:
    """One store file. Use as a context manager; thread-safe."""

    def __init__(
        self, path: Path, *, readonly: bool = False, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        """See `open`."""
        self.path = path
        self._database = Database(path, readonly=readonly, stopping=stopping)
        self._writer = None if readonly else GroupWriter(self._database)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        readonly: bool = False,
        stopping: Callable[[], bool] = lambda: False,
    ) -> TraceStore:
        """Open the store at `path`, creating it and its folder where missing.

        `stopping` is asked, from any thread, while writes wait for room on a full disk; true turns
        the wait into a PartialError.

        Raises:
            DataError: not a trace store, a newer one, missing (readonly), or being written to.
        """
        return cls(path, readonly=readonly, stopping=stopping)

    def __enter__(self) -> TraceStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except Exception as second:  # must not hide the first
            if second is not error:
                log.error("%s", second)

    def close(self) -> None:
        """Write what is queued and close the file. Closing twice is harmless.

        Raises:
            DistillError: a write failed; the file is closed all the same.
        """
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
                writer.flush()
        finally:
            self._database.close()

    def add_prompts(self, prompts: Iterable[Prompt]) -> None:
        """Store prompts; those already there are left as they are. On disk when it returns."""
        self._writing()
        rows = ((prompt.id, codec.encode(prompt)) for prompt in prompts)
        while page := list(islice(rows, _PROMPTS_PER_COMMIT)):
            self._insert("prompts", page)

    def add_teacher(self, record: TeacherRecord) -> None:
        """Store a teacher; one already there is left as it is. On disk when it returns."""
        self._writing()
        self._insert("teachers", [(record.id, codec.encode(record))])

    def add(self, trace: Trace, on_durable: Callable[[Trace], None] | None = None) -> None:
        """Queue `trace`; `on_durable(trace)` is called from the writer's thread once it is on disk.

        Waits while the queue is long. `on_durable` must be quick and must not call the store. A
        text with lone surrogates, which no UTF-8 can hold, is stored with U+FFFD in their place.

        Raises:
            CountError: an earlier trace repeated a stored (key, attempt).
            PartialError: the disk was full and the store was told to stop.
            DistillError: an earlier write failed.
        """
        durable = None if on_durable is None else partial(on_durable, trace)
        body = codec.encode(trace)
        spent = remembered.cost_of(trace)
        self._writing().add(Row(trace.key, trace.attempt, trace.status, body, durable, spent))

    def flush(self) -> None:
        """Return when everything added is on disk. Raises as `add`."""
        self._writing().flush()

    def final_keys(self) -> set[str]:
        """Keys that need no further attempt: the latest one's status is in FINAL_STATUSES."""
        known = self._database.fold(lambda rows: {key for (key,) in rows}, _KEYS)
        return known.difference(self.unfinished())

    def unfinished(self) -> dict[str, int]:
        """The highest attempt of each key that needs a further one."""
        return held.unfinished(self._database)

    def attempts(self) -> dict[str, int]:
        """The highest attempt of each key."""
        return self._database.fold(dict, ATTEMPTS)

    def each_attempt(self, note: held.Note) -> None:
        """Give `note` the digests and attempts of all traces; see `held.each_attempt`."""
        held.each_attempt(self._database, note)

    def spent(self) -> tuple[int, int, int]:
        """Micro-dollars, tokens and requests of all attempts, from the total that is kept."""

        def between(low: int, high: int) -> Iterator[Trace]:
            rows = self._pages("traces", "key", "seq <= ?", [high], low)
            return (self._decode(body, Trace, f"trace {key}") for key, body in rows)

        return remembered.spent_in(self._database, between)

    @property
    def readonly(self) -> bool:
        """Whether it was opened for reading only."""
        return self._database.readonly

    def write_digests(self, name: str, blocks: Iterable[bytes]) -> Digests:
        """Keep the digests of a plan, given in pieces. On disk when it returns."""
        self._writing()
        return remembered.write_digests(self._database, name, blocks)

    def keep_plan(self, name: str, digests: Digests, repeated: bytes = b"") -> None:
        """Remember what is wanted, of which all prompts are stored. On disk when it returns."""
        self._writing()
        remembered.keep_plan(self._database, name, digests, repeated)

    def plan(self, name: str) -> tuple[Digests, bytes] | None:
        """What `keep_plan` remembered last, if it had that name."""
        return remembered.plan_of(self._database, name)

    def status_counts(self) -> dict[str, int]:
        """How many keys there are by the status of their latest attempt."""
        # The plus keeps SQLite from looking each row up in the table, payload and all.
        sql = f"SELECT status, count(*) FROM traces WHERE +seq IN (SELECT seq FROM ({_LATEST}))"
        return dict(self._database.query(sql + " GROUP BY status ORDER BY status"))

    def traces(
        self,
        *,
        latest: bool = True,
        status: str | None = None,
        key_prefix: str = "",
        part: tuple[int, int] = (0, 1),
    ) -> Iterator[Trace]:
        """Traces in the order of insertion, a page in memory at a time.

        `latest` takes only the highest attempt of each key, `part` (n, m) only the n-th of m parts,
        from 0. What is added after the first one was read is left out.

        Raises:
            DataError: a row is damaged, named by its key.
        """
        (last,) = self._database.query("SELECT coalesce(max(seq), 0) FROM traces")[0]
        first, end = (last * (part[0] + n) // part[1] for n in (0, 1))
        where = "seq <= ?"
        parameters: list[Any] = [end]
        if status is not None:
            where += " AND status = ?"
            parameters.append(status)
        if key_prefix:
            where += " AND key >= ? AND key < ?"
            parameters += [key_prefix, key_prefix + "\U0010ffff"]
        if latest:
            newer = "n.key = traces.key AND n.attempt > traces.attempt AND n.seq <= ?"
            where += f" AND NOT EXISTS (SELECT 1 FROM traces AS n WHERE {newer})"
            parameters.append(last)
        for key, body in self._pages("traces", "key", where, parameters, first):
            yield self._decode(body, Trace, f"trace {key}")

    def prompts(self) -> Iterator[Prompt]:
        """All prompts in the order of insertion."""
        for name, body in self._pages("prompts", "id", "1", []):
            yield self._decode(body, Prompt, f"prompt {name}")

    def prompt(self, id: str) -> Prompt:  # noqa: A002
        """The prompt of that id.

        Raises:
            DataError: there is none.
        """
        rows = self._database.query("SELECT body FROM prompts WHERE id = ?", (id,))
        if not rows:
            raise DataError(f"{self.path}: no prompt {id!r}")
        return self._decode(rows[0][0], Prompt, f"prompt {id}")

    def teachers(self) -> dict[str, TeacherRecord]:
        """Teachers by id."""
        rows = self._pages("teachers", "id", "1", [])
        return {name: self._decode(body, TeacherRecord, f"teacher {name}") for name, body in rows}

    def add_scores(self, scores: Iterable[Score]) -> None:
        """Store scores in one transaction, on disk when it returns. Those there already stay."""
        self._writing()
        sql = "INSERT OR IGNORE INTO scores (key, scorer, body) VALUES (?, ?, ?)"
        rows = [(score.key, score.scorer, codec.encode(score)) for score in scores]
        self._database.transaction(lambda connection: connection.executemany(sql, rows))

    def scored(self) -> dict[str, set[str]]:
        """The keys of the scored traces by scorer, the scorer that came last at the end."""
        found: dict[str, set[str]] = {}
        if self._database.has("scores"):  # one of version 1 that is only read has not
            sql = "SELECT scorer, key FROM scores ORDER BY seq"
            for scorer, key in self._database.query(sql):
                found.setdefault(scorer, set()).add(key)
        return found

    def score(self, key: str, scorer: str) -> Score | None:
        """What `scorer` says of the trace of that key, None where it has not scored it.

        Raises:
            DataError: the row is damaged.
        """
        if not self._database.has("scores"):
            return None
        sql = "SELECT body FROM scores WHERE key = ? AND scorer = ?"
        rows = self._database.query(sql, (key, scorer))
        return self._decode(rows[0][0], Score, f"the score of trace {key}") if rows else None

    def _pages(
        self, table: str, name: str, where: str, parameters: Sequence[Any], seq: int = 0
    ) -> Iterator[tuple[str, bytes]]:
        # By pages, not by an open cursor: that would keep the log from being folded back.
        sql = f"SELECT seq, {name}, body FROM {table} WHERE seq > ? AND {where}"
        while True:
            page = self._database.query(
                f"{sql} ORDER BY seq LIMIT {_PAGE_ROWS}", (seq, *parameters)
            )
            for seq, key, body in page:  # noqa: B007
                yield key, body
            if len(page) < _PAGE_ROWS:
                return

    def _decode(self, body: bytes, kind: type[Record], what: str) -> Record:
        try:
            return codec.decode(body, kind)
        except ValueError as error:
            raise DataError(f"{self.path}: {what} is damaged: {error}", DAMAGED) from error

    def _insert(self, table: str, rows: list[tuple[str, bytes]]) -> None:
        sql = f"INSERT OR IGNORE INTO {table} (id, body) VALUES (?, ?)"
        self._database.transaction(lambda connection: connection.executemany(sql, rows))

    def _writing(self) -> GroupWriter:
        if self._writer is None:
            raise ValueError(f"{self.path} is closed or open for reading only")
        return self._writer
