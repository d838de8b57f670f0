"""One writer per file: an advisory lock beside it, gone with the process that held it."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from traces.errors import DataError

log = logging.getLogger(__name__)


@contextmanager
def writer_lock(path: Path) -> Iterator[None]:
    """Hold `path`-lock until the block ends. A killed process leaves the file but not the lock.

    Raises:
        DataError: somebody else, this process included, writes to `path`; or nobody can.
    """
    lock_path = path.with_name(path.name + "-lock")
    descriptor = _acquire(lock_path, path)
    try:
        yield
    finally:
        lock_path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(lock_path: Path, path: Path) -> int:
    while True:
        try:
            descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DataError(
                f"{path}: cannot be written: {error.strerror}",
                "choose a place that can be read and written",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise DataError(
                f"{path}: another process is writing to it",
                "wait for it to end, or give each writer a file of its own",
            ) from None
        except OSError as error:  # a filesystem without locks
            log.warning("%s: cannot be locked (%s); keep other writers away", path, error)
            return descriptor
        if _names(lock_path, descriptor):
            return descriptor
        os.close(descriptor)  # its last holder removed it between our open and our lock


def _names(lock_path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(lock_path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
