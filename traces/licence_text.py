"""The text of a licence, from a file or the web, and its hash."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from traces.errors import DataError

LIMIT_BYTES = 10 << 20
TIMEOUT_S = 30.0


def fetch(source: str) -> bytes:
    """The bytes of a file, or of what an http(s) address gives.

    Raises:
        DataError: it cannot be read, is empty, or is larger than `LIMIT_BYTES`.
    """
    try:
        if source.startswith(("http://", "https://")):
            request = Request(source, headers={"User-Agent": "trace-distill"})
            with urlopen(request, timeout=TIMEOUT_S) as reply:
                text: bytes = reply.read(LIMIT_BYTES + 1)
        else:
            with Path(source).expanduser().open("rb") as file:
                text = file.read(LIMIT_BYTES + 1)
    except (OSError, URLError, ValueError) as error:
        raise DataError(
            f"{source}: cannot be read: {_reason(error)}",
            "save the text to a file and name that",
        ) from error
    if not text.strip() or len(text) > LIMIT_BYTES:
        raise DataError(f"{source}: {'empty' if not text.strip() else 'larger than 10 MiB'}")
    return text


def _reason(error: Exception) -> object:
    """Of an address the reason, of a file the system's words without its name again."""
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or error


def sha256(text: bytes) -> str:
    """Of the bytes as they are: a page that changes its markup is another text."""
    return hashlib.sha256(text).hexdigest()
