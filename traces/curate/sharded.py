"""Copies among the rows of files that are too large for one process: `dedup` in six phases.

scan   of each shard of the input: digest, length, sketch and band hashes of each text
join   the distinct texts, best first (one task)
bands  texts that share a band and enough places of their sketches are linked (bands dealt out)
group  linked texts make components, dealt out again (one task)
check  in each component the search of `traces.curate.nearby`, every pair compared exactly
keep   one line per row (one task)

Two texts of different components cannot be candidates of each other, so the search within
components decides as the search among all would, and the result does not depend on how many shards
or processes there are. Nothing holds all texts; `join`, `group` and `keep` hold about 100 bytes a
row.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

from traces.curate.bands import band_hashes
from traces.curate.components import Components
from traces.curate.dedup import Copies
from traces.curate.nearby import Text, banding, find_near
from traces.curate.rows import rows_of
from traces.curate.scan import PLACES, Identified, identify
from traces.curate.shards import Shard, is_plain, place_of, shard_rows
from traces.curate.texts import batches, parse_row, text_of
from traces.errors import DataError
from traces.files import replacing
from traces.jsonio import NAMED_FAULTS, Fault, Faults, write_jsonl
from traces.phases import Phase, mark, marker

BAND_TASKS = 8
OPEN_FILES = 64
KEEP = "keep.jsonl"
_CHUNK = 1 << 16
_RECORD = np.dtype(
    [("start", "i8"), ("tokens", "i4"), ("text", "?"), ("high", "u8"), ("low", "u8")]
)
_COPY = np.dtype([("row", "i4"), ("of", "i4"), ("alike", "f8")])

Array = npt.NDArray[Any]


class Plan(msgspec.Struct, frozen=True):
    """What the files in a folder are made of. `stamps`: size and time of each input file."""

    shards: list[Shard]
    stamps: dict[str, tuple[int, int]]
    field: str
    threshold: float
    version: int = 5


def phases(folder: Path, plan: Plan) -> list[Phase]:
    """The phases of `plan`, whose files are in `folder`."""
    many = len(plan.shards)
    return [
        Phase("scan", many, partial(_scan, folder, plan)),
        Phase("join", 1, partial(_join, folder, plan)),
        Phase("bands", BAND_TASKS, partial(_bands, folder, plan)),
        Phase("group", 1, partial(_group, folder, plan)),
        Phase("check", many, partial(_check, folder, plan)),
        Phase("keep", 1, partial(_keep, folder, plan)),
    ]


def broken_rows(folder: Path, plan: Plan) -> Faults:
    """The faults of all shards, the first few by `file:line`."""
    faults = Faults()
    for number, shard in enumerate(plan.shards):
        found = _marked(folder, number)
        for position, what in found["named"][: max(0, NAMED_FAULTS - faults.count)]:
            faults.named.append(f"{place_of(shard, position)}: {what}")
        faults.count += found["faults"]
    return faults


def _scan(folder: Path, plan: Plan, number: int) -> None:
    faults: list[tuple[int, str]] = []
    starts: list[int] = []
    found: list[Identified] = []
    full: list[bool] = []
    key = msgspec.json.encode((plan.stamps, plan.field))  # to the nanosecond, and the same for all
    with replacing(_spool(folder, number)) as temporary, temporary.open("wb") as spool:
        for some in batches(_texts(plan, number, spool, starts, faults)):
            found.append(identify(some, key))
            full += map(bool, some)
    digests, tokens, sketches = map(np.concatenate, zip(identify([], key), *found, strict=True))
    records = np.empty(len(full), _RECORD)
    records["start"], records["tokens"], records["text"] = starts, tokens, full
    records["high"], records["low"] = digests.T
    _save(folder, "scan", number, records)
    _save(folder, "sketch", number, sketches)
    rows, _ = banding(plan.threshold)
    _save(folder, "band", number, band_hashes(sketches, np.arange(len(sketches)), rows))
    about = {"rows": len(records), "faults": len(faults), "named": faults[:NAMED_FAULTS]}
    mark(folder, "scan", number, about)


def _texts(
    plan: Plan, number: int, spool: BinaryIO, starts: list[int], faults: list[tuple[int, str]]
) -> Iterator[str]:
    """The texts of a shard. Adds to `starts` where each can be read again, to `faults` what is
    broken, and to `spool` the rows of a file that cannot be read from the middle.
    """
    shard = plan.shards[number]
    for position, row in shard_rows(shard):
        text = text_of(row, (plan.field,))
        if isinstance(text, Fault):
            faults.append((position, text.what))
            text = ""
        starts.append(position if is_plain(shard.path) else spool.tell())
        if not is_plain(shard.path):
            spool.write(msgspec.json.encode({plan.field: text}) + b"\n")
        yield text


def _join(folder: Path, plan: Plan, number: int) -> None:
    records = np.concatenate([_load(folder, "scan", n) for n in range(len(plan.shards))])
    rows = np.flatnonzero(records["text"])
    if len(records) and not len(rows):
        broken_rows(folder, plan).raise_if_any(
            "broken rows", f"choose another field than {plan.field}"
        )
    order = rows[np.argsort(records["tokens"][rows], kind="stable")]
    high, low = records["high"][order], records["low"][order]
    by_digest = np.lexsort((low, high))  # stable: of equal digests the best comes first
    high, low = high[by_digest], low[by_digest]
    new = np.ones(len(order), np.bool_)
    new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    same = np.arange(len(records), dtype=np.int32)
    if len(order):
        same[order[by_digest]] = order[by_digest][new][np.cumsum(new) - 1]
    _save(folder, "same", number, same)
    _save(folder, "distinct", number, order[same[order] == order].astype(np.int32))
    mark(folder, "join", number)


def _bands(folder: Path, plan: Plan, number: int) -> None:
    distinct = _load(folder, "distinct", 0)
    rows, least = banding(plan.threshold)
    firsts = _firsts(folder, plan)
    components = Components(len(distinct))
    for band in range(number, PLACES // rows, BAND_TASKS):
        pieces = [_load(folder, "band", n, mapped=True)[band] for n in range(len(plan.shards))]
        hashes = np.concatenate(pieces)[distinct]
        for nodes, starts in components.groups(hashes, _CHUNK):
            components.link(
                nodes, starts, _gather(folder, "sketch", firsts, distinct[nodes]), least
            )
    _save(folder, "bands", number, components.roots)
    mark(folder, "bands", number)


def _group(folder: Path, plan: Plan, number: int) -> None:
    """Nodes of components of two and more, one component after the other, each best first."""
    components = Components(len(_load(folder, "distinct", 0)))
    everyone = np.arange(len(components.roots))
    for task in range(BAND_TASKS):
        components.join(everyone, _load(folder, "bands", task))
    roots = components.roots
    crowd = np.flatnonzero(np.bincount(roots, minlength=len(roots))[roots] > 1)
    crowd = crowd[np.argsort(roots[crowd], kind="stable")]
    first = np.ones(len(crowd), np.bool_)
    first[1:] = roots[crowd][1:] != roots[crowd][:-1]
    heads = np.flatnonzero(first)
    component = np.cumsum(first) - 1
    task_of = (heads[component] * len(plan.shards) // max(1, len(crowd))).astype(np.int32)
    _save(folder, "group", number, np.stack((crowd.astype(np.int32), task_of)))
    mark(folder, "group", number)


def _check(folder: Path, plan: Plan, number: int) -> None:
    crowd, task_of = _load(folder, "group", 0)
    rows = _load(folder, "distinct", 0)[crowd[task_of == number]]
    firsts = _firsts(folder, plan)
    sketches = _gather(folder, "sketch", firsts, rows)
    starts = _gather(folder, "scan", firsts, rows)["start"]
    files = _Files(folder, plan)
    shards = np.searchsorted(firsts, rows, "right") - 1

    def read(place: int) -> Text:
        return Text(files.text(int(shards[place]), int(starts[place])))

    found = find_near(sketches, range(len(rows)), read, plan.threshold, asked=False)
    files.close()
    copies = [(rows[place], rows[of], alike) for place, (of, alike) in found.items()]
    _save(folder, "check", number, np.array(copies, _COPY))
    mark(folder, "check", number)


def _keep(folder: Path, plan: Plan, number: int) -> None:
    same = _load(folder, "same", 0)
    copy_of, alike = np.full(len(same), -1, np.int32), np.zeros(len(same))
    for task in range(len(plan.shards)):
        found = _load(folder, "check", task)
        copy_of[found["row"]], alike[found["row"]] = found["of"], found["alike"]
    lines = (row.as_line() for row in rows_of(Copies(same, copy_of, alike)))
    write_jsonl(folder / KEEP, lines)
    mark(folder, "keep", number)


class _Files:
    """Texts by shard and first byte; only so many files are open at a time."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._folder, self._plan = folder, plan
        self._open: OrderedDict[Path, BinaryIO] = OrderedDict()

    def text(self, shard: int, start: int) -> str:
        path = Path(self._plan.shards[shard].path)
        if not is_plain(path):
            path = _spool(self._folder, shard)
        if path not in self._open:
            self._open[path] = path.open("rb")
            if len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(path)
        self._open[path].seek(start)
        row = parse_row(str(path), self._open[path].readline())
        text = text_of(row, (self._plan.field,))
        if isinstance(text, Fault):
            raise DataError(f"{path}: it changed while it was read", "begin in another folder")
        return text

    def close(self) -> None:
        for file in self._open.values():
            file.close()


def _gather(folder: Path, kind: str, firsts: Array, rows: Array) -> Array:
    """What the shards' arrays of a kind hold of `rows`, in their order."""
    shards = np.searchsorted(firsts, rows, "right") - 1
    found: Array = _load(folder, kind, 0, mapped=True)[:0]
    found = np.zeros((len(rows), *found.shape[1:]), found.dtype)
    for shard in np.unique(shards):
        mine = shards == shard
        found[mine] = _load(folder, kind, int(shard), mapped=True)[rows[mine] - firsts[shard]]
    return found


def _firsts(folder: Path, plan: Plan) -> Array:
    """The number of the first row of each shard."""
    counts = [_marked(folder, number)["rows"] for number in range(len(plan.shards))]
    return np.cumsum([0, *counts])[:-1]


def _marked(folder: Path, number: int) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(marker(folder, "scan", number).read_bytes())
    return found


def _spool(folder: Path, number: int) -> Path:
    return folder / f"texts-{number:05d}.jsonl"


def _save(folder: Path, kind: str, number: int, array: Array) -> None:
    with replacing(folder / f"{kind}-{number:05d}.npy") as temporary, temporary.open("wb") as file:
        np.save(file, array)


def _load(folder: Path, kind: str, number: int, *, mapped: bool = False) -> Array:
    path = folder / f"{kind}-{number:05d}.npy"
    found: Array = np.load(path, mmap_mode="r" if mapped else None)
    return found
