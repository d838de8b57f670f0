"""A store in numbers, and one trace out of it: data for the command line, nothing printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from traces.errors import DataError
from traces.record import Prompt, TeacherRecord, Trace
from traces.store import TraceStore


class Spread(msgspec.Struct, frozen=True):
    """A distribution of token counts, over the `count` traces that have one."""

    count: int = 0
    minimum: int = 0
    median: float = 0.0
    p95: float = 0.0
    maximum: int = 0
    total: int = 0


class TeacherStats(msgspec.Struct, frozen=True):
    """What one teacher gave."""

    model: str
    revision: str
    kind: str
    traces: int
    statuses: dict[str, int]


class Stats(msgspec.Struct, frozen=True):
    """A store in numbers. All but `attempts` and `prompts` is about the latest attempts.

    `tokens` is the spread of completion tokens as the usage of each trace has them. Of the `ok`
    traces `reasoning_traces` have thinking apart, and `reasoning_share` of the characters of those
    is thinking.
    """

    prompts: int
    traces: int
    attempts: int
    statuses: dict[str, int]
    finish_reasons: dict[str, int]
    flags: dict[str, int]
    tokens: Spread
    usage_sources: dict[str, int]
    reasoning_traces: int
    reasoning_share: float
    with_logprobs: int
    with_token_ids: int
    cost_micro_usd: int | None  # None where no trace knows its cost
    teachers: dict[str, TeacherStats]


def store_stats(path: Path) -> Stats:
    """Count the traces of the store at `path`.

    Raises:
        DataError: no such store, or it is damaged.
    """
    tally = _Tally()
    with TraceStore.open(path, readonly=True) as store:
        prompts = sum(1 for _ in store.prompts())
        attempts = 0
        latest = store.attempts()
        for trace in store.traces(latest=False):
            attempts += 1
            if trace.cost_micro_usd is not None:
                tally.cost_micro_usd = (tally.cost_micro_usd or 0) + trace.cost_micro_usd
            if trace.attempt == latest[trace.key]:
                tally.add(trace)
        teachers = store.teachers()
    return Stats(
        prompts=prompts,
        traces=len(latest),
        attempts=attempts,
        statuses=_sorted(tally.statuses),
        finish_reasons=_sorted(tally.finish_reasons),
        flags=_sorted(tally.flags),
        tokens=spread(tally.tokens),
        usage_sources=_sorted(tally.usage_sources),
        reasoning_traces=tally.reasoning_traces,
        reasoning_share=tally.reasoning_chars / max(1, tally.all_chars),
        with_logprobs=tally.with_logprobs,
        with_token_ids=tally.with_token_ids,
        cost_micro_usd=tally.cost_micro_usd,
        teachers={
            name: _teacher_stats(teachers.get(name), statuses)
            for name, statuses in tally.by_teacher.items()
        },
    )


def find_trace(path: Path, key_prefix: str) -> tuple[Prompt, Trace]:
    """The latest attempt of the one key that starts with `key_prefix`, and its prompt.

    Raises:
        DataError: no key starts so, or several do: the first three are named.
    """
    with TraceStore.open(path, readonly=True) as store:
        if not key_prefix:
            raise DataError(f"{path}: the key is empty", "give the start of a trace's key")
        found = list(store.traces(key_prefix=key_prefix))
        if len(found) == 1:
            return store.prompt(found[0].prompt_id), found[0]
        if not found:
            raise DataError(
                f"{path}: no trace has a key that starts with {key_prefix!r}",
                "`traces export` lists all keys",
            )
    named = ", ".join(trace.key for trace in found[:3])
    raise DataError(
        f"{path}: {len(found)} keys start with {key_prefix!r}: {named}{', ...' * (len(found) > 3)}",
        "give more of the key",
    )


def spread(counts: Sequence[int]) -> Spread:
    """The distribution of `counts`; all zeros where there are none."""
    if not counts:
        return Spread()
    values = np.asarray(counts)
    median, p95 = np.percentile(values, [50, 95])
    return Spread(
        len(counts),
        int(values.min()),
        float(median),
        float(p95),
        int(values.max()),
        int(values.sum()),
    )


class _Tally:
    """Running counts over latest attempts."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.finish_reasons: Counter[str] = Counter()
        self.flags: Counter[str] = Counter()
        self.usage_sources: Counter[str] = Counter()
        self.by_teacher: dict[str, Counter[str]] = {}
        self.tokens: list[int] = []
        self.reasoning_traces = self.reasoning_chars = self.all_chars = 0
        self.with_logprobs = self.with_token_ids = 0
        self.cost_micro_usd: int | None = None

    def add(self, trace: Trace) -> None:
        self.statuses[trace.status] += 1
        self.by_teacher.setdefault(trace.teacher, Counter())[trace.status] += 1
        self.flags.update(trace.flags)
        self.with_logprobs += trace.logprobs is not None
        self.with_token_ids += trace.token_ids is not None
        if trace.finish_reason:
            self.finish_reasons[trace.finish_reason] += 1
        if trace.usage.completion > 0:
            self.tokens.append(trace.usage.completion)
            self.usage_sources[trace.usage.source] += 1
        if trace.status == "ok" and trace.reasoning:
            self.reasoning_traces += 1
            self.reasoning_chars += len(trace.reasoning)
            self.all_chars += len(trace.reasoning) + len(trace.answer or "")


def _teacher_stats(record: TeacherRecord | None, statuses: Counter[str]) -> TeacherStats:
    model, revision, kind = (
        (record.model, record.revision, record.kind) if record else ("unknown", "", "")
    )
    return TeacherStats(model, revision, kind, statuses.total(), _sorted(statuses))


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))
