"""The HTTP side of an endpoint: send one request, return what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType

import aiohttp
import msgspec
from yarl import URL

from traces.errors import TeacherError
from traces.teachers.chat_json import decode
from traces.teachers.chat_reply import Reply, read_document, read_reply
from traces.teachers.deadlines import Deadline, Deadlines
from traces.teachers.messages_stream import MessagesStream
from traces.teachers.network import Stalled, TooLarge, network_failure, proxy_of
from traces.teachers.profile import Profile
from traces.teachers.queue_watch import read_gauge
from traces.teachers.rate_headers import read_rate
from traces.teachers.retry import Failure
from traces.teachers.sse import Stream

CONNECT_TIMEOUT_S = 10.0
LIST_TIMEOUT_S = 30.0
KEEPALIVE_S = 3.0
"""vLLM and llama.cpp close idle connections after 5 s; ours must be closed first."""
MAX_REPLY_BYTES = 256 * 2**20
"""No answer is larger: 128k tokens with 20 logprobs each take about 150 MB of JSON."""
KEPT_BYTES = 2**20
"""So much is kept of a reply that broke off."""

PAGES = {"chat": ("chat", "completions"), "messages": ("messages",)}


class Listed(msgspec.Struct, frozen=True):
    """One model of an endpoint's list. `weights` is what tells servers of one name apart."""

    name: str
    owner: str = ""
    weights: str = ""


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
    ) -> None:
        self.base_url = base_url_of(base_url)
        self.profile = profile
        self._query = URL(base_url).query
        self._key = _header_safe(api_key)
        self._timeout_s = timeout_s
        self._idle_s = min(idle_s, timeout_s)
        self._proxy = proxy_of(self.base_url)
        self._session: aiohttp.ClientSession | None = None
        self._deadlines: Deadlines | None = None
        self._urls: dict[Sequence[str], URL] = {}

    async def __aenter__(self) -> ChatClient:
        headers = {"Content-Type": "application/json", "User-Agent": "trace-distill"}
        if self._key:
            bearer = self.profile.auth_header == "authorization"
            headers[self.profile.auth_header] = f"Bearer {self._key}" if bearer else self._key
        connect_s = min(CONNECT_TIMEOUT_S, self._timeout_s)
        self._deadlines = Deadlines(min(self._idle_s, LIST_TIMEOUT_S))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
            headers=headers | self.profile.headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def chat(self, body: bytes, top_logprobs: int) -> Reply | Failure:
        """The reply to one chat request. Raises nothing for what the endpoint or network does."""
        got = await self._send("POST", PAGES[self.profile.api], body, self._timeout_s)
        if isinstance(got, Failure):
            return got
        if got.stream is not None:
            result = _read_stream(got, top_logprobs)
        else:
            result = read_reply(
                got.status, got.headers, bytes(got.body), top_logprobs, self.profile.api
            )
        if rate := read_rate(got.headers, self.profile.rate_headers):
            result = msgspec.structs.replace(result, rate=rate)
        return self._without_key(result) if isinstance(result, Failure) else result

    async def models(self) -> tuple[Listed, ...] | Failure:
        """The models that the endpoint lists; empty where it lists none or has no such page."""
        got = await self._send("GET", ("models",), None, min(LIST_TIMEOUT_S, self._timeout_s))
        if isinstance(got, Failure):
            return got
        if got.status in (401, 403):
            failure = read_reply(got.status, got.headers, bytes(got.body), 0)
            return self._without_key(failure) if isinstance(failure, Failure) else ()
        try:
            document = decode(bytes(got.body))[0] if got.status == 200 else None
        except ValueError:
            return ()
        rows = document.get("data") if isinstance(document, dict) else None
        rows = rows if isinstance(rows, list) else []
        return tuple(
            _listed(row) for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)
        )

    async def waiting(self) -> int | None:
        """How many requests wait inside the server by its own metrics; None where it tells not."""
        path = ("..", "metrics")
        got = await self._send("GET", path, None, min(LIST_TIMEOUT_S, self._timeout_s))
        if isinstance(got, Failure) or got.status != 200 or not self.profile.waiting_metric:
            return None
        return read_gauge(bytes(got.body).decode(errors="replace"), self.profile.waiting_metric)

    async def _send(
        self, method: str, path: Sequence[str], body: bytes | None, timeout_s: float
    ) -> _Raw | Failure:
        assert self._session is not None, "the client is not open"
        assert self._deadlines is not None
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = self.base_url.joinpath(*path).with_query(self._query)
        raw: _Raw | None = None
        deadline = self._deadlines.after(timeout_s)
        try:
            with deadline:
                async with self._session.request(
                    method, url, data=body, allow_redirects=False, proxy=self._proxy
                ) as response:
                    self.server = response.headers.get("Server", self.server)
                    raw = _Raw(response, self.profile.api)
                    await (raw.read() if raw.stream is None else self._follow(raw, deadline))
                    return raw
        except (TooLarge, asyncio.TimeoutError, aiohttp.ClientError, OSError) as error:
            received = bytes(raw.body[:KEPT_BYTES]) if raw is not None else b""
            stalled = isinstance(error, asyncio.TimeoutError) and deadline.at < deadline.end
            why = Stalled(f"the stream stood still for {self._idle_s:g} s") if stalled else error
            return self._without_key(network_failure(why, timeout_s, received))

    async def _follow(self, raw: _Raw, deadline: Deadline) -> None:
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


class _Raw:
    """Status, headers and body of a reply; `stream` where it comes as events."""

    def __init__(self, response: aiohttp.ClientResponse, api: str) -> None:
        self.response = response
        self.status = response.status
        self.headers = response.headers
        self.body = bytearray()
        events = response.status == 200 and response.content_type == "text/event-stream"
        kind = MessagesStream if api == "messages" else Stream
        self.stream = kind() if events else None

    async def read(self) -> None:
        """The whole body."""
        while chunk := await self.response.content.readany():
            self.keep(chunk)

    def keep(self, chunk: bytes) -> None:
        """Add what came."""
        self.body += chunk
        if len(self.body) > MAX_REPLY_BYTES:
            raise TooLarge(f"a reply of more than {MAX_REPLY_BYTES >> 20} MiB")


def _read_stream(raw: _Raw, top_logprobs: int) -> Reply | Failure:
    """The answer in a stream that ended, however it ended."""
    assert raw.stream is not None
    stream, body = raw.stream, bytes(raw.body[:KEPT_BYTES])
    document = stream.document()
    if stream.broken or not (stream.finish or stream.done or document.get("error")):
        why = stream.broken or "it ended without saying so"
        text = body.decode(errors="replace")
        return Failure("broken", "malformed", f"the stream broke off: {why}", 200, raw=text,
                       billable=True)  # fmt: skip
    return read_document(document, raw.headers, top_logprobs, body, ("streamed",))


def _listed(row: dict[str, object]) -> Listed:
    names = ("root", "revision", "quantization", "max_model_len", "size", "meta")
    weights = {name: row[name] for name in names if row.get(name) is not None}
    owner = row.get("owned_by")
    text = msgspec.json.encode(weights, order="deterministic").decode() if weights else ""
    return Listed(str(row["id"]), owner if isinstance(owner, str) else "", text)


def base_url_of(text: str) -> URL:
    """The address up to and including `/v1`, without the query, user and password.

    Raises:
        TeacherError: it is no http address, or carries a password.
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
    path = url.path.rstrip("/").removesuffix("/chat/completions")
    return url.with_query(None).with_fragment(None).with_path(path or "/")


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
