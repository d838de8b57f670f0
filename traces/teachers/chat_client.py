"""The HTTP side of an endpoint: send one request, return what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType

import aiohttp
import msgspec
from yarl import URL

from traces.errors import TeacherError
from traces.teachers import wire
from traces.teachers.chat_json import decode
from traces.teachers.chat_reply import Reply, read_reply
from traces.teachers.deadlines import Deadline, Deadlines
from traces.teachers.model_list import Listed, read_models
from traces.teachers.network import (
    Stalled,
    TooLarge,
    network_failure,
    proxy_of,
)
from traces.teachers.profile import Profile
from traces.teachers.queue_watch import read_gauge
from traces.teachers.rate_headers import read_rate
from traces.teachers.raw_reply import KEPT_BYTES, RawReply, read_stream
from traces.teachers.retry import Failure
from traces.teachers.wire import Exchange, Page

CONNECT_TIMEOUT_S = 10.0
LIST_TIMEOUT_S = 30.0
KEEPALIVE_S = 3.0
"""vLLM and llama.cpp close idle connections after 5 s; ours must be closed first."""

PAGES = {"chat": ("chat", "completions"), "messages": ("messages",), "responses": ("responses",)}
SECRET = frozenset({"key", "api_key", "api-key", "apikey", "access_token"})
WHOLE_LIST = {"messages": {"limit": "1000"}, "gemini": {"pageSize": "1000"}}
"""What asks for all models at once where a list comes in pages."""


class ChatClient:
    """One endpoint's connections, open between `async with` and its end.

    The key goes into a header of every request and is taken out of everything that is returned.
    `idle_s` limits the time between two events of a stream, comments not counted.
    """

    server = ""
    """What the last reply's `server` header said."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        timeout_s: float,
        profile: Profile,
        idle_s: float = 300.0,
        model: str = "",
    ) -> None:
        self.base_url = base_url_of(base_url)
        self.profile = profile
        self._model = model.removeprefix("models/")
        self._query = URL(base_url).query
        self._key = _header_safe(api_key)
        self._timeout_s = timeout_s
        self._idle_s = min(idle_s, timeout_s)
        self._proxy = proxy_of(self.base_url)
        self._sessions: tuple[aiohttp.ClientSession, ...] = ()  # keeping connections, and not
        self._deadlines: Deadlines | None = None
        self._pages: dict[tuple[int, Sequence[str]], Page] = {}

    async def __aenter__(self) -> ChatClient:
        headers = {"Content-Type": "application/json", "User-Agent": "trace-distill"}
        if self._key:
            bearer = self.profile.auth_header == "authorization"
            headers[self.profile.auth_header] = f"Bearer {self._key}" if bearer else self._key
        headers |= self.profile.headers
        connect_s = min(CONNECT_TIMEOUT_S, self._timeout_s)
        self._limits = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
        self._pages.clear()
        self._deadlines = Deadlines(min(self._idle_s, LIST_TIMEOUT_S))
        connectors = (
            aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
            aiohttp.TCPConnector(limit=0, force_close=True),
        )
        self._sessions = tuple(
            aiohttp.ClientSession(
                connector=connector,
                headers=headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._limits,
            )
            for connector in connectors
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for session in self._sessions:
            await session.close()

    async def chat(self, body: bytes, top_logprobs: int) -> Reply | Failure:
        """The reply to one chat request. Raises nothing for what the endpoint or network does."""
        got = await self._post(body)
        if isinstance(got, Failure):
            return got
        if got.stream is not None:
            result = read_stream(got, top_logprobs)
        else:
            result = read_reply(
                got.status, got.headers, bytes(got.body), top_logprobs, self.profile.api
            )
        if rate := read_rate(got.headers, self.profile.rate_headers):
            result = msgspec.structs.replace(result, rate=rate)
        return self._without_key(result) if isinstance(result, Failure) else result

    async def models(self) -> tuple[Listed, ...] | Failure:
        """The models that the endpoint lists; empty where it lists none or has no such page."""
        got = await self._get(("models",))
        if isinstance(got, Failure):
            return got
        if got.status in (401, 403):
            failure = read_reply(got.status, got.headers, bytes(got.body), 0)
            return self._without_key(failure) if isinstance(failure, Failure) else ()
        try:
            document = decode(bytes(got.body))[0] if got.status == 200 else None
        except ValueError:
            return ()
        return read_models(document)

    async def waiting(self) -> int | None:
        """How many requests wait inside the server by its own metrics; None where it tells not."""
        got = await self._get(("..", "metrics"))
        if isinstance(got, Failure) or got.status != 200 or not self.profile.waiting_metric:
            return None
        return read_gauge(bytes(got.body).decode(errors="replace"), self.profile.waiting_metric)

    async def _get(self, path: Sequence[str]) -> RawReply | Failure:
        assert self._sessions, "the client is not open"
        limit_s = min(LIST_TIMEOUT_S, self._timeout_s)
        got = self._sessions[0].get(self._url(path), allow_redirects=False, proxy=self._proxy)
        return await self._read(got, limit_s)

    async def _post(self, body: bytes) -> RawReply | Failure:
        """One request and its reply.

        Sent once more, on a connection of its own, where the endpoint closed the idle one.
        """
        assert self._sessions, "the client is not open"
        path = self._path()
        if not wire.KNOWN:
            session = self._sessions[0]
            sent = session.post(
                self._url(path), data=body, allow_redirects=False, proxy=self._proxy
            )
            return await self._read(sent, self._timeout_s)
        for number, session in enumerate(self._sessions):
            page = self._pages.get((number, path))
            if page is None:
                page = Page(session, self._url(path), self._proxy, self._limits)
                self._pages[number, path] = page
            exchange = page.post(body)
            got = await self._read(exchange, self._timeout_s)
            if not exchange.closed_while_idle:
                break
        return got

    async def _read(
        self,
        exchange: AbstractAsyncContextManager[aiohttp.ClientResponse | Exchange],
        timeout_s: float,
    ) -> RawReply | Failure:
        """What came back, or why it did not, in the time that there is."""
        assert self._deadlines is not None
        raw: RawReply | None = None
        deadline = self._deadlines.after(timeout_s)
        try:
            with deadline:
                async with exchange as response:
                    self.server = response.headers.get("Server", self.server)
                    raw = RawReply(response, self.profile.api)
                    await (raw.read() if raw.stream is None else self._follow(raw, deadline))
                    return raw
        except (TooLarge, asyncio.TimeoutError, aiohttp.ClientError, OSError) as error:
            received = bytes(raw.body[:KEPT_BYTES]) if raw is not None else b""
            stalled = isinstance(error, asyncio.TimeoutError) and deadline.at < deadline.end
            why = Stalled(f"the stream stood still for {self._idle_s:g} s") if stalled else error
            return self._without_key(network_failure(why, timeout_s, received))

    def _url(self, path: Sequence[str]) -> URL:
        """The address of a page."""
        url = self.base_url.joinpath(*path).with_query(self._query)
        api = self.profile.api
        if path == ("models",):
            return url.update_query(WHOLE_LIST.get(api, {}))
        return url.update_query(alt="sse") if api == "gemini" and self.profile.stream else url

    def _path(self) -> Sequence[str]:
        if self.profile.api != "gemini":
            return PAGES[self.profile.api]
        verb = "streamGenerateContent" if self.profile.stream else "generateContent"
        return ("models", f"{self._model}:{verb}")

    async def _follow(self, raw: RawReply, deadline: Deadline) -> None:
        """Read a stream until its end; comments and blank lines do not keep it alive."""
        assert raw.stream is not None
        stream, content = raw.stream, raw.response.content
        seen, time = -1, asyncio.get_running_loop().time
        while not stream.done:
            if stream.events > seen:
                seen, deadline.at = stream.events, min(deadline.end, time() + self._idle_s)
            chunk = await content.readany()
            if not chunk:
                break
            raw.keep(chunk)
            stream.feed(chunk)
        stream.end()

    def _without_key(self, failure: Failure) -> Failure:
        if not self._key or self._key not in failure.error + failure.raw:
            return failure
        return msgspec.structs.replace(
            failure,
            error=failure.error.replace(self._key, "***"),
            raw=failure.raw.replace(self._key, "***"),
        )


def base_url_of(text: str) -> URL:
    """The address up to and including `/v1`, without the query, user and password.

    Raises:
        TeacherError: it is no http address, or carries a password or key.
    """
    try:
        url = URL(text.strip())
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise TeacherError(
            f"the endpoint's base_url is {text!r}, which is no http address",
            "write it like http://localhost:8000/v1",
        )
    if url.user or url.password:
        raise TeacherError(
            "the endpoint's base_url carries a user name or password",
            "put the key into an environment variable and name it in teacher.api_key_env",
        )
    if named := [name for name in url.query if name.lower() in SECRET]:
        raise TeacherError(
            f"the endpoint's base_url carries a key as {named[0]!r}, which servers and proxies log",
            "put the key into an environment variable and name it in teacher.api_key_env",
        )
    path = url.path.rstrip("/").removesuffix("/chat/completions")
    return url.with_query(None).with_fragment(None).with_path(path or "/")


def address_of(base_url: str) -> str:
    """Host and path, as `find_profile` takes them."""
    url = base_url_of(base_url)
    return f"{url.host}{url.path.rstrip('/')}"


def _header_safe(key: str | None) -> str:
    """The key without white space around it.

    Raises:
        TeacherError: it cannot be sent in a header. The message does not show the key.
    """
    stripped = (key or "").strip()
    if not (stripped.isascii() and stripped.isprintable()):
        raise TeacherError(
            "the endpoint's API key holds characters that no HTTP header can carry",
            "check the environment variable that teacher.api_key_env names",
        )
    return stripped
