"""OpenAI's batch interface: a file of requests up, a batch made of it, files of answers down."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec
from yarl import URL

from traces.teachers.batch_http import BatchHttp, Gone
from traces.teachers.batch_ledger import Batch
from traces.teachers.batch_state import Found, State, span_us
from traces.teachers.chat_reply import Reply, read_reply
from traces.teachers.retry import Failure

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
PAGES = {"chat": "chat/completions", "responses": "responses"}


class Answered(msgspec.Struct):
    """The reply to one request of a batch."""

    status_code: int
    body: Any = None


class Line(msgspec.Struct):
    """One line of a batch's output or error file."""

    custom_id: str
    response: Answered | None = None
    error: dict[str, Any] | None = None


class FileBatches:
    """A `traces.teachers.batch_state.BatchApi` of files and batches.

    A batch carries a name of ours as metadata, by which it is found again.
    """

    most_requests = 50_000
    most_bytes = 190 * 10**6
    """OpenAI takes 50,000 requests and 200 MB in one file."""

    def __init__(self, base_url: str, api_key: str | None, timeout_s: float, api: str) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = BatchHttp(base_url, headers, api_key, timeout_s)
        self._page, self._api = PAGES[api], api

    def check(self) -> None:
        """See `BatchApi.check`."""
        self._http.json("GET", "batches?limit=1")

    def line(self, key: str, body: bytes) -> bytes:
        """See `BatchApi.line`."""
        path = f"{URL(self._http.base).path}/{self._page}"
        head = {"custom_id": key, "method": "POST", "url": path, "body": msgspec.Raw(body)}
        return msgspec.json.encode(head) + b"\n"

    def prepare(self, name: str, lines: Sequence[bytes]) -> bytes:
        """The id of a new input file."""
        mark = uuid.uuid4().hex
        head = (
            f'--{mark}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}.jsonl"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        body = head.encode() + b"".join(lines) + f"\r\n--{mark}--\r\n".encode()
        found = self._http.json("POST", "files", body, f"multipart/form-data; boundary={mark}")
        return str(found["id"]).encode()

    def create(self, name: str, prepared: bytes) -> str:
        """See `BatchApi.create`."""
        fields = {
            "input_file_id": prepared.decode(),
            "endpoint": f"/v1/{self._page}",
            "completion_window": "24h",
            "metadata": {"distill": name},
        }
        body = json.dumps(fields).encode()
        return str(self._http.json("POST", "batches", body, "application/json", tries=1)["id"])

    def find(self, lost: Sequence[Batch], known: Collection[str]) -> Found:
        """The lost batches by the name that their metadata carry."""
        names = {batch.name for batch in lost}
        found: dict[str, str] = {}
        for row in self._batches():
            name = str((row.get("metadata") or {}).get("distill", ""))
            if name in names:
                found[name] = str(row["id"])
            if len(found) == len(names):
                break
        return Found(found)

    def look(self, id_: str) -> State:
        """See `BatchApi.look`."""
        row = self._http.json("GET", f"batches/{id_}")
        word = str(row.get("status"))
        ended = row.get("completed_at") or row.get("expired_at")
        data = (row.get("errors") or {}).get("data") or []
        texts = [str(one.get("message", "")) for one in data if isinstance(one, dict)]
        files = [str(row[n]) for n in ("output_file_id", "error_file_id") if row.get(n)]
        errors = f": {'; '.join(texts[:3])}" if texts else ""
        return State(
            id_, word in ENDED, word, files, errors, *span_us(row.get("created_at"), ended)
        )

    def answers(self, state: State) -> dict[str, Line]:
        """The lines of output and error file; one that is broken is as if it were not there."""
        found: dict[str, Line] = {}
        for name in state.files:
            try:
                text = self._http.send("GET", f"files/{name}/content", gone=True)
            except Gone:
                continue
            found |= {line.custom_id: line for line in _lines(text)}
        return found

    def read(self, answer: Line, why: str, top_logprobs: int) -> Reply | Failure:
        """What one line says; `why` is what became of the batch."""
        if answer.response is None:
            error = answer.error or {}
            expired = "expired" in str(error.get("code", ""))
            text = f"in the batch: {error.get('message') or error or why}"
            return Failure("refused", "timeout" if expired else "http_error", text)
        body = msgspec.json.encode(answer.response.body)
        return read_reply(answer.response.status_code, {}, body, top_logprobs, self._api)

    def _batches(self) -> Iterator[dict[str, Any]]:
        """All batches of the account, page by page."""
        after = ""
        while True:
            page = self._http.json("GET", f"batches?limit=100{after}")
            rows = page.get("data") or []
            yield from rows
            if not page.get("has_more") or not rows:
                return
            after = f"&after={rows[-1]['id']}"


def _lines(text: bytes) -> Iterator[Line]:
    for line in text.splitlines():
        try:
            yield msgspec.json.decode(line, type=Line)
        except msgspec.MsgspecError:
            continue
