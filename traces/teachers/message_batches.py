"""Anthropic's batch interface: all requests of a batch in one body, results as lines.

Source: Anthropic API reference, "Message Batches". A batch carries no name of ours, so one whose id
was never learnt is found by its requests: results name them by `custom_id`, which is the key. Until
a batch of the same size and time has results nobody can tell whose it is; it is waited for, and its
requests are not sent a second time meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from traces.teachers.batch_http import BatchHttp, Gone
from traces.teachers.batch_ledger import Batch
from traces.teachers.batch_state import Found, State, span_us
from traces.teachers.chat_json import sentence_of
from traces.teachers.chat_reply import Reply, read_reply
from traces.teachers.retry import Failure

log = logging.getLogger(__name__)

SKEW_US = 3600 * 1_000_000
"""So far apart the provider's clock and ours may be."""


class MessageBatches:
    """A `traces.teachers.batch_state.BatchApi` of message batches. `headers` carry the key."""

    most_requests = 100_000
    most_bytes = 240 * 10**6
    """Anthropic takes 100,000 requests and 256 MB."""

    def __init__(
        self, base_url: str, headers: Mapping[str, str], key: str | None, timeout_s: float
    ) -> None:
        self._http = BatchHttp(base_url, headers, key, timeout_s)

    def check(self) -> None:
        """See `BatchApi.check`."""
        self._http.json("GET", "messages/batches?limit=1")

    def line(self, key: str, body: bytes) -> bytes:
        """See `BatchApi.line`."""
        return msgspec.json.encode({"custom_id": key, "params": msgspec.Raw(body)})

    def prepare(self, name: str, lines: Sequence[bytes]) -> bytes:
        """The whole body."""
        return b'{"requests": [' + b",\n".join(lines) + b"]}"

    def create(self, name: str, prepared: bytes) -> str:
        """See `BatchApi.create`."""
        kind = "application/json"
        return str(self._http.json("POST", "messages/batches", prepared, kind, tries=1)["id"])

    def find(self, lost: Sequence[Batch], known: Collection[str]) -> Found:
        """The lost batches by the first result of every batch of their size and time."""
        names = {key: batch.name for batch in lost for key in batch.keys}
        since = min(batch.made_us for batch in lost) - SKEW_US
        found: dict[str, str] = {}
        suspects: dict[str, int] = {}
        for row in self._batches(since):
            id_, size = str(row.get("id")), _size(row)
            if id_ in known or size not in {len(batch.keys) for batch in lost}:
                continue
            if row.get("processing_status") != "ended":
                suspects[id_] = size
            elif (name := names.get(self._first(id_))) is not None:
                found[name] = id_
        sizes = set(suspects.values())
        undecided = {b.name for b in lost if b.name not in found and len(b.keys) in sizes}
        return Found(found, frozenset(undecided), tuple(suspects) if undecided else ())

    def look(self, id_: str) -> State:
        """See `BatchApi.look`."""
        row = self._http.json("GET", f"messages/batches/{id_}")
        word = str(row.get("processing_status"))
        span = span_us(row.get("created_at"), row.get("ended_at"))
        return State(id_, word == "ended", word, [], "", *span)

    def answers(self, state: State) -> dict[str, Any]:
        """The results by key; a broken line is as if it were not there."""
        try:
            text = self._http.send("GET", f"messages/batches/{state.id}/results", gone=True)
        except Gone:
            return {}
        return dict(_results(text))

    def read(self, answer: Any, why: str, top_logprobs: int) -> Reply | Failure:
        """What one result says; `why` is what became of the batch."""
        kind = answer.get("type") if isinstance(answer, dict) else None
        if kind == "succeeded":
            body = msgspec.json.encode(answer.get("message"))
            return read_reply(200, {}, body, top_logprobs, "messages")
        if kind == "expired":
            return Failure("refused", "timeout", "in the batch: it expired before it was sent")
        if kind == "canceled":
            return Failure("refused", "cancelled", "in the batch: it was canceled")
        said = sentence_of(answer.get("error")) if isinstance(answer, dict) else ""
        return Failure("refused", "http_error", f"in the batch: {said or kind or why}")

    def _first(self, id_: str) -> str:
        """The key of the first result of an ended batch; empty where it has none any more."""
        try:
            line = self._http.send("GET", f"messages/batches/{id_}/results", gone=True, line=True)
        except Gone:
            log.warning("the batch %s has no results any more: nobody can tell whose it was", id_)
            return ""
        return next((key for key, _ in _results(line)), "")

    def _batches(self, since_us: int) -> Iterator[dict[str, Any]]:
        """The batches of the workspace made since then, newest first, page by page."""
        after = ""
        while True:
            page = self._http.json("GET", f"messages/batches?limit=1000{after}")
            rows = [row for row in page.get("data") or [] if isinstance(row, dict)]
            for row in rows:
                made_us, _ = span_us(row.get("created_at"), None)
                if made_us and made_us < since_us:
                    return
                yield row
            if not page.get("has_more") or not rows:
                return
            after = f"&after_id={page.get('last_id') or rows[-1].get('id')}"


def _size(row: dict[str, Any]) -> int:
    counts = row.get("request_counts")
    values = counts.values() if isinstance(counts, dict) else ()
    return sum(value for value in values if isinstance(value, int))


def _results(text: bytes) -> Iterator[tuple[str, Any]]:
    for line in text.splitlines():
        try:
            row = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if isinstance(row, dict) and isinstance(row.get("custom_id"), str):
            yield row["custom_id"], row.get("result")
