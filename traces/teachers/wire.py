"""Post to one page again and again on aiohttp's connections, without the session around them.

A session builds a request, a response, a writer, payload and timers for each POST, which costs more
CPU than all else that a harvest does for a trace. Here the head is written once, and what is left
is the pool, TLS and the parser of aiohttp. What goes wrong raises what a session would raise.

That reaches into aiohttp's inner parts, which may change with any release: where the one installed
is not `KNOWN`, a session does it, at more CPU.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from types import TracebackType

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader
from multidict import CIMultiDictProxy
from yarl import URL

KNOWN = (3, 11) <= tuple(map(int, aiohttp.__version__.split(".")[:2])) <= (3, 14)
"""Whether the tests of this module passed with this release of aiohttp."""
RACE_S = 1.0
"""An endpoint that closed an idle connection says so within a round trip of being written to."""


class Page:
    """An address that is posted to."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        proxy: str | None,
        limits: aiohttp.ClientTimeout,
    ) -> None:
        """`session` gives the headers and the pool; of `limits` those of connecting are kept to."""
        assert session.connector is not None, "the session is closed"
        self.pool, self.limits = session.connector, limits
        self.request = aiohttp.ClientRequest(
            "POST",
            url,
            headers=session.headers,
            proxy=URL(proxy) if proxy else None,
            loop=asyncio.get_running_loop(),
        )
        self.used = weakref.WeakSet[ResponseHandler]()
        """The connections that carried a request."""
        self._head = b""

    @property
    def head(self) -> bytes:
        """All before the length of the body; complete once a connection was made.

        Making one adds what a proxy wants to know.
        """
        if not self._head:
            asked = self.request
            whole = asked.proxy and not asked.is_ssl()
            target = str(asked.url) if whole else asked.url.raw_path_qs
            fields = [(k, v) for k, v in asked.headers.items() if k != "Content-Length"]
            lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
            assert all(line.isprintable() for line in lines), "a header of two lines"
            self._head = "\r\n".join([*lines, "Content-Length: "]).encode()
        return self._head

    def post(self, body: bytes) -> Exchange:
        """The exchange that `async with` begins and ends."""
        return Exchange(self, body)


class Exchange:
    """One request and its reply, of which `content` is still to be read, inside `async with`."""

    status: int
    headers: CIMultiDictProxy[str]
    content: StreamReader
    reused_at: float | None = None
    """When an idle connection was taken, on the monotonic clock; None where it is a new one."""
    closed_while_idle = False
    """Whether that had been closed before the request was read."""

    def __init__(self, page: Page, body: bytes) -> None:
        self._page, self._body = page, body

    async def __aenter__(self) -> Exchange:
        page = self._page
        try:
            self._connection = await page.pool.connect(page.request, [], page.limits)
        except asyncio.TimeoutError as error:
            text = f"Connection timeout to host {page.request.url}"
            raise aiohttp.ConnectionTimeoutError(text) from error
        try:
            await self._begin(self._connection)
        except BaseException as error:
            self._connection.close()
            self.closed_while_idle = closed_while_idle(error, self.reused_at)
            raise
        return self

    async def _begin(self, connection: Connection) -> None:
        protocol, transport = connection.protocol, connection.transport
        page = self._page
        if protocol in page.used:
            self.reused_at = time.monotonic()
        if protocol is None or transport is None or transport.is_closing():
            raise aiohttp.ClientOSError("the connection was closed before it was used")
        page.used.add(protocol)
        protocol.set_response_params(read_until_eof=True)
        body = self._body
        transport.write(b"%b%d\r\n\r\n%b" % (page.head, len(body), body))
        status = 100
        while status < 200 and status != 101:  # interim answers
            try:
                message, self.content = await protocol.read()
            except HttpProcessingError as error:
                raise aiohttp.ClientResponseError(
                    page.request.request_info, (), message=error.message, status=error.code
                ) from error
            status = message.code
        self.status, self.headers = status, message.headers

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._connection.release()  # which closes it where the reply was not read to its end
        else:
            self._connection.close()

    @property
    def content_type(self) -> str:
        """Without parameters, in lower case."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def closed_while_idle(error: BaseException, reused_at: float | None) -> bool:
    """Whether `error` says that an idle connection had been closed before the request was read.

    `reused_at` is when it was taken, on the monotonic clock; None where it was a new one.

    A server may close it while the request is on its way (RFC 9112, section 9.5). Then nothing of
    a reply came, and that was clear at once.
    """
    if reused_at is None or time.monotonic() - reused_at > RACE_S:
        return False
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)  # otherwise the beginning of a reply
    connecting = isinstance(error, aiohttp.ClientConnectorError)
    return isinstance(error, aiohttp.ClientOSError | ConnectionError) and not connecting
