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
from traces.files import whole

T = TypeVar("T")
_CHUNK = 1 << 18  # what is made of a larger one is given back to the system each time
_NEWLINE = ord("\n")
_GROUP = 32


def write_structs(path: Path, structs: Iterable[Any]) -> None:
    """Write one JSON value per line; the file appears whole or not at all."""
    with whole(path) as temporary, temporary.open("wb") as file:
        for struct in structs:
            file.write(msgspec.json.encode(struct) + b"\n")


class StructFile(Sequence[T]):
    """The values of a file that `write_structs` wrote, each read when it is asked for.

    Holds where each 32nd line starts, the lines between two such, and keeps the file open: quick
    where lines are asked for in their order. `digest` is the hash of the file.

    Raises:
        DataError: the file is missing; or, when it is asked for, a line does not hold a `kind`.
    """

    def __init__(self, path: Path, kind: type[T]) -> None:
        if not path.exists():
            raise DataError(f"{path} is missing", "run the stage that writes it")
        self._path, self._kind = path, kind
        hashed, starts = hashlib.sha256(usedforsecurity=False), [np.zeros(1, dtype=np.int64)]
        read = lines = 0
        last = b"\n"
        self._open = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._open)
        with open(self._open, "rb", closefd=False) as file:
            while chunk := file.read(_CHUNK):
                hashed.update(chunk)
                ends = np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == _NEWLINE)
                starts.append(ends[-(lines + 1) % _GROUP :: _GROUP] + (read + 1))
                lines += len(ends)
                read += len(chunk)
                last = chunk[-1:]
        self._lines = lines + (last != b"\n")
        self._starts = np.append(np.concatenate(starts), read)
        self._group: tuple[int, list[bytes]] = -1, []
        self.digest = hashed.hexdigest()

    def __len__(self) -> int:
        return self._lines

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        """The value of a line, counted from 0."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        group, lines = self._group
        if group != number // _GROUP:
            group = number // _GROUP
            start, end = self._starts[group : group + 2].tolist()
            lines = os.pread(self._open, end - start, start).split(b"\n")
            self._group = group, lines
        return _value(self._path, number + 1, lines[number % _GROUP], self._kind)

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
