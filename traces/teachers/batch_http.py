"""Requests to a batch interface, repeated for a minute where that does no harm. No hot path."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from traces.errors import TeacherError
from traces.teachers.chat_json import error_text

TRIES = 6
BACKOFF_S = 1.0
"""Doubles with each try: about a minute in all."""


class Gone(Exception):
    """Something that the server does not have any more."""


class BatchHttp:
    """One account at one address. `headers` carry the key, which is in no error."""

    def __init__(
        self, base_url: str, headers: Mapping[str, str], key: str | None, timeout_s: float
    ) -> None:
        self.base = base_url.rstrip("/")
        self._headers = {"User-Agent": "trace-distill", **headers}
        self._key = key
        self._timeout_s = timeout_s

    def json(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        kind: str = "",
        tries: int = TRIES,
    ) -> dict[str, Any]:
        """What the server says, an object.

        Raises:
            TeacherError: it refuses, or could not be reached.
        """
        text = self.send(method, path, body, kind, tries)
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise TeacherError(f"{self.base}/{path}: not JSON: {error_text(text)}")
        return found

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        kind: str = "",
        tries: int = TRIES,
        *,
        gone: bool = False,
        line: bool = False,
    ) -> bytes:
        """What the server says; only its first line with `line`.

        Raises:
            Gone: with `gone`, a 404 or 410.
            TeacherError: it refuses, or could not be reached.
        """
        headers = self._headers | ({"Content-Type": kind} if kind else {})
        where = f"{self.base}/{path}"
        for number in range(1, tries + 1):
            request = Request(where, data=body, headers=headers, method=method)
            try:
                with urlopen(request, timeout=self._timeout_s) as reply:
                    return _read(reply, line=line)
            except HTTPError as error:
                said = error_text(error.read())
                if gone and error.code in (404, 410):
                    raise Gone(path) from None
                problem = f"HTTP {error.code}: {said}"
                final = error.code not in (408, 409, 429) and error.code < 500
            except (URLError, HTTPException, OSError) as error:
                problem, final = str(getattr(error, "reason", error)), False
            if final or number == tries:
                problem = problem.replace(self._key, "***") if self._key else problem
                raise TeacherError(
                    f"{method} {where}: {problem}",
                    "what was sent is kept: the same command goes on with it",
                )
            time.sleep(BACKOFF_S * 2 ** (number - 1))
        raise AssertionError("unreachable")


def _read(reply: HTTPResponse, *, line: bool) -> bytes:
    return reply.readline() if line else reply.read()
