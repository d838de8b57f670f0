"""Logs of conversations into a store, and out of one again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from traces.errors import DataError
from traces.jsonio import Faults, Row, json_fault, read_rows, write_jsonl
from traces.keys import teacher_id
from traces.record import Fidelity, TeacherRecord, Trace
from traces.store import TraceStore
from traces.talk_formats import FORMATS, openai_row
from traces.talk_openhands import is_event
from traces.talks import Talk, generations, talks
from traces.transfer import ExportCounts

ONE_OBJECT = (".traj", ".json")
"""Files that hold one conversation, not lines."""


class TalkCounts(msgspec.Struct, frozen=True):
    """What came of a file: `generations` = `traces` that are new + those already there."""

    conversations: int
    generations: int
    traces: int
    already_there: int


def import_talks(
    path: Path,
    store_path: Path,
    *,
    form: str,
    model: str,
    licence: str = "",
    fidelity: Fidelity | None = None,
) -> TalkCounts:
    """Add each turn of the assistant in a log to a store as a trace.

    Nothing is written before every conversation is known to be sound; what the store holds already
    is skipped.

    Args:
        path: JSON Lines or Parquet, a conversation a row; or `.traj` or `.json`, one alone.
        store_path: Made where it is missing.
        form: One of `FORMATS`.
        model: Who wrote the turns of the assistant.
        licence: Of its outputs.
        fidelity: How whole the reasoning is, where you know better than the format.

    Raises:
        DataError: rows are broken or no conversations, three named and all counted.
    """
    if form not in FORMATS:
        raise DataError(f"no format {form!r}", f"known: {', '.join(FORMATS)}")
    bare = TeacherRecord("", "file", model, made_of=f"a log of format {form}", licence=licence)
    record = msgspec.structs.replace(bare, id=teacher_id(bare))
    found = _read(path, form, fidelity, record)
    with TraceStore.open(store_path) as store:
        known = store.attempts()
        store.add_teacher(record)
        new: dict[str, Trace] = {}
        made = [pair for talk in found for pair in generations(talk, record)]
        store.add_prompts({prompt.id: prompt for prompt, _ in made}.values())
        for _, trace in made:
            if trace.key not in known and trace.key not in new:
                new[trace.key] = trace
                store.add(trace)
    return TalkCounts(len(found), len(made), len(new), len(made) - len(new))


def _read(path: Path, form: str, fidelity: Fidelity | None, record: TeacherRecord) -> list[Talk]:
    found: list[Talk] = []
    faults = Faults()
    for row in _rows(path):
        try:
            talk = FORMATS[form](row.value)
            talk = msgspec.structs.replace(
                talk, source=row.place, fidelity=fidelity or talk.fidelity
            )
            for _ in generations(talk, record):
                pass
        except (ValueError, TypeError, AttributeError) as error:  # a log may hold anything
            faults.add(row.place, f"no conversation of format {form}: {error}")
            continue
        found.append(talk)
    likely = likely_format(path) if faults.count else ""
    other = f"this looks like --format {likely}" if likely not in ("", form) else "correct them"
    faults.raise_if_any("rows like that", f"{other}, or name another --format; nothing is imported")
    return found


def likely_format(path: Path) -> str:
    """The format of logs that the first row of a file looks like; empty where it is none."""
    try:
        row = next(_rows(path), None)
    except DataError:
        return ""
    fields = row.value if row else {}
    if isinstance(fields.get("conversations"), list):
        return "sharegpt"
    for name in ("history", "trajectory"):
        if isinstance(events := fields.get(name), list) and any(map(is_event, events)):
            return "openhands"
    if isinstance(fields.get("history"), list):
        return "swe-agent"
    turns = fields.get("messages")
    if not isinstance(turns, list) or "key" in fields:
        return ""
    said = [turn.get("content") for turn in turns if isinstance(turn, dict)]
    parts = [part for content in said if isinstance(content, list) for part in content]
    blocks = {str(part.get("type")) for part in parts if isinstance(part, dict)}
    return "anthropic" if blocks & {"thinking", "tool_use", "tool_result"} else "openai"


def _rows(path: Path) -> Iterator[Row]:
    if path.suffix not in ONE_OBJECT:
        yield from read_rows(path)
        return
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        value: Any = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            yield from read_rows(path)  # lines, whatever its name
            return
        raise DataError(f"{path}: not a JSON file: {json_fault(error)}") from error
    if isinstance(value, list) and value and all(map(is_event, value)):
        value = {"history": value}  # one run of OpenHands
    rows = value if isinstance(value, list) else [value]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}: item {number} is no object")
        yield Row(f"{path}:{number}", row)


def export_talks(store_path: Path, out_path: Path) -> ExportCounts:
    """Write the conversations of a store as JSON Lines of chat messages.

    Importing them again gives the same traces. Traces that are of no log are left out, and counted.

    Raises:
        DataError: no such store, no log in it, or nowhere to write.
    """
    if out_path.suffix == ".parquet":
        raise DataError(f"{out_path}: conversations are written as .jsonl")
    used = 0
    with TraceStore.open(store_path, readonly=True) as store:
        total = sum(store.status_counts().values())

        def rows() -> Iterator[dict[str, Any]]:
            nonlocal used
            for talk in talks((store.prompt(t.prompt_id), t) for t in store.traces()):
                used += sum(m.role == "assistant" for m in talk.messages[1:])
                yield openai_row(talk)

        made = rows()
        first = next(made, None)
        if first is None:
            raise DataError(
                f"{store_path}: none of its {total} traces is of a log",
                "`traces export` without --logs writes traces of every kind",
            )
        written = write_jsonl(out_path, chain([first], made))
    return ExportCounts(written, total - used)
