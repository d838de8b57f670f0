"""What a failed connection or a broken reply means."""

from __future__ import annotations

import asyncio
import ssl
import urllib.request

import aiohttp
from yarl import URL

from traces.teachers.chat_json import error_text
from traces.teachers.retry import Failure

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
"""Never behind a proxy: a teacher on the own machine."""


class Stalled(Exception):
    """A stream that made no progress; the message says for how long."""


class TooLarge(Exception):
    """A reply larger than any answer can be."""


def network_failure(error: Exception, timeout_s: float, received: bytes = b"") -> Failure:
    """The failure that `error` is; `received` is what had come of the body before it."""
    raw = received.decode(errors="replace")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Failure("busy", "timeout", "the connection was not accepted in time")
    if isinstance(error, Stalled):
        return Failure("broken", "timeout", str(error), raw=raw, billable=True)
    if isinstance(error, TooLarge):
        return Failure("refused", "malformed", str(error), raw=raw, billable=True)
    if isinstance(error, asyncio.TimeoutError):
        text = f"no complete reply within {timeout_s:g} s"
        return Failure("broken", "timeout", text, raw=raw, billable=True)
    text = error_text(str(error).encode(errors="replace")) if str(error) else type(error).__name__
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return Failure("refused", "http_error", f"no secure connection: {text}")
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = error.os_error.strerror or str(error.os_error)
        return Failure("busy", "http_error", f"cannot connect: {reason}")
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientResponseError):
        text = f"the reply broke off: {text}"
        return Failure("broken", "malformed", text, raw=raw, billable=True)
    text = f"the connection broke: {text}"
    return Failure("broken", "http_error", text, raw=raw, billable=bool(received))


def proxy_of(url: URL) -> str | None:
    """The proxy that `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` name for an address, if any."""
    host = url.host or ""
    if urllib.request.proxy_bypass(host) or host in LOCAL:
        return None
    return urllib.request.getproxies().get(url.scheme)
