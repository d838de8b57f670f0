"""Copies among the rows of files: in one pass here, or in phases by many workers.

Both ways give the same rows. The phases are those of `traces.curate.sharded`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from traces.curate.rows import DedupRow, dedup_rows
from traces.errors import DataError
from traces.jsonio import Faults, write_json
from traces.slurm import job_array

if TYPE_CHECKING:
    from traces.curate import sharded

SHARD_BYTES = 64 << 20
_PLAN = "plan.json"


def dedup_files(
    paths: Sequence[Path],
    *,
    field: str,
    threshold: float,
    workers: int = 1,
    work: Path | None = None,
    ray: bool = False,
    shard_bytes: int = SHARD_BYTES,
) -> tuple[Iterator[DedupRow], Faults]:
    """What is a copy of what, one result per row in order; the faults are whole after the last.

    One file without `work` is read by this process alone. With `work`, a folder that all workers
    see, a run that was stopped or killed goes on where it was.

    Raises:
        DataError: a file is missing or unreadable, no row has the field, or `work` was begun with
            other files or options.
        PartialError: a worker was lost; the same call goes on.
    """
    faults = Faults()
    if len(paths) == 1 and work is None and workers == 1:
        return dedup_rows(paths[0], field=field, threshold=threshold, faults=faults), faults
    options = {"field": field, "threshold": threshold, "shard_bytes": shard_bytes}
    return _in_phases(paths, work, workers, ray, options, faults), faults


def dedup_rank(
    paths: Sequence[Path],
    work: Path,
    rank: int,
    world: int,
    *,
    field: str,
    threshold: float,
    shard_bytes: int = SHARD_BYTES,
    patience_s: float = 60.0,
) -> None:
    """Do the share of one of `world` ranks that start with the same arguments.

    Raises:
        DataError: as `dedup_files`.
    """
    from traces.curate import sharded
    from traces.phases import run_rank

    plan = begin(paths, work, field, threshold, shard_bytes)
    run_rank(work, sharded.phases(work, plan), rank, world, patience_s=patience_s)


def slurm(paths: Sequence[Path], work: Path, world: int, *, field: str, threshold: float) -> str:
    """A job array of `world` ranks for sbatch."""
    words = ["distill", "dedup", *(str(path.absolute()) for path in paths)]
    words += ["--field", field, "--threshold", repr(threshold), "--work", str(work.absolute())]
    return job_array("dedup", words, world, f"this prints the rows:\n# {shlex.join(words)}")


def begin(
    paths: Sequence[Path], work: Path, field: str, threshold: float, shard_bytes: int
) -> sharded.Plan:
    """The plan that `work` was begun with, or a new one.

    Raises:
        DataError: it was begun with other files or options, or a file is missing.
    """
    from traces.curate.sharded import Plan
    from traces.curate.shards import cut

    shards = cut(paths, shard_bytes)
    stats = {str(path): path.stat() for path in paths}
    stamps = {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}
    plan, path = Plan(shards, stamps, field, threshold), work / _PLAN
    if not path.exists():
        write_json(path, plan)
        return plan
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Plan)
    except msgspec.MsgspecError as error:
        raise DataError(f"{path}: {error}", "choose another folder") from error
    for name in ("version", "field", "threshold", "stamps", "shards"):
        if getattr(found, name) != getattr(plan, name):
            what = {"stamps": "files", "shards": "shards"}.get(name, name)
            raise DataError(f"{work}: begun with other {what}", "choose another folder for --work")
    return found


def _in_phases(
    paths: Sequence[Path],
    work: Path | None,
    workers: int,
    ray: bool,
    options: dict[str, object],
    faults: Faults,
) -> Iterator[DedupRow]:
    from traces.curate import sharded
    from traces.phases import in_processes, in_ray, run_phases

    with _folder(work) as folder:
        plan = begin(paths, folder, **options)  # type: ignore[arg-type]
        each = in_ray if ray else partial(in_processes, workers)
        run_phases(folder, sharded.phases(folder, plan), each)
        found = sharded.broken_rows(folder, plan)
        faults.count, faults.named = found.count, found.named
        with (folder / sharded.KEEP).open("rb") as lines:
            for line in lines:
                yield DedupRow(**msgspec.json.decode(line))


@contextmanager
def _folder(work: Path | None) -> Iterator[Path]:
    if work is not None:
        yield work
        return
    with TemporaryDirectory(prefix="dedup-") as made:
        yield Path(made)
