"""The traces of a store measured in parts, by several processes: one phase of `traces.phases`.

A part is a range of the store, so the parts one after the other are the traces in their order and
the result does not depend on who measured which. Each part is a file that is there whole or not at
all: what a process did before it was killed is not done again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from traces.curate.measure import Measured, Reader
from traces.digests import DigestSet
from traces.files import replacing
from traces.keys import content_hash
from traces.phases import Each, Phase, mark, run_phases
from traces.record import Prompt
from traces.rows import StructFile
from traces.store import TraceStore

PART_TRACES = 4096
_PHASE = "measure"


class Plan(NamedTuple):
    """`keys` is a file of the keys that count, `made_of` names what the traces are, and `folder` is
    for parts of just these, so whoever begins first, all who work on them use the same one.
    """

    store: Path
    keys: Path
    folder: Path
    parts: int
    made_of: str


def plan_of(store: Path, keys: Path, folder: Path, made_of: str, size: int = PART_TRACES) -> Plan:
    """How the traces of `keys` are measured, in parts of about `size` below `folder`."""
    parts = max(1, -(-len(StructFile(keys, str)) // size))
    return Plan(store, keys, folder / content_hash([made_of, parts])[:16], parts, made_of)


def phases(plan: Plan) -> list[Phase]:
    """The work: one task for each part."""
    return [Phase(_PHASE, plan.parts, partial(_measure, plan))]


def measure_store(
    store: Path, keys: Path, folder: Path, made_of: str, each: Each, *, size: int = PART_TRACES
) -> Iterator[Measured]:
    """The measures of the traces of `keys`, in the order of the store; `folder` is for the parts.

    `made_of` names what the traces are; parts of others in the folder are thrown away, and parts
    of these that are there are not made again. Up to `size` traces are measured here and now. The
    folder is removed when the last of them was given.

    Raises:
        PartialError: a worker was lost; what is done is kept.
    """
    plan = plan_of(store, keys, folder, made_of, size)
    if plan.parts == 1 and not plan.folder.exists():
        yield from _measured(plan, 0)
    else:
        plan.folder.mkdir(parents=True, exist_ok=True)
        for other in folder.iterdir():
            if other != plan.folder:
                shutil.rmtree(other, ignore_errors=True)
        run_phases(plan.folder, phases(plan), each)
        for number in range(plan.parts):
            yield from _load(plan.folder / f"{_PHASE}-{number:05d}.arrow")
    shutil.rmtree(folder, ignore_errors=True)


def _measure(plan: Plan, number: int) -> None:
    _save(plan.folder / f"{_PHASE}-{number:05d}.arrow", list(_measured(plan, number)))
    mark(plan.folder, _PHASE, number)


def _measured(plan: Plan, number: int) -> Iterator[Measured]:
    changed = plan.keys.stat()
    wanted = _wanted(plan.keys, (changed.st_mtime_ns, changed.st_size))
    reader, prompts = Reader(), dict[str, Prompt]()
    with TraceStore.open(plan.store, readonly=True) as store:
        for trace in store.traces(part=(number, plan.parts)):
            if trace.key in wanted:
                if trace.prompt_id not in prompts:
                    prompts[trace.prompt_id] = store.prompt(trace.prompt_id)
                yield reader.measure(prompts[trace.prompt_id], trace)


@lru_cache(1)
def _wanted(keys: Path, changed: tuple[int, int]) -> DigestSet:
    """The keys that count, read once in a process, not once a part."""
    return DigestSet(StructFile(keys, str))


def _save(path: Path, rows: list[Measured]) -> None:
    import pyarrow
    from pyarrow import ipc

    columns: dict[str, Any] = {
        name: [getattr(row, name) for row in rows] for name in Measured._fields
    }
    columns["sketch"] = [row.sketch.astype("<u4").tobytes() for row in rows]
    table = pyarrow.table(columns)
    with replacing(path) as temporary, ipc.new_file(str(temporary), table.schema) as writer:
        writer.write_table(table)


def _load(path: Path) -> Iterator[Measured]:
    import pyarrow
    from pyarrow import ipc

    with pyarrow.memory_map(str(path)) as source, ipc.open_file(source) as reader:
        for number in range(reader.num_record_batches):
            for row in reader.get_batch(number).to_pylist():
                yield Measured(**{**row, "sketch": np.frombuffer(row["sketch"], "<u4")})
