"""A teacher behind an OpenAI-style batch interface: files of requests, answered within a day.

The key of a request is its `custom_id`, and the record is that of `EndpointTeacher`, so a batch
fills the same store under the same keys. Nothing is paid for twice: what a batch is to hold is
written to the ledger before the batch is made, with a name that the server keeps as metadata; a
process that was killed before it learnt the batch's id finds it again by that name. What a batch
answered is read from the server again until it is in the store.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from traces.budget import Price
from traces.errors import UserError
from traces.keys import teacher_id
from traces.record import Fidelity, Message, TeacherRecord, Trace
from traces.teachers.batch_files import BatchServer, Gone, Line, read_lines, request_line
from traces.teachers.batch_ledger import Batch, BatchLedger
from traces.teachers.chat_client import address_of, base_url_of
from traces.teachers.chat_reply import Reply, read_reply
from traces.teachers.chat_request import chat_body
from traces.teachers.dispatch import Delivery
from traces.teachers.endpoint_trace import FIDELITIES, make_trace
from traces.teachers.profile import find_profile
from traces.teachers.protocol import Request
from traces.teachers.retry import Failure

log = logging.getLogger(__name__)

MAX_REQUESTS = 50_000
MAX_BYTES = 190 * 10**6
"""OpenAI takes 50,000 requests and 200 MB in one file."""
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
POLL_S = 30.0
SLICE_S = 0.2
"""How often `stopping` is asked between two polls."""


def half(price: Price | None) -> Price | None:
    """What a batch costs: half, rounded up."""
    if price is None:
        return None
    cached = None if price.cached is None else -(-price.cached // 2)
    return Price(-(-price.prompt // 2), -(-price.completion // 2), cached)


class BatchTeacher:
    """A `traces.teachers.protocol.Teacher` that asks in batches.

    Args:
        base_url: Up to and including `/v1`.
        model: As the endpoint names it.
        price: Of batches, not of single requests: see `half`.
        poll_s: Between two looks at the batches in work.
        max_requests: In one batch.
        revision, api_key, profile, extra_body, context, licence, fidelity: As `EndpointTeacher`.

    Raises:
        UserError: the provider has another batch interface, or the profile is not known.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        revision: str = "",
        api_key: str | None = None,
        profile: str = "auto",
        extra_body: Mapping[str, Any] | None = None,
        context: Sequence[Message] = (),
        licence: str = "",
        fidelity: Fidelity = "full",
        price: Price | None = None,
        timeout_s: float = 600.0,
        poll_s: float = POLL_S,
        max_requests: int = MAX_REQUESTS,
    ) -> None:
        url = base_url_of(base_url)
        found = find_profile(profile, address_of(base_url))
        if found.api != "chat":
            raise UserError(
                f"{found.title}: only batches of the OpenAI kind are known", "set `batch: false`"
            )
        self._profile = msgspec.structs.replace(found, stream=False)
        self._server = BatchServer(str(url), api_key, timeout_s)
        self._poll_s, self._max_requests = poll_s, max_requests
        self._fidelity = max(fidelity, found.fidelity, key=FIDELITIES.index)
        self._ledger: BatchLedger | None = None
        self.price = price
        record = TeacherRecord(
            id="",
            kind="endpoint",
            model=model,
            revision=revision,
            licence=licence,
            context=tuple(context),
            settings=dict(extra_body or {}),
            endpoint=str(url),
        )
        self.record = msgspec.structs.replace(record, id=teacher_id(record))

    def keep_beside(self, store: Path) -> None:
        """Keep the ledger beside the store of the harvest."""
        self._ledger = BatchLedger(store.with_name(f"{store.stem}.batches.json"))

    def check(self) -> None:
        """Ask for the list of batches.

        Raises:
            TeacherError: the server cannot be reached, refuses the key, or has no batches.
        """
        self._server.get("batches?limit=1")

    def answer(
        self,
        requests: Iterable[Request],
        emit: Callable[[Trace], None],
        stopping: Callable[[], bool],
    ) -> None:
        """Put all requests into batches and emit what comes of them.

        When `stopping()` turns true it returns at once: the batches go on at the server, and the
        next call collects them.

        Raises:
            TeacherError: the server refuses, or could not be reached for long.
        """
        assert self._ledger is not None, "keep_beside comes first"
        wanted = {request.key: request for request in requests}
        ledger = self._ledger
        self._adopt(ledger)
        there = {key for batch in ledger.batches for key in batch.pending}
        new = [request for key, request in wanted.items() if key not in there]
        for chunk in self._chunks(new):
            if stopping():
                return
            self._submit(ledger, chunk)
        self._collect(ledger, wanted, emit, stopping)

    def _chunks(self, requests: list[Request]) -> Iterator[list[tuple[str, bytes]]]:
        chunk: list[tuple[str, bytes]] = []
        size = 0
        for request in requests:
            line = request_line(request.key, self._server.chat_path, self._body(request))
            if chunk and (len(chunk) == self._max_requests or size + len(line) > MAX_BYTES):
                yield chunk
                chunk, size = [], 0
            chunk.append((request.key, line))
            size += len(line)
        if chunk:
            yield chunk

    def _body(self, request: Request) -> bytes:
        settings = self.record.settings
        return chat_body(
            self.record.model,
            request.messages,
            request.sampling,
            settings,
            self._profile,
            request.prompt.tools,
        )

    def _adopt(self, ledger: BatchLedger) -> None:
        """Find the batches again whose id was never learnt; forget those that were never made."""
        lost = {batch.name: batch for batch in ledger.batches if not batch.id}
        if not lost:
            return
        for found in self._server.batches():
            metadata = found.get("metadata") or {}
            if batch := lost.pop(str(metadata.get("distill", "")), None):
                ledger.note(msgspec.structs.replace(batch, id=str(found["id"])))
        for batch in lost.values():
            ledger.forget(batch)

    def _submit(self, ledger: BatchLedger, chunk: list[tuple[str, bytes]]) -> None:
        batch = Batch(uuid.uuid4().hex, tuple(key for key, _ in chunk))
        file_id = self._server.upload(batch.name, b"".join(line for _, line in chunk))
        ledger.note(batch)  # before it is made: from here on it may be paid for
        made = self._server.create(file_id, {"distill": batch.name})
        ledger.note(msgspec.structs.replace(batch, id=made))
        log.info("batch %s: %d requests", made, len(chunk))

    def _collect(
        self,
        ledger: BatchLedger,
        wanted: dict[str, Request],
        emit: Callable[[Trace], None],
        stopping: Callable[[], bool],
    ) -> None:
        """Wait for the batches that hold wanted keys and emit what they answered."""
        opened = [b for b in ledger.batches if not wanted.keys().isdisjoint(b.pending)]
        while opened:
            for batch in list(opened):
                state = self._server.get(f"batches/{batch.id}")
                if state.get("status") in ENDED:
                    self._finish(ledger, batch, state, wanted, emit)
                    opened.remove(batch)
            until = time.monotonic() + self._poll_s
            while opened and time.monotonic() < until:
                if stopping():
                    return
                time.sleep(min(SLICE_S, self._poll_s))

    def _finish(
        self,
        ledger: BatchLedger,
        batch: Batch,
        state: dict[str, Any],
        wanted: dict[str, Request],
        emit: Callable[[Trace], None],
    ) -> None:
        answers: dict[str, Line] = {}
        for name in ("output_file_id", "error_file_id"):
            try:
                text = self._server.content(str(state[name])) if state.get(name) else b""
            except Gone:
                continue
            answers |= {line.custom_id: line for line in read_lines(text)}
        why = f"the batch {state.get('status')} without an answer to it{_errors(state)}"
        failed = set(batch.failed)
        for key in batch.pending:
            result = self._result(answers.get(key), why, wanted.get(key))
            if isinstance(result, Failure):
                failed.add(key)
            if (request := wanted.pop(key, None)) is not None:
                delivery = Delivery(result, 0)
                emit(
                    make_trace(
                        request,
                        delivery,
                        self.record.id,
                        self._fidelity,
                        self.price,
                        *_times(state),
                    )
                )
        ledger.note(msgspec.structs.replace(batch, failed=tuple(sorted(failed))))

    def _result(self, line: Line | None, why: str, request: Request | None) -> Reply | Failure:
        top = request.sampling.top_logprobs if request else 0
        if line is None:
            return Failure("refused", "timeout" if "expired" in why else "http_error", why)
        if line.response is None:
            expired = "expired" in str((line.error or {}).get("code", ""))
            text = f"in the batch: {(line.error or {}).get('message') or line.error or why}"
            return Failure("refused", "timeout" if expired else "http_error", text)
        body = msgspec.json.encode(line.response.body)
        return read_reply(line.response.status_code, {}, body, top)


def _times(state: dict[str, Any]) -> tuple[int, int]:
    """When the batch was made and how long it took, in microseconds; 0 where it does not say."""
    began = int(state.get("created_at") or 0)
    ended = state.get("completed_at") or state.get("expired_at") or began
    return began * 1_000_000, max(0, int(ended) - began) * 1_000_000


def _errors(state: dict[str, Any]) -> str:
    data = (state.get("errors") or {}).get("data") or []
    texts = [str(one.get("message", "")) for one in data if isinstance(one, dict)]
    return f": {'; '.join(texts[:3])}" if texts else ""
