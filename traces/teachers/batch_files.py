"""The HTTP side of batches: files up and down, batches made and looked at. No hot path."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import msgspec
from yarl import URL

from traces.errors import TeacherError
from traces.teachers.chat_json import error_text

TRIES = 6
BACKOFF_S = 1.0
"""Doubles with each try: about a minute in all."""


class Gone(Exception):
    """A file that the server does not have any more."""


class Answered(msgspec.Struct):
    """The reply to one request of a batch."""

    status_code: int
    body: Any = None


class Line(msgspec.Struct):
    """One line of a batch's output or error file."""

    custom_id: str
    response: Answered | None = None
    error: dict[str, Any] | None = None


def request_line(key: str, path: str, body: bytes) -> bytes:
    """One line of a batch's input file."""
    head = {"custom_id": key, "method": "POST", "url": path, "body": msgspec.Raw(body)}
    return msgspec.json.encode(head) + b"\n"


def read_lines(text: bytes) -> Iterator[Line]:
    """The lines of an output or error file; one that is broken is as if it were not there."""
    for line in text.splitlines():
        try:
            yield msgspec.json.decode(line, type=Line)
        except msgspec.MsgspecError:
            continue


class BatchServer:
    """The files and batches of one account. Requests that can be repeated are, for a minute."""

    def __init__(
        self, base_url: str, api_key: str | None, timeout_s: float, backoff_s: float = BACKOFF_S
    ) -> None:
        self._base = base_url.rstrip("/")
        self._key = api_key
        self._timeout_s, self._backoff_s = timeout_s, backoff_s
        self.chat_path = f"{URL(self._base).path}/chat/completions"

    def upload(self, name: str, text: bytes) -> str:
        """The id of a new input file."""
        mark = uuid.uuid4().hex
        head = (
            f'--{mark}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}.jsonl"\r\n'
            "Content-Type: application/jsonl\r\n\r\n"
        )
        body = head.encode() + text + f"\r\n--{mark}--\r\n".encode()
        found = self._json("POST", "files", body, f"multipart/form-data; boundary={mark}")
        return str(found["id"])

    def create(self, file_id: str, metadata: dict[str, str]) -> str:
        """The id of a new batch. Never sent twice: it may have been made although it failed.

        Raises:
            TeacherError: it failed; run again, and it is looked for among the batches.
        """
        fields = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": metadata,
        }
        body = json.dumps(fields).encode()
        return str(self._json("POST", "batches", body, "application/json", tries=1)["id"])

    def get(self, path: str) -> dict[str, Any]:
        """What the server says at `path`."""
        return self._json("GET", path)

    def batches(self) -> Iterator[dict[str, Any]]:
        """All batches of the account, page by page."""
        after = ""
        while True:
            page = self.get(f"batches?limit=100{after}")
            rows = page.get("data") or []
            yield from rows
            if not page.get("has_more") or not rows:
                return
            after = f"&after={rows[-1]['id']}"

    def content(self, file_id: str) -> bytes:
        """The bytes of a file.

        Raises:
            Gone: the server does not have it any more.
        """
        return self._send("GET", f"files/{file_id}/content", None, "", TRIES, gone=True)

    def _json(
        self, method: str, path: str, body: bytes | None = None, kind: str = "", tries: int = TRIES
    ) -> dict[str, Any]:
        text = self._send(method, path, body, kind, tries)
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise TeacherError(f"{self._base}/{path}: not JSON: {error_text(text)}")
        return found

    def _send(
        self, method: str, path: str, body: bytes | None, kind: str, tries: int, gone: bool = False
    ) -> bytes:
        headers = {"User-Agent": "trace-distill"}
        if kind:
            headers["Content-Type"] = kind
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        where = f"{self._base}/{path}"
        for number in range(1, tries + 1):
            request = Request(where, data=body, headers=headers, method=method)
            try:
                with urlopen(request, timeout=self._timeout_s) as reply:
                    text: bytes = reply.read()
                    return text
            except HTTPError as error:
                said = error_text(error.read())
                if gone and error.code in (404, 410):
                    raise Gone(path) from None
                problem = f"HTTP {error.code}: {said}"
                final = error.code not in (408, 409, 429) and error.code < 500
            except (URLError, OSError) as error:
                problem, final = str(getattr(error, "reason", error)), False
            if final or number == tries:
                problem = problem.replace(self._key, "***") if self._key else problem
                raise TeacherError(
                    f"{method} {where}: {problem}",
                    "what was sent is kept: the same command goes on with it",
                )
            time.sleep(self._backoff_s * 2 ** (number - 1))
        raise AssertionError("unreachable")
