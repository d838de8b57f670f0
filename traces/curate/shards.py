"""Large files cut into shards that processes read by themselves.

A shard is a range of bytes of a plain file, of row groups of a Parquet file, or a whole compressed
file. A row belongs to the shard in which its line begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from traces.curate.texts import PLAIN, parse_row
from traces.errors import DataError
from traces.jsonio import Fault, Row, read_each
from traces.opened import refuse_other_kinds


class Shard(NamedTuple):
    """Rows from `start` to before `end`: bytes, or row groups; 0 to 1 is a compressed file."""

    path: str
    start: int
    end: int


def cut(paths: Sequence[Path], shard_bytes: int) -> list[Shard]:
    """Shards of about `shard_bytes`, in the order of their rows.

    Raises:
        DataError: a file is missing or unreadable.
    """
    found = []
    for path in paths:
        if not path.is_file():
            raise DataError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
        size, step = 1, 1
        if is_plain(path):
            size, step = path.stat().st_size, shard_bytes
        elif path.suffix == ".parquet":
            size = _groups(path)
            step = max(1, size * shard_bytes // max(1, path.stat().st_size))
        starts = range(0, max(size, 1), step)
        found += [Shard(str(path), start, min(start + step, size)) for start in starts]
    return found


def is_plain(path: Path | str) -> bool:
    """Whether rows of the file can be read from the middle."""
    return Path(path).suffix in PLAIN


def shard_rows(shard: Shard) -> Iterator[tuple[int, Row | Fault]]:
    """The rows of a shard, each with its first byte; in other files than plain ones with its line.

    Raises:
        DataError: the file is missing or unreadable.
    """
    path = Path(shard.path)
    if is_plain(path):
        yield from _plain(path, shard)
    elif path.suffix == ".parquet":
        yield from _parquet(path, shard)
    else:
        for row in read_each(path):
            yield int(row.place.rpartition(":")[2]), row


def place_of(shard: Shard, position: int) -> str:
    """`file:line` of what `shard_rows` found at `position`."""
    if not is_plain(shard.path):
        return f"{shard.path}:{position}"
    with Path(shard.path).open("rb") as file:
        line, left = 1, position
        while left and (piece := file.read(min(left, 1 << 20))):
            line, left = line + piece.count(b"\n"), left - len(piece)
    return f"{shard.path}:{line}"


def _plain(path: Path, shard: Shard) -> Iterator[tuple[int, Row | Fault]]:
    refuse_other_kinds(path)
    with path.open("rb") as file:
        start = 0
        if shard.start:
            file.seek(shard.start - 1)
            start = shard.start - 1 + len(file.readline())
        while start < shard.end and (line := file.readline()):
            if line.strip():
                yield start, parse_row(str(path), line)
            start += len(line)


def _groups(path: Path) -> int:
    import pyarrow
    from pyarrow import parquet

    try:
        count: int = parquet.read_metadata(path).num_row_groups
    except (pyarrow.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable Parquet file: {first}") from error
    return count


def _parquet(path: Path, shard: Shard) -> Iterator[tuple[int, Row | Fault]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            number = sum(file.metadata.row_group(n).num_rows for n in range(shard.start))
            groups: Iterable[int] = range(shard.start, shard.end)
            for batch in file.iter_batches(batch_size=256, row_groups=list(groups)):
                for value in batch.to_pylist():
                    number += 1
                    yield number, Row(f"{path}:{number}", value)
    except (pyarrow.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable Parquet file: {first}") from error
