"""The traces of a store as a teacher: each prompt is answered with what the store holds for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from traces.errors import DataError
from traces.keys import teacher_id
from traces.record import Prompt, TeacherRecord, Trace
from traces.store import TraceStore
from traces.teachers.protocol import Request
from traces.teachers.saved import Matching

USABLE = ("ok", "truncated")


class StoredTeacher:
    """The n-th usable trace of a prompt in the store is its sample n - 1.

    The record is that of the store's teacher, where there is one alone. A sample that the store
    does not have is an `empty` trace.
    """

    def __init__(self, path: Path, *, licence: str = "") -> None:
        self.path = path
        with TraceStore.open(path, readonly=True) as store:
            known = list(store.teachers().values())
        models = ", ".join(dict.fromkeys(one.model for one in known)) or "unknown"
        record = TeacherRecord(
            "",
            "file",
            models,
            revision=known[0].revision if len(known) == 1 else "",
            made_of=f"traces of {path.name}",
            licence=licence or (known[0].licence if len(known) == 1 else ""),
        )
        self.record = msgspec.structs.replace(record, id=teacher_id(record))

    def check(self) -> None:
        """Look whether anything can be taken from the store.

        Raises:
            DataError: it holds no usable trace.
        """
        if not stored_prompts(self.path):
            raise DataError(f"{self.path}: holds no usable trace")

    def match(self, prompts: Iterable[Prompt]) -> Matching:
        """Count which usable traces belong to which of `prompts`, by the prompts' ids."""
        wanted = {prompt.id for prompt in prompts}
        found: set[str] = set()
        places: list[str] = []
        usable = unmatched = 0
        with TraceStore.open(self.path, readonly=True) as store:
            for trace in store.traces():
                if trace.status not in USABLE:
                    continue
                usable += 1
                found.add(trace.prompt_id)
                if trace.prompt_id not in wanted:
                    unmatched += 1
                    places += [f"trace {trace.key}"] * (len(places) < 3)
        return Matching(
            prompts=len(wanted),
            prompts_without=len(wanted - found),
            completions=usable,
            matched=usable - unmatched,
            unmatched=unmatched,
            unmatched_places=tuple(places),
            unusable_rows=0,
        )

    def answer(
        self,
        requests: Iterable[Request],
        emit: Callable[[Trace], None],
        stopping: Callable[[], bool],
    ) -> None:
        """Emit one trace for each request; see `traces.teachers.protocol`."""
        with TraceStore.open(self.path, readonly=True) as store:
            found: dict[str, list[Trace]] = {}
            for trace in store.traces():
                if trace.status in USABLE:
                    found.setdefault(trace.prompt_id, []).append(trace)
        for request in requests:
            if stopping():
                return
            own = found.get(request.prompt.id, [])
            emit(self._trace(request, own[request.sample] if request.sample < len(own) else None))

    def _trace(self, request: Request, stored: Trace | None) -> Trace:
        now = time.time_ns() // 1000
        if stored is None:
            return Trace(
                key=request.key,
                prompt_id=request.prompt.id,
                sample=request.sample,
                attempt=request.attempt,
                status="empty",
                teacher=self.record.id,
                sampling=request.sampling,
                error=f"{self.path.name} has no trace for this sample",
                started_us=now,
                finished_us=now,
            )
        return msgspec.structs.replace(
            stored,
            key=request.key,
            sample=request.sample,
            attempt=request.attempt,
            teacher=self.record.id,
            sampling=request.sampling,
            origin={**stored.origin, "stored_as": stored.key},
        )


def stored_prompts(path: Path, limit: int | None = None) -> list[Prompt]:
    """The prompts of a store that have a usable trace, in order.

    Raises:
        DataError: no such store.
    """
    with TraceStore.open(path, readonly=True) as store:
        answered = {trace.prompt_id for trace in store.traces() if trace.status in USABLE}
        return [prompt for prompt in store.prompts() if prompt.id in answered][:limit]
