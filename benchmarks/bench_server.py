"""A chat-completions server for benchmarks: fixed replies after a drawn latency, a hidden cap.

It does as little as a server can, in a process of its own, so that the client is what is measured.
Usage: python -m benchmarks.bench_server PORT_FILE '{"low_s": 0.1, "high_s": 0.5, "bytes": 10240}'
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar


class Server(asyncio.Protocol):
    settings: ClassVar[dict[str, Any]] = {}
    reply = b""
    rng = random.Random(0)
    in_flight = 0
    counts: ClassVar[dict[str, float]] = {"ok": 0, "429": 0, "busy_s": 0.0, "asked": 0}
    seen: ClassVar[Counter[str]] = Counter()
    began = 0.0
    faulty = False

    def connection_made(self, transport: Any) -> None:
        self.transport, self.buffer = transport, bytearray()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        start = self.buffer[: head + 4].lower()
        at = start.find(b"content-length:")
        length = int(start[at + 15 : start.find(b"\r", at)]) if at >= 0 else 0
        if len(self.buffer) < head + 4 + length:
            return
        body = bytes(self.buffer[head + 4 : head + 4 + length])
        del self.buffer[: head + 4 + length]
        if start.startswith(b"get /stats"):
            self.send(json.dumps(Server.counts).encode())
        elif start.startswith(b"get"):
            self.send(b'{"data": []}')
        else:
            self.chat(body)

    def cap(self) -> int:
        """The hidden limit now: 300, then 60, then 300 again, a third of the time each."""
        caps, every = self.settings.get("caps"), self.settings.get("every_s", 10.0)
        Server.began = Server.began or time.monotonic()
        step = int((time.monotonic() - Server.began) / every)
        return caps[min(step, len(caps) - 1)] if caps else 10**9

    def chat(self, body: bytes) -> None:
        Server.counts["asked"] += 1
        if Server.in_flight >= self.cap():
            Server.counts["429"] += 1
            wait = self.settings.get("retry_after")
            extra = b"Retry-After: %s\r\n" % wait.encode() if wait else b""
            self.send(b'{"error": {"message": "too many"}}', b"429 Busy", extra=extra)
            return
        self.faulty = bool(self.settings.get("fault")) and self.fails(body)
        Server.in_flight += 1
        delay = self.rng.uniform(self.settings["low_s"], self.settings["high_s"])
        asyncio.get_running_loop().call_later(delay, self.done, delay)

    def fails(self, body: bytes) -> bool:
        """Whether this is one of the first two requests of a prompt that is one in three."""
        messages = json.loads(body)["messages"]
        text = messages[-1]["content"] if messages else ""
        Server.seen[text] += 1
        return bool(text) and zlib.crc32(text.encode()) % 3 == 0 and Server.seen[text] <= 2

    def break_off(self) -> None:
        """A reply that is none: an error with status 200, half of its JSON, or a reset in it."""
        fault, half = self.settings["fault"], self.reply[: len(self.reply) // 2]
        if fault == "error in a 200":
            self.send(b'{"error": {"message": "upstream failed", "code": 502}}')
        elif fault == "truncated JSON":
            self.send(half)
        else:
            head = (
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            )
            self.transport.write(head % len(self.reply) + half)
            linger = struct.pack("ii", 1, 0)  # RST instead of FIN
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
            asyncio.get_running_loop().call_later(0.01, self.transport.abort)

    def done(self, delay: float) -> None:
        Server.in_flight -= 1
        if self.faulty and not self.transport.is_closing():
            self.break_off()
            return
        Server.counts["ok"] += 1
        Server.counts["busy_s"] += delay
        if not self.transport.is_closing():
            self.send(self.reply, kind=self.settings.get("kind", "application/json").encode())

    def send(
        self,
        body: bytes,
        status: bytes = b"200 OK",
        kind: bytes = b"application/json",
        extra: bytes = b"",
    ) -> None:
        self.transport.write(
            b"HTTP/1.1 %s\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n%s"
            % (status, kind, extra, len(body), body)
        )


def make_reply(settings: dict[str, Any]) -> bytes:
    """One completion of so many bytes, or a stream of so many chunks, or one with logprobs."""
    rng = random.Random(1)
    words = ["therefore", "the", "sum", "of", "digits", "is", "even", "and", "we", "carry", "one"]
    text = ""
    while len(text) < settings.get("bytes", 10240):
        text += rng.choice(words) + (f" {rng.randrange(1000)} " if rng.random() < 0.3 else " ")
    if chunks := settings.get("chunks"):
        lines = [
            {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
             "choices": [{"index": 0, "delta": {"content": rng.choice(words) + " "},
                          "logprobs": None, "finish_reason": None}]}
            for _ in range(chunks)
        ]  # fmt: skip
        lines[-1]["choices"][0]["finish_reason"] = "stop"
        events = [b"data: " + json.dumps(line).encode() + b"\n\n" for line in lines]
        return b"".join([*events, b"data: [DONE]\n\n"])
    choice: dict[str, Any] = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": f"<think>{text}</think>42"},
    }
    tokens = settings.get("logprobs", 0)
    if tokens:
        choice["logprobs"] = {"content": [entry(rng) for _ in range(tokens)]}
    made = tokens or 2560
    usage = {"prompt_tokens": 100, "completion_tokens": made, "total_tokens": 100 + made}
    frame = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    return json.dumps({**frame, "choices": [choice], "usage": usage}).encode()


def entry(rng: random.Random) -> dict[str, Any]:
    """Logprobs of one token as vLLM gives them with `return_tokens_as_token_ids`."""
    ids = rng.sample(range(150_000), 20)
    logprobs = sorted((-rng.expovariate(0.2) for _ in ids), reverse=True)
    top = [{"token": f"token_id:{i}", "logprob": lp} for i, lp in zip(ids, logprobs, strict=True)]
    return {**top[0], "top_logprobs": top}


async def main() -> None:
    port_file, settings = sys.argv[1:]
    Server.settings = json.loads(settings)
    Server.reply = make_reply(Server.settings)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=4096)
    Path(port_file).write_text(str(server.sockets[0].getsockname()[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
