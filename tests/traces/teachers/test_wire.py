from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.fault_server import FaultServer, good
from traces.teachers import wire
from traces.teachers.chat_client import ChatClient
from traces.teachers.profile import find_profile
from traces.teachers.wire import Page

LIMITS = aiohttp.ClientTimeout(total=None, sock_connect=5.0)
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def plain(body: bytes, head: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


async def request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Head and body of what was sent."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
    return head, await reader.readexactly(length)


async def posted(
    handler: Handler, *bodies: bytes, proxied: bool = False, session: bool = False
) -> list[tuple[Any, ...]]:
    """Status, type and body of the replies to posts of a page or a session, one after the other."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    found = []
    heads = {"X-Mine": "a", "User-Agent": "me", "Content-Type": "application/json"}
    async with server, aiohttp.ClientSession(headers=heads) as one:
        here = f"http://127.0.0.1:{port}"
        url, proxy = (
            ("http://far.example/v1/x?y=1", here) if proxied else (f"{here}/v1/x?y=1", None)
        )
        page = Page(one, URL(url), proxy, LIMITS)
        for body in bodies:
            sent = one.post(url, data=body, proxy=proxy) if session else page.post(body)
            async with sent as reply:
                read = b""
                while chunk := await reply.content.readany():
                    read += chunk
                found.append((reply.status, reply.content_type, read))
    return found


@pytest.mark.parametrize("proxied", [False, True])
def test_a_page_gets_the_heads_that_a_session_would_send(proxied: bool) -> None:
    seen = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            seen.append(await request(reader))
            writer.write(plain(b"yes", "Content-Type: Text/Plain; charset=x\r\n"))
        writer.close()

    replies = asyncio.run(posted(handler, b"one", b"", proxied=proxied))
    assert replies == [(200, "text/plain", b"yes")] * 2
    asyncio.run(posted(handler, b"one", b"", proxied=proxied, session=True))
    lines = [sorted(re.sub(r"127.0.0.1:\d+", "", head).splitlines()) for head, _ in seen]
    assert lines[:2] == lines[2:]
    del seen[2:]
    target = "http://far.example/v1/x?y=1" if proxied else "/v1/x?y=1"
    assert [body for _, body in seen] == [b"one", b""]
    for head, _ in seen:
        assert head.startswith(f"POST {target} HTTP/1.1\r\n")
        assert head.count("Host: ") == head.count("X-Mine: a\r\n") == 1
        assert head.count("User-Agent: me\r\n") == head.count("Accept-Encoding: ") == 1


def test_replies_may_be_chunked_compressed_or_end_with_the_connection() -> None:
    packed = gzip.compress(b"packed")
    replies = iter(
        [
            b"HTTP/1.1 100 Continue\r\n\r\n" + plain(packed, "Content-Encoding: gzip\r\n"),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            b"HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\nuntil the end",
        ]
    )

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            await request(reader)
            writer.write(reply)
        writer.close()

    assert asyncio.run(posted(handler, b"1", b"2", b"3")) == [
        (200, "", b"packed"), (200, "", b"abcde"), (503, "", b"until the end"),
    ]  # fmt: skip


def test_a_connection_whose_reply_was_not_read_to_its_end_is_not_used_again() -> None:
    connections = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")

    async def run() -> list[bytes]:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
        began = []
        async with server, aiohttp.ClientSession() as session:
            page = Page(session, url, None, LIMITS)
            for _ in range(2):
                async with page.post(b"a") as reply:
                    began.append(await reply.content.readany())
            for writer in connections:
                writer.close()
        return began

    assert asyncio.run(run()) == [b"abc"] * 2
    assert len(connections) == 2


@pytest.mark.parametrize(
    ("said", "error", "idle"),
    [
        (b"", aiohttp.ServerDisconnectedError, True),
        (b"HTTP/1.1 2", aiohttp.ServerDisconnectedError, False),
        (b"nonsense\r\n\r\n", aiohttp.ClientResponseError, False),
    ],
)
def test_what_goes_wrong_before_a_reply_is_an_error_and_tells_an_idle_connection(
    said: bytes, error: type[Exception], idle: bool
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(plain(b"first"))
        await request(reader)
        writer.write(said)
        writer.close()

    async def run() -> tuple[BaseException | None, bool]:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
        async with server, aiohttp.ClientSession() as session:
            page = Page(session, url, None, LIMITS)
            async with page.post(b"a") as reply:
                await reply.content.read()
            second = page.post(b"b")
            try:
                await second.__aenter__()
            except aiohttp.ClientError as found:
                return found, second.closed_while_idle
        return None, False

    found, closed_while_idle = asyncio.run(run())
    assert isinstance(found, error)
    assert closed_while_idle is idle


def test_an_idle_connection_that_closes_as_it_is_taken_was_closed_while_idle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(plain(b"first"))
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    ended = asyncio.Event()

    async def run() -> bool:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x")
        async with server, aiohttp.ClientSession() as session:
            page = Page(session, url, None, LIMITS)
            async with page.post(b"a") as reply:
                await reply.content.read()
            taken = await page.pool.connect(page.request, [], LIMITS)
            assert taken.transport is not None
            taken.transport.close()

            async def connect(*_: Any) -> Any:
                return taken

            monkeypatch.setattr(page.pool, "connect", connect)
            second = page.post(b"b")
            with pytest.raises(aiohttp.ClientOSError, match="before it was used"):
                await second.__aenter__()
            await ended.wait()
            return second.closed_while_idle

    assert asyncio.run(run())


def test_another_release_of_aiohttp_is_used_by_its_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ask(url: str) -> list[Any]:
        profile = find_profile("generic", "")
        async with ChatClient(url, "key", timeout_s=5.0, profile=profile) as client:
            return [await client.chat(b'{"messages": [{"content": "x"}]}', 0) for _ in range(2)]

    with FaultServer(lambda _: good()) as server:
        assert wire.KNOWN
        known = asyncio.run(ask(server.url))
        monkeypatch.setattr(wire, "KNOWN", False)
        monkeypatch.delattr(wire.Page, "post")
        assert asyncio.run(ask(server.url)) == known
        assert sum(server.asked.values()) == 4
