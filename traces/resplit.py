"""Split the raw texts of a store again, with the splitter of this version.

Nothing is edited: a trace whose reasoning or answer comes out otherwise gets a new attempt under
the same key, flagged `resplit`, with the same raw text and no cost. What reads the latest attempt
of a key reads that one.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from traces.jsonio import write_json
from traces.record import RESPLIT, Status, Trace
from traces.split import FLAGS, split
from traces.split_families import SPLIT_VERSION
from traces.store import TraceStore

SPLIT_STATUSES = ("ok", "truncated", "empty", "logprobs_missing")


class ResplitCounts(msgspec.Struct, omit_defaults=True):
    """`traces` looked at = unchanged + changed; the rest says what of the changed ones did."""

    version: int
    traces: int = 0
    unchanged: int = 0
    changed: int = 0
    reasoning: int = 0
    answer: int = 0
    status: int = 0
    not_split: int = 0  # failures, refusals: no text to split


def resplit(store_path: Path, *, dry_run: bool = False) -> ResplitCounts:
    """Append a new attempt for each latest trace that is split otherwise now; count all.

    What was appended is noted beside the store in `resplit.json`, which makes the later stages of
    a run begin anew. With `dry_run` nothing is written.

    Raises:
        DataError: no such store, or somebody else is writing to it.
    """
    counts = ResplitCounts(SPLIT_VERSION)
    with TraceStore.open(store_path, readonly=True) as store:
        new = [made for trace in store.traces() if (made := _again(trace, counts)) is not None]
    if new and not dry_run:
        with TraceStore.open(store_path) as store:
            for trace in new:
                store.add(trace)
        write_json(note_of(store_path), {"counts": counts, "keys": [trace.key for trace in new]})
    return counts


def note_of(store_path: Path) -> Path:
    """The file that says what was split again."""
    return store_path.with_name("resplit.json")


def _again(trace: Trace, counts: ResplitCounts) -> Trace | None:
    if trace.status not in SPLIT_STATUSES:
        counts.not_split += 1
        return None
    counts.traces += 1
    finish = "length" if trace.status == "truncated" else trace.finish_reason
    made = split(trace.content, trace.raw_reasoning, finish)
    status = _status(trace, made.answer)
    differs = [
        made.reasoning != trace.reasoning,
        made.answer != trace.answer,
        status != trace.status,
    ]
    if not any(differs):
        counts.unchanged += 1
        return None
    counts.changed += 1
    counts.reasoning += differs[0]
    counts.answer += differs[1]
    counts.status += differs[2]
    kept = tuple(flag for flag in trace.flags if flag not in (*FLAGS, RESPLIT))
    return msgspec.structs.replace(
        trace,
        attempt=trace.attempt + 1,
        status=status,
        reasoning=made.reasoning,
        answer=made.answer,
        split=made.method,
        flags=(*kept, *made.flags, RESPLIT),
        cost_micro_usd=0,
    )


def _status(trace: Trace, answer: str | None) -> Status:
    """A reply without an answer part is `empty`, one that has got one now is not."""
    if trace.status not in ("ok", "empty"):
        return trace.status
    blank = not (answer or "").strip() and not trace.tool_calls
    return "empty" if blank else "ok"
