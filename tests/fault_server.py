"""A chat-completions server on 127.0.0.1 that misbehaves as told, and counts what it did."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

PAGES = r"/v1/(chat/completions|messages|responses|models/[^/]+:(streamG|g)enerateContent)"
ENDED = (b'"finish_reason"', b'"finishReason"', b'"status": "completed"')


class Answer(msgspec.Struct, frozen=True):
    """What goes over the wire: a reply, whole (`cut` None) or broken off after `cut` bytes.

    `reset` ends the connection with RST instead of FIN; `cut=0` sends nothing at all.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = {}
    delay_s: float = 0.0
    cut: int | None = None
    reset: bool = False
    hang_up: bool = False
    """Close the connection after the whole reply without having said so."""
    hang_up_after_s: float = 0.0
    half_close: bool = False
    """Send FIN and nothing else, but keep the connection."""
    drip: tuple[tuple[float, bytes], ...] = ()
    """Instead of `body`: pieces, each after a pause, ended by closing the connection."""
    whole: bool = False
    """Whether `drip` is a whole reply."""


class Ask(msgspec.Struct, frozen=True):
    """One chat request: its JSON, its last message, how often that came before, who else is in."""

    body: dict[str, Any]
    text: str
    earlier: int
    in_flight: int
    headers: dict[str, str]
    on_connection: int = 0
    """How many requests the connection brought before."""
    path: str = ""


def last_text(request: dict[str, Any]) -> str:
    """What was asked last, in whatever shape."""
    turns = request.get("messages") or request.get("input") or request["contents"]
    said = turns[-1].get("content", turns[-1].get("parts"))
    return (
        said
        if isinstance(said, str)
        else json.dumps(said)
        if "text" not in said[0]
        else str(said[0]["text"])
    )


def completion(content: Any = "4", **message: Any) -> dict[str, Any]:
    """The JSON of a chat completion; `finish_reason`, `usage`, `logprobs`, `token_ids` move up."""
    choice: dict[str, Any] = {
        name: message.pop(name) for name in ("logprobs", "token_ids", "error") if name in message
    }
    choice |= {"index": 0, "finish_reason": message.pop("finish_reason", "stop")}
    usage = message.pop("usage", {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9})
    choice["message"] = {"role": "assistant", "content": content, **message}
    return {"id": "c1", "model": "real-model", "choices": [choice], "usage": usage}


def good(content: Any = "4", **message: Any) -> Answer:
    """A completion as it should be."""
    return Answer(json.dumps(completion(content, **message)).encode())


def event(data: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def deltas(*texts: str, field: str = "content", **usage: int) -> list[bytes]:
    """The events of a streamed completion: one for each text, then finish, usage and the end."""
    made = [event({"model": "real-model", "choices": [{"index": 0, "delta": {field: text}}]})
            for text in texts]  # fmt: skip
    made.append(event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
    if usage:
        made.append(event({"choices": [], "usage": usage}))
    return [*made, event(b"[DONE]")]


def streamed(*pieces: bytes, pause_s: float = 0.0, whole: bool = False) -> Answer:
    """These pieces as a stream of events."""
    headers = {"Content-Type": "text/event-stream", "Server": "fault"}
    drip = tuple((pause_s, piece) for piece in pieces)
    return Answer(headers=headers, drip=drip, whole=whole)


def error(status: int, message: str = "no", **headers: str) -> Answer:
    """An error as endpoints word it; `retry_after="1"` makes a header of it."""
    body = json.dumps({"error": {"message": message}}).encode()
    return Answer(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


class FaultServer:
    """Runs in a thread of its own between `with` and its end.

    `behave` maps each chat request to an answer; `models` is what GET /v1/models lists, None for
    404, an `Answer` for anything else.
    """

    def __init__(
        self,
        behave: Callable[[Ask], Answer],
        models: list[str] | Answer | None = None,
        certificate: Path | None = None,
    ) -> None:
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self.behave = behave
        self.models = models
        self.metrics: Callable[[int], str] | None = None
        """What GET /metrics says with so many in flight."""
        self.asked: Counter[str] = Counter()
        self.served: Counter[str] = Counter()
        """Whole completions that say how they ended, by the last message."""
        self.most_in_flight = 0
        self.lines: deque[str] = deque(maxlen=10)
        """The first lines of the last requests."""
        self._in_flight = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> FaultServer:
        self._thread.start()
        self.port = 0
        self.listen_again()
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def stop_listening(self) -> None:
        """Refuse new connections, as a server does that went away."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()

    def listen_again(self) -> None:
        """Be there again, at the same address."""
        future = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(
                self._serve, "127.0.0.1", self.port, backlog=4096, ssl=self._tls, limit=2**20
            ),
            self._loop,
        )
        self._server = future.result()

    async def _close(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        earlier = 0
        try:
            while await self._exchange(reader, writer, earlier):
                earlier += 1
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, earlier: int
    ) -> bool:
        """One request and its reply; whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        self.lines.append(head[0])
        path = re.sub(r"^http://[^/]*", "", path)  # as a proxy is asked
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if method == "GET":
            return await self._send(writer, self._page(path))
        if not re.fullmatch(PAGES, path.partition("?")[0]):
            return await self._send(writer, error(404, "no such page"))
        request = json.loads(body)
        text = last_text(request)
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        ask = Ask(request, text, self.asked[text], self._in_flight, headers, earlier, path)
        self.asked[text] += 1
        try:
            answer = self.behave(ask)
            await asyncio.sleep(answer.delay_s)
        finally:
            self._in_flight -= 1
        stays = await self._send(writer, answer)
        ended = any(mark in answer.body for mark in ENDED)
        replied = answer.whole or ((stays or answer.hang_up) and ended)
        if replied and answer.status == 200:
            self.served[text] += 1
        if answer.hang_up or answer.half_close:
            await asyncio.sleep(answer.hang_up_after_s)
        return stays

    def _page(self, path: str) -> Answer:
        if path == "/metrics" and self.metrics is not None:
            return Answer(self.metrics(self._in_flight).encode())
        return self._list() if path.partition("?")[0] == "/v1/models" else error(404)

    def _list(self) -> Answer:
        if isinstance(self.models, Answer):
            return self.models
        if self.models is None:
            return error(404)
        return Answer(json.dumps({"data": [{"id": name} for name in self.models]}).encode())

    async def _drip(self, writer: asyncio.StreamWriter, answer: Answer) -> bool:
        """Send piece by piece without a length, as a stream of events comes."""
        lines = [f"HTTP/1.1 {answer.status} X", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        for pause_s, piece in answer.drip:
            await asyncio.sleep(pause_s)
            writer.write(piece)
            await writer.drain()
        return False

    async def _send(self, writer: asyncio.StreamWriter, answer: Answer) -> bool:
        if answer.drip:
            return await self._drip(writer, answer)
        lines = [f"HTTP/1.1 {answer.status} X", f"Content-Length: {len(answer.body)}"]
        lines += [
            f"{name}: {value}" for name, value in {"Server": "fault", **answer.headers}.items()
        ]
        if answer.half_close:
            writer.write_eof()
        elif answer.cut != 0:
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
            writer.write(answer.body[: answer.cut])
            await writer.drain()
        if answer.reset:
            linger = struct.pack("ii", 1, 0)
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        broken = answer.reset or answer.hang_up or answer.half_close
        return answer.cut is None and not broken
