"""Structs as JSON Lines: the files between two stages."""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec
import numpy as np

from traces.errors import DataError

T = TypeVar("T")
_CHUNK = 1 << 18  # what is made of a larger one is given back to the system each time
_NEWLINE = ord("\n")


def write_structs(path: Path, structs: Iterable[Any]) -> None:
    """Write one JSON value per line; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            for struct in structs:
                file.write(msgspec.json.encode(struct) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class StructFile(Sequence[T]):
    """The values of a file that `write_structs` wrote, each read when it is asked for.

    Holds 8 bytes for each line and keeps the file open. `digest` is the hash of the file.

    Raises:
        DataError: the file is missing; or, when it is asked for, a line does not hold a `kind`.
    """

    def __init__(self, path: Path, kind: type[T]) -> None:
        if not path.exists():
            raise DataError(f"{path} is missing", "run the stage that writes it")
        self._path, self._kind = path, kind
        hashed, starts = hashlib.sha256(usedforsecurity=False), [np.zeros(1, dtype=np.int64)]
        read = 0
        self._open = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._open)
        with open(self._open, "rb", closefd=False) as file:
            while chunk := file.read(_CHUNK):
                hashed.update(chunk)
                ends = np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == _NEWLINE)
                starts.append(ends + (read + 1))
                read += len(chunk)
        self._starts = np.concatenate(starts)
        if self._starts[-1] < read:  # the last line has no end
            self._starts = np.append(self._starts, read)
        self.digest = hashed.hexdigest()

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        """The value of a line, counted from 0."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        start, end = self._starts[number : number + 2].tolist()
        line = os.pread(self._open, end - start, start)
        return _value(self._path, number + 1, line, self._kind)

    def __iter__(self) -> Iterator[T]:
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield _value(self._path, number, line, self._kind)


def read_structs(path: Path, kind: type[T]) -> list[T]:
    """All values of a file that `write_structs` wrote.

    Raises:
        DataError: the file is missing, or a line does not hold a `kind`.
    """
    if not path.exists():
        raise DataError(f"{path} is missing", "run the stage that writes it")
    found = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            found.append(_value(path, number, line, kind))
    return found


def _value(path: Path, number: int, line: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.MsgspecError as error:
        raise DataError(f"{path}:{number}: {error}", "run its stage again") from error
