"""The bytes of one HTTP reply as they come, and the answer in a stream of events."""

from __future__ import annotations

import aiohttp

from traces.teachers.chat_reply import Reply, read_document
from traces.teachers.gemini_stream import GeminiStream
from traces.teachers.messages_stream import MessagesStream
from traces.teachers.network import TooLarge
from traces.teachers.responses_stream import ResponsesStream
from traces.teachers.retry import Failure
from traces.teachers.sse import Stream
from traces.teachers.wire import Exchange

STREAMS: dict[str, type[Stream]] = {
    "chat": Stream,
    "messages": MessagesStream,
    "responses": ResponsesStream,
    "gemini": GeminiStream,
}
EVENTS = (b"data:", b"event:", b":")
"""How a stream of events begins, and no JSON."""
MAX_REPLY_BYTES = 256 * 2**20
"""No answer is larger: 128k tokens with 20 logprobs each take about 150 MB of JSON."""
KEPT_BYTES = 2**20
"""So much is kept of a reply that broke off."""


class RawReply:
    """Status, headers and body of a reply; `stream` where it comes as events."""

    def __init__(self, response: aiohttp.ClientResponse | Exchange, api: str) -> None:
        self.response = response
        self.status = response.status
        self.headers = response.headers
        self.body = bytearray()
        self._api = api
        events = response.status == 200 and response.content_type == "text/event-stream"
        self.stream = STREAMS[api]() if events else None

    async def read(self) -> None:
        """The whole body; events too, where what is in between took away their content type."""
        while chunk := await self.response.content.readany():
            self.keep(chunk)
        if self.status == 200 and self.body[:64].lstrip().startswith(EVENTS):
            self.stream = STREAMS[self._api]()
            self.stream.feed(bytes(self.body))
            self.stream.end()

    def keep(self, chunk: bytes) -> None:
        """Add what came."""
        self.body += chunk
        if len(self.body) > MAX_REPLY_BYTES:
            raise TooLarge(f"a reply of more than {MAX_REPLY_BYTES >> 20} MiB")


def read_stream(raw: RawReply, top_logprobs: int) -> Reply | Failure:
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
