"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from traces.errors import DataError, DistillError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """`whole`, for a file that the user named.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
    """
    try:
        with whole(path) as temporary:
            yield temporary
    except DistillError:  # some are OSErrors too
        raise
    except OSError as error:
        raise _unwritable(path, error) from error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; renamed to `path` when the block ends well.

    The content is on disk before the rename. When the block raises, nothing is left behind and a
    file that was at `path` stays as it was. Missing folders are made. What the system raises is
    raised as it is: a stage of a run that met a full disk goes on by the same command.
    """
    # Containers that share a disk share their process ids too.
    name = f".{path.name}.{os.getpid()}{secrets.randbelow(10**9):09d}.tmp"
    temporary = path.with_name(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> DataError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(f"{path}: the disk is full", "free some space and try again")
    return DataError(f"{path}: cannot be written: {error.strerror or error}")
