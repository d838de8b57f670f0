"""The SQLite file under the store: its schema, its safety settings, and what a full disk does.

Write-ahead log with `synchronous=FULL`, so that a commit is on disk when it returns; a rollback
journal where the filesystem is remote, because the log's shared memory does not work there.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from traces.errors import DataError, DistillError, PartialError
from traces.filelock import writer_lock

log = logging.getLogger(__name__)
Result = TypeVar("Result")

APPLICATION_ID = 0x54445354  # "TDST", in the file's header
SCHEMA_VERSION = 2
HOLD_S = 1.0  # between two tries while the disk is full
DAMAGED = "restore it from a copy, or take out what is whole: distill traces salvage STORE NEW"
_LOW_SPACE_BYTES = 1 << 20

# `seq` is the order of insertion. Both indexes carry it, so the questions of a resume (latest
# attempt by key, rows by status) never touch the payloads.
_SCORES = """
CREATE TABLE scores (
    seq INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    scorer TEXT NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (key, scorer)
);
"""
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE prompts (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL);
CREATE TABLE teachers (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL);
CREATE TABLE traces (
    seq INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    status TEXT NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (key, attempt)
);
CREATE INDEX traces_by_status ON traces (status);
{_SCORES}
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""
# What can be made again from prompts and traces, so older programs may neither know nor keep it:
# the digests of what is wanted, and the sum of what the traces up to `upto` cost.
_REMEMBERED = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS plan (
    one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT, digest TEXT, body BLOB
);
CREATE TABLE IF NOT EXISTS plan_pieces (number INTEGER PRIMARY KEY, name TEXT, body BLOB);
CREATE TABLE IF NOT EXISTS spent (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    upto INTEGER, micro_usd INTEGER, tokens INTEGER, requests INTEGER
);
INSERT OR IGNORE INTO spent VALUES (1, 0, 0, 0, 0);
COMMIT;
"""
_UPGRADE_1 = f"BEGIN IMMEDIATE; {_SCORES} PRAGMA user_version = 2; COMMIT;"

_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "lustre", "gpfs", "beegfs", "afs"}


class Database:
    """One connection behind one lock, usable from any thread."""

    def __init__(
        self, path: Path, *, readonly: bool, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        """Open or create the file at `path`. `stopping` ends the wait for room on a full disk.

        Raises:
            DataError: not a trace store, a newer one, missing, or written to by somebody else.
        """
        self.path, self.readonly = path, readonly
        self._stopping = stopping
        self._lock = threading.RLock()
        with ExitStack() as stack:
            if not readonly:
                _make_folder(path)
                stack.enter_context(writer_lock(path))
            try:
                self._connection = _connect(path, readonly)
                stack.callback(self._connection.close)
                self._prepare(readonly)
            except sqlite3.Error as error:
                raise _cannot_open(path, error) from error
            self._resources = stack.pop_all()

    def _prepare(self, readonly: bool) -> None:
        self._connection.execute(f"PRAGMA query_only = {int(readonly)}")
        application, version = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        )
        blank = not self._connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        if application != APPLICATION_ID and not (blank and application == 0):
            raise DataError(f"{self.path}: an SQLite file, but not a trace store")
        if version > SCHEMA_VERSION:
            raise DataError(
                f"{self.path}: store version {version}; this program knows up to {SCHEMA_VERSION}",
                "pip install -U trace-distill",
            )
        if readonly and blank:
            raise DataError(f"{self.path}: holds no traces yet")
        if not readonly:
            _choose_journal(self._connection, self.path)
        if blank:
            self._connection.executescript(_SCHEMA)
        elif not readonly and version == 1:
            self._connection.executescript(_UPGRADE_1)
        if not readonly and not (self.has("spent") and self.has("plan_pieces")):
            self._connection.executescript(_REMEMBERED)

    def close(self) -> None:
        """Close the file and let other writers in."""
        with self._lock:
            self._resources.close()

    def has(self, table: str) -> bool:
        """Whether the file has a table of that name."""
        return bool(self.query("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)))

    def query(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of a SELECT. Raises as `fold`."""
        return self.fold(list, sql, parameters)

    def fold(
        self,
        work: Callable[[Iterable[tuple[Any, ...]]], Result],
        sql: str,
        parameters: tuple[Any, ...] = (),
    ) -> Result:
        """What `work` makes of the rows of a SELECT, which are not all in memory at a time.

        Raises:
            DataError: the file is damaged.
        """
        with self._lock:
            try:
                return work(self._connection.execute(sql, parameters))
            except sqlite3.DatabaseError as error:
                raise DataError(f"{self.path}: {error}", DAMAGED) from error

    def transaction(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `work` in one transaction, which is on disk when this returns.

        On a full disk nothing is lost: it waits for room, says so, and tries again. `work` may
        therefore run more than once.

        Raises:
            sqlite3.IntegrityError: a constraint failed; nothing was written.
            PartialError: the disk is full and `stopping()` said to give up.
            DataError: the file is no longer in its place; `work` is done where it is now.
            DistillError: any other failure of the file.
        """
        held_since: float | None = None
        while True:
            try:
                result = self._try_transaction(work)
            except sqlite3.IntegrityError:
                raise
            except sqlite3.Error as error:
                if not _is_full(error, self.path):
                    raise DistillError(f"{self.path}: cannot write: {error}") from error
                held_since = self._hold(held_since)
            else:
                if held_since is not None:
                    log.warning("%s: there is room again, going on", self.path)
                self._refuse_moved()
                return result

    def _try_transaction(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            return result

    def _refuse_moved(self) -> None:
        try:
            os.stat(self.path)
        except FileNotFoundError as error:
            raise DataError(
                f"{self.path}: the store was moved or deleted while it was written to",
                "put it back in this place and run the same again: what came is in it",
            ) from error
        except OSError:  # nothing that says it is gone
            return

    def _hold(self, held_since: float | None) -> float:
        if self._stopping():
            raise PartialError(
                f"{self.path}: the disk is full; what was not yet written is not saved",
                "free some space and run the same command again",
            )
        if held_since is None:
            log.warning("%s: the disk is full; holding until there is room", self.path)
        time.sleep(HOLD_S)
        return held_since or time.monotonic()


def remote_filesystem(path: Path, mounts: str = "/proc/mounts") -> str | None:
    """The type of the network filesystem that holds `path`, or None where it is local."""
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    here = path.resolve()
    points = [(Path(fields[1]), fields[2]) for line in lines if len(fields := line.split()) > 2]
    inside = [(point, kind) for point, kind in points if here.is_relative_to(point)]
    _, kind = max(inside, key=lambda item: len(item[0].parts), default=(here, ""))
    return kind if kind in _REMOTE or kind.startswith("fuse.") else None


def _connect(path: Path, readonly: bool) -> sqlite3.Connection:
    if readonly and not path.is_file():
        raise DataError(f"{path}: no such file")
    mode = "rwc"
    if readonly:
        # The last to close folds the log back and removes it, which takes write access.
        writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
        mode = "rw" if writable else "ro" if _log_of(path).exists() else "ro&immutable=1"
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    return sqlite3.connect(
        uri, uri=True, timeout=30.0, isolation_level=None, check_same_thread=False
    )


def _choose_journal(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    remote = remote_filesystem(path)
    if remote is None:
        try:
            if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
                return
        except sqlite3.OperationalError as error:
            if _is_full(error, path):
                raise
        remote = "this filesystem"
    log.info("%s: rollback journal, because %s has no write-ahead log", path, remote)
    connection.execute("PRAGMA journal_mode = DELETE")


def _is_full(error: sqlite3.Error, path: Path) -> bool:
    """Whether there was no room. A quota or a full shared-memory file reads as an I/O error."""
    if "is full" in str(error):
        return True
    return "disk I/O error" in str(error) and shutil.disk_usage(path.parent).free < _LOW_SPACE_BYTES


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path.parent}: cannot be created: {error.strerror}") from error


def _cannot_open(path: Path, error: sqlite3.Error) -> DataError:
    if "not a database" in str(error):
        return DataError(f"{path}: not a trace store", "name a file written by `distill harvest`")
    if _is_full(error, path):
        return DataError(f"{path}: the disk is full", "free some space and try again")
    return DataError(f"{path}: cannot be opened: {error}")


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")
