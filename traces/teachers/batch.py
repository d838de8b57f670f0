"""A teacher behind a batch interface: many requests at once, answered within a day.

The key of a request is its `custom_id`, and the record is that of `EndpointTeacher`, so a batch
fills the same store under the same keys. Nothing is paid for twice: what a batch is to hold is
written to the ledger before the batch is made; a process that was killed before it learnt the
batch's id finds it again, by a name that the server keeps or by its requests. What a batch answered
is read from the server again until it is in the store.
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
from traces.teachers.batch_files import FileBatches
from traces.teachers.batch_ledger import Batch, BatchLedger
from traces.teachers.batch_state import BatchApi, State
from traces.teachers.chat_client import address_of, base_url_of
from traces.teachers.chat_reply import Reply
from traces.teachers.chat_request import chat_body
from traces.teachers.dispatch import Delivery
from traces.teachers.endpoint_trace import FIDELITIES, make_trace
from traces.teachers.message_batches import MessageBatches
from traces.teachers.profile import Profile, find_profile
from traces.teachers.protocol import Request
from traces.teachers.retry import Failure

log = logging.getLogger(__name__)

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
        max_requests: In one batch; None leaves it to the provider.
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
        max_requests: int | None = None,
    ) -> None:
        url = base_url_of(base_url)
        found = find_profile(profile, address_of(base_url))
        self._profile = msgspec.structs.replace(found, stream=False)
        self._api = _batch_api(self._profile, str(url), api_key, timeout_s)
        self._poll_s, self._max_requests = poll_s, max_requests or self._api.most_requests
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
        self._api.check()

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
        while True:
            undecided = self._adopt(ledger)
            there = {key for batch in ledger.batches for key in batch.pending}
            new = [request for key, request in wanted.items() if key not in there]
            for chunk in self._chunks(new):
                if stopping():
                    return
                self._submit(ledger, chunk)
            if not self._collect(ledger, wanted, emit, stopping):
                return
            if wanted.keys().isdisjoint(undecided) or self._wait(stopping):
                return

    def _chunks(self, requests: list[Request]) -> Iterator[list[tuple[str, bytes]]]:
        chunk: list[tuple[str, bytes]] = []
        size = 0
        for request in requests:
            line = self._api.line(request.key, self._body(request))
            full = len(chunk) == self._max_requests or size + len(line) > self._api.most_bytes
            if chunk and full:
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

    def _adopt(self, ledger: BatchLedger) -> set[str]:
        """Find the batches again whose id was never learnt; forget those that were never made.

        Returns the keys of those of which nobody can tell yet.
        """
        lost = {batch.name: batch for batch in ledger.batches if not batch.id}
        if not lost:
            return set()
        found = self._api.find(list(lost.values()), {batch.id for batch in ledger.batches})
        for name, batch in lost.items():
            if id_ := found.ids.get(name):
                ledger.note(msgspec.structs.replace(batch, id=id_))
            elif name not in found.undecided:
                ledger.forget(batch)
        waiting = {key for name in found.undecided for key in lost[name].keys}
        if waiting:
            log.warning(
                "%d requests were sent and the id of their batch was not learnt; it may be one of "
                "%s, which can be told once they have ended: waiting, nothing is sent twice",
                len(waiting),
                ", ".join(found.suspects[:5]),
            )
        return waiting

    def _submit(self, ledger: BatchLedger, chunk: list[tuple[str, bytes]]) -> None:
        batch = Batch(
            uuid.uuid4().hex, tuple(key for key, _ in chunk), made_us=time.time_ns() // 1000
        )
        prepared = self._api.prepare(batch.name, [line for _, line in chunk])
        ledger.note(batch)  # before it is made: from here on it may be paid for
        made = self._api.create(batch.name, prepared)
        ledger.note(msgspec.structs.replace(batch, id=made))
        log.info("batch %s: %d requests", made, len(chunk))

    def _collect(
        self,
        ledger: BatchLedger,
        wanted: dict[str, Request],
        emit: Callable[[Trace], None],
        stopping: Callable[[], bool],
    ) -> bool:
        """Wait for the batches that hold wanted keys and emit what they answered.

        False where it was stopped.
        """
        made = [batch for batch in ledger.batches if batch.id]
        opened = [batch for batch in made if not wanted.keys().isdisjoint(batch.pending)]
        while opened:
            for batch in list(opened):
                state = self._api.look(batch.id)
                if state.ended:
                    self._finish(ledger, batch, state, wanted, emit)
                    opened.remove(batch)
            if opened and self._wait(stopping):
                return False
        return True

    def _wait(self, stopping: Callable[[], bool]) -> bool:
        """Until the next look; true where it was stopped."""
        until = time.monotonic() + self._poll_s
        while time.monotonic() < until:
            if stopping():
                return True
            time.sleep(min(SLICE_S, self._poll_s))
        return False

    def _finish(
        self,
        ledger: BatchLedger,
        batch: Batch,
        state: State,
        wanted: dict[str, Request],
        emit: Callable[[Trace], None],
    ) -> None:
        answers = self._api.answers(state)
        why = f"the batch {state.word} without an answer to it{state.errors}"
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
                        state.began_us,
                        state.took_us,
                    )
                )
        ledger.note(msgspec.structs.replace(batch, failed=tuple(sorted(failed))))

    def _result(self, answer: Any, why: str, request: Request | None) -> Reply | Failure:
        if answer is None:
            return Failure("refused", "timeout" if "expired" in why else "http_error", why)
        top = request.sampling.top_logprobs if request else 0
        return self._api.read(answer, why, top)


def _batch_api(profile: Profile, url: str, key: str | None, timeout_s: float) -> BatchApi:
    if profile.api in ("chat", "responses"):
        return FileBatches(url, key, timeout_s, profile.api)
    if profile.api == "messages":
        headers = profile.headers | ({profile.auth_header: key} if key else {})
        return MessageBatches(url, headers, key, timeout_s)
    raise UserError(f"{profile.title}: its batches are not supported", "set `batch: false`")
