"""Put the events of one streamed reply of the Anthropic messages API together again.

Source: Anthropic API reference, "Streaming messages". Pings are comments that look like events:
they are no progress.
"""

from __future__ import annotations

from typing import Any

from traces.teachers.messages_api import as_completion
from traces.teachers.sse import Stream

DELTAS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


class MessagesStream(Stream):
    """As `Stream`; `document` gives the reply in the terms of a chat completion."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[int, dict[str, Any]] = {}
        self._parts: dict[int, list[str]] = {}
        self._message: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}

    def _event(self, data: bytes) -> None:
        event = self._object(data) or {}
        if event.get("type") == "ping":
            return
        self.events += 1
        kind = event.get("type")
        if kind == "message_start":
            self._message |= _fields(event.get("message"))
            self._usage |= _fields(self._message.get("usage"))
        elif kind == "content_block_start":
            self._blocks[_index(event)] = dict(_fields(event.get("content_block")))
        elif kind == "content_block_delta":
            self._take_part(_index(event), _fields(event.get("delta")))
        elif kind == "message_delta":
            self._message |= _fields(event.get("delta"))
            self._usage |= {k: v for k, v in _fields(event.get("usage")).items() if v is not None}
            if isinstance(stop := self._message.get("stop_reason"), str):
                self.finish = stop
        elif kind == "message_stop":
            self.done = True
        elif kind == "error":
            self._message["error"] = event.get("error")

    def _take_part(self, index: int, delta: dict[str, Any]) -> None:
        if delta.get("type") == "signature_delta":
            block = self._blocks.setdefault(index, {"type": "thinking"})
            block["signature"] = str(block.get("signature") or "") + str(delta.get("signature"))
        name = DELTAS.get(str(delta.get("type")))
        if name is not None and isinstance(text := delta.get(name), str):
            self._blocks.setdefault(index, {"type": name})
            self._parts.setdefault(index, []).append(text)

    def document(self) -> dict[str, Any]:
        """The reply as if it had come in one piece; an error object where one came."""
        if error := self._message.get("error"):
            return {"error": error}
        if not self._blocks and not self.finish:
            return {}
        blocks = [self._block(index) for index in sorted(self._blocks)]
        return as_completion({**self._message, "content": blocks, "usage": self._usage})

    def _block(self, index: int) -> dict[str, Any]:
        block, text = self._blocks[index], "".join(self._parts.get(index, ()))
        name = {"tool_use": "input", "thinking": "thinking"}.get(str(block.get("type")), "text")
        before = block.get(name)
        return {**block, name: before + text if isinstance(before, str) else text or before}


def _fields(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _index(event: dict[str, Any]) -> int:
    index = event.get("index")
    return index if isinstance(index, int) else 0
