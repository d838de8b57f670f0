"""Traces out of a store and into one, without loss, as JSON Lines or Parquet.

A row is a trace with its prompt and its teacher, so that it explains itself: the fields of
`traces.record.Trace`, then `prompt` and `teacher_record`. In JSON Lines bytes are base64. In
Parquet they are binary, and what has no fixed shape (sampling, prompt, teacher) is JSON in a
string.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from traces.errors import DataError
from traces.files import replacing
from traces.jsonio import Faults, read_rows, write_jsonl
from traces.record import Message, Prompt, TeacherRecord, Trace
from traces.store import TraceStore

_JSON_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_JSON_COLUMNS = (
    "sampling",
    "prompt",
    "teacher_record",
    "tool_calls",
    "origin",
    "provider",
)  # strings of JSON in Parquet
_PARQUET_ROWS = 512


class ExportedTrace(Trace, frozen=True, omit_defaults=True):
    """One row of an export: a trace with its prompt and its teacher."""

    prompt: Prompt | None = None
    teacher_record: TeacherRecord | None = None


class ExportCounts(msgspec.Struct, frozen=True):
    """What was written. `left_out` traces have no place in the format asked for."""

    traces: int
    left_out: int = 0


class ImportCounts(msgspec.Struct, frozen=True):
    """What became of the rows of a file: `traces` are new, the others were there already."""

    rows: int
    traces: int
    already_there: int


def export_traces(store_path: Path, out_path: Path, *, what: str = "latest") -> ExportCounts:
    """Write the `latest` attempt of each key, or `all`, to a `.jsonl` or `.parquet` file.

    Raises:
        DataError: no such store, an unknown file name ending, or nowhere to write.
    """
    if what not in ("latest", "all"):
        raise ValueError(f"what must be 'latest' or 'all', not {what!r}")
    _check_suffix(out_path)
    with TraceStore.open(store_path, readonly=True) as store:
        rows = _exported(store, store.traces(latest=what == "latest"))
        if out_path.suffix == ".parquet":
            return ExportCounts(_write_parquet(out_path, map(_flat, rows), _trace_schema()))
        return ExportCounts(write_jsonl(out_path, rows))


def export_conversations(store_path: Path, out_path: Path) -> ExportCounts:
    """Write `messages` rows for other tools: traces that are `ok` and have an answer.

    The last message holds the answer as `content` and the thinking as `reasoning_content`; a
    prompt's `metadata`, such as the document it is about, goes along (JSON in a string in Parquet).

    Raises:
        DataError: as `export_traces`.
    """
    _check_suffix(out_path)
    with TraceStore.open(store_path, readonly=True) as store:
        total = sum(store.status_counts().values())
        rows = filter(None, map(_conversation, _exported(store, store.traces(status="ok"))))
        if out_path.suffix == ".parquet":
            written = _write_parquet(out_path, map(_flat_metadata, rows), _conversation_schema())
        else:
            written = write_jsonl(out_path, rows)
    return ExportCounts(written, total - written)


def import_traces(path: Path, store_path: Path) -> ImportCounts:
    """Add the traces of an export to a store, which is made if it is missing.

    The file is read twice: nothing is written before every row is known to be sound. Rows that the
    store holds already are skipped, so an import that was killed is finished by another.

    Raises:
        DataError: the file is not an export, or is broken (lines named), or holds another trace
            under a key and attempt of the store's or of its own.
    """
    known = _stored(store_path)
    _check(path, dict(known))
    rows = added = 0
    with TraceStore.open(store_path) as store:
        parsed = (parse_export(row.value) for row in read_rows(path))
        while page := list(islice(parsed, 1000)):
            rows += len(page)
            store.add_prompts({row.prompt.id: row.prompt for row in page if row.prompt}.values())
            teachers = {r.teacher_record.id: r.teacher_record for r in page if r.teacher_record}
            for teacher in teachers.values():
                store.add_teacher(teacher)
            for trace in map(trace_of, page):
                name = (trace.key, trace.attempt)
                if name not in known:
                    known[name] = b""
                    store.add(trace)
                    added += 1
    return ImportCounts(rows, added, rows - added)


def _stored(path: Path) -> dict[tuple[str, int], bytes]:
    """A digest of every trace in the store at `path`; none where there is no store."""
    if not path.exists():
        return {}
    with TraceStore.open(path, readonly=True) as store:
        return {(t.key, t.attempt): _digest(t) for t in store.traces(latest=False)}


def _check(path: Path, known: dict[tuple[str, int], bytes]) -> None:
    """Raise a DataError unless every row is a trace that fits the others and `known`."""
    faults = Faults()
    for row in read_rows(path):
        try:
            fault = _misfit(parse_export(row.value), known)
        except ValueError as error:
            fault = f"not a trace: {error}"
        if fault:
            faults.add(row.place, fault)
    faults.raise_if_any(
        "rows like that",
        "`traces import` reads what `traces export` wrote; saved completions of other tools are "
        "read by a teacher of kind `file`",
    )


def _misfit(row: ExportedTrace, known: dict[tuple[str, int], bytes]) -> str:
    if row.prompt and row.prompt.id != row.prompt_id:
        return f"prompt {row.prompt.id} in a trace of prompt {row.prompt_id}"
    if row.teacher_record and row.teacher_record.id != row.teacher:
        return f"teacher {row.teacher_record.id} in a trace of teacher {row.teacher}"
    digest = _digest(trace_of(row))
    if known.setdefault((row.key, row.attempt), digest) != digest:
        return f"another trace has the key {row.key} and attempt {row.attempt}"
    return ""


def _digest(trace: Trace) -> bytes:
    # Not of its encoding, which leaves a default out or not by the identity of the object.
    return hashlib.blake2b(repr(trace).encode(), digest_size=16).digest()


def _exported(store: TraceStore, traces: Iterable[Trace]) -> Iterator[ExportedTrace]:
    teachers = store.teachers()

    @lru_cache(maxsize=256)
    def prompt(name: str) -> Prompt | None:
        try:
            return store.prompt(name)
        except DataError:  # a trace whose prompt was never stored is still worth its bytes
            return None

    for trace in traces:
        fields = msgspec.structs.asdict(trace)
        yield ExportedTrace(
            **fields, prompt=prompt(trace.prompt_id), teacher_record=teachers.get(trace.teacher)
        )


def trace_of(row: ExportedTrace) -> Trace:
    """The trace of a row, without prompt and teacher."""
    return Trace(**{name: getattr(row, name) for name in Trace.__struct_fields__})


def parse_export(row: dict[str, Any]) -> ExportedTrace:
    """The record of a row: JSON in strings is parsed, nulls of Parquet mean the default.

    Raises:
        ValueError: the row is no trace.
    """
    fields = {name: value for name, value in row.items() if value is not None}
    for name in _JSON_COLUMNS:
        if isinstance(fields.get(name), str):
            fields[name] = msgspec.json.decode(fields[name])
    return msgspec.convert(fields, ExportedTrace)


def _flat(row: ExportedTrace) -> dict[str, Any]:
    """A row for Parquet: every column is there, JSON as strings."""
    fields = msgspec.structs.asdict(row)
    for name in _JSON_COLUMNS:
        if fields[name] is not None:
            fields[name] = msgspec.json.encode(fields[name]).decode()
    for name in ("usage", "logprobs"):
        if fields[name] is not None:
            fields[name] = msgspec.structs.asdict(fields[name])
    return fields


def _conversation(row: ExportedTrace) -> dict[str, Any] | None:
    if row.answer is None or row.prompt is None:
        return None
    turns = [
        {"role": m.role, "content": m.content, "reasoning_content": m.reasoning}
        for m in (*row.prompt.messages, Message("assistant", row.answer, row.reasoning))
    ]
    messages = [{k: v for k, v in turn.items() if v is not None} for turn in turns]
    metadata = {"metadata": row.prompt.metadata} if row.prompt.metadata else {}
    return {"key": row.key, "messages": messages, **metadata}


def _flat_metadata(row: dict[str, Any]) -> dict[str, Any]:
    found = row.get("metadata")
    return {**row, "metadata": msgspec.json.encode(found).decode() if found else None}


def _write_parquet(path: Path, rows: Iterable[dict[str, Any]], schema: Any) -> int:
    import pyarrow
    from pyarrow import parquet

    count = 0
    iterator = iter(rows)
    with (
        replacing(path) as temporary,
        parquet.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        while page := list(islice(iterator, _PARQUET_ROWS)):
            writer.write_table(pyarrow.Table.from_pylist(page, schema))
            count += len(page)
    return count


def _trace_schema() -> Any:
    import pyarrow as pa

    usage = {"prompt": pa.int64(), "completion": pa.int64(), "reasoning": pa.int64()}
    usage |= {"cached": pa.int64(), "source": pa.string()}
    top = {"k": pa.int64(), "n": pa.int64(), "ids": pa.binary(), "logprobs": pa.binary()}
    top |= {"log_tail": pa.binary(), "sampled": pa.binary(), "mode": pa.string()}
    top |= {"temperature": pa.float64(), "temperatures": pa.list_(pa.float64())}
    top |= {"log_partition": pa.binary(), "log_tails": pa.binary(), "layout": pa.string()}
    special = {
        "usage": pa.struct(usage.items()),
        "logprobs": pa.struct(top.items()),
        "flags": pa.list_(pa.string()),
        "token_ids": pa.list_(pa.int64()),
    }
    integers = ("sample", "attempt", "cost_micro_usd", "http_status", "started_us", "finished_us")
    special |= dict.fromkeys(integers, pa.int64())
    names = ExportedTrace.__struct_fields__
    return pa.schema([(name, special.get(name, pa.string())) for name in names])


def _conversation_schema() -> Any:
    import pyarrow as pa

    turn = pa.struct([(name, pa.string()) for name in ("role", "content", "reasoning_content")])
    fields = [("key", pa.string()), ("messages", pa.list_(turn)), ("metadata", pa.string())]
    return pa.schema(fields)


def _check_suffix(path: Path) -> None:
    if not path.name.endswith((*_JSON_SUFFIXES, ".parquet")):
        raise DataError(
            f"{path}: unknown format", f"end it in .parquet, {', '.join(_JSON_SUFFIXES)}"
        )
