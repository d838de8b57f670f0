"""Put the server-sent events of one streamed reply together again.

What comes out is the document that the same request would have brought without streaming, so one
reader (`chat_reply`) reads both. Source of the framing: WHATWG HTML, "Server-sent events".
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from traces.teachers.chat_json import decode

TEXT_FIELDS = ("content", "reasoning_content", "reasoning", "thinking", "refusal")


class _Delta(msgspec.Struct):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    thinking: Any = None
    refusal: Any = None
    reasoning_details: Any = None
    tool_calls: Any = None


class _Choice(msgspec.Struct):
    index: Any = 0
    delta: _Delta | None = None
    finish_reason: Any = None
    stop_reason: Any = None
    logprobs: Any = None
    token_ids: Any = None
    error: Any = None


class _Event(msgspec.Struct):
    id: Any = None
    choices: list[_Choice] | None = None
    usage: Any = None
    model: Any = None
    system_fingerprint: Any = None
    error: Any = None


class _TextDelta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: str | None = None
    refusal: None = None
    reasoning_details: None = None
    tool_calls: None = None


class _TextChoice(msgspec.Struct, gc=False):
    delta: _TextDelta
    index: Literal[0] = 0
    finish_reason: None = None
    stop_reason: None = None
    logprobs: None = None
    token_ids: None = None
    error: None = None


class _TextEvent(msgspec.Struct, gc=False):
    """An event with nothing but text in it, as nearly all are. What is more is a decoding error."""

    choices: tuple[_TextChoice]
    usage: None = None
    model: Any = None
    system_fingerprint: Any = None
    error: None = None


MISSES = 32
"""After so many events with more than text the others are not tried as such."""


class Stream:
    """Collects one reply: `feed` bytes as they come, then `document`.

    `events` counts data events: comments and blank lines are no progress. `done` is true once the
    end was announced; `broken` says what was wrong with an event that could not be read.
    """

    def __init__(self) -> None:
        self.events = 0
        self.done = False
        self.broken = ""
        self.finish: str | None = None
        self._rest = b""
        self._pieces: list[bytes] = []
        self._data: list[bytes] = []
        self._texts: dict[str, list[str]] = {name: [] for name in TEXT_FIELDS}
        self._add_content = self._texts["content"].append
        self._lists: dict[str, list[Any]] = {}
        self._top: dict[str, Any] = {}
        self._choice: dict[str, Any] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._decoder = msgspec.json.Decoder(_Event)
        self._text_decoder = msgspec.json.Decoder(_TextEvent)
        self._misses = 0 if type(self) is Stream else MISSES  # others have events of their own
        self._latest: _TextEvent | None = None

    def feed(self, received: bytes) -> None:
        """Take the bytes that came next; they may end anywhere."""
        if b"\n" not in received:  # the middle of a long line, which is not copied again and again
            self._pieces.append(received)
            return
        received = self._whole(received)
        received = self._rest + received if self._rest else received
        if self._data or b"\r" in received:
            self._lines(received)
            return
        blocks = received.split(b"\n\n")  # the common form, at half the time
        rest = blocks.pop()
        for block in blocks:
            if self._misses < MISSES and block[:7] == b"data: {" and self._text(block[6:]):
                continue
            if block[:6] == b"data: " and b"\n" not in block:
                self._event(block[6:])
            else:
                self._lines(block + b"\n\n")
        self._rest = rest

    def _text(self, data: bytes) -> bool:
        """Take an event that holds nothing but text; False where it holds more."""
        try:
            event = self._text_decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._misses += 1
            return False
        self.events += 1
        latest, self._latest = self._latest, event
        if latest is not None and (event.model is None or event.system_fingerprint is None):
            self._name(latest)
        if self.finish is None:
            delta = event.choices[0].delta
            if delta.content is not None:
                self._add_content(delta.content)
            if delta.reasoning_content is not None:
                self._texts["reasoning_content"].append(delta.reasoning_content)
            if delta.reasoning is not None:
                self._texts["reasoning"].append(delta.reasoning)
            if delta.thinking is not None:
                self._texts["thinking"].append(delta.thinking)
        return True

    def _whole(self, received: bytes) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join([*pieces, received]) if pieces else received

    def _lines(self, received: bytes) -> None:
        lines = received.split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._line(line)

    def end(self) -> None:
        """Take what came last, where the final line break is missing."""
        rest, self._rest = self._rest + self._whole(b""), b""
        self._lines(rest + b"\n\n")

    def _line(self, line: bytes) -> None:
        if line[-1:] == b"\r":
            line = line[:-1]
        if line[:5] == b"data:":
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif not line and self._data:
            data, self._data = b"\n".join(self._data), []
            self._event(data)

    def _event(self, data: bytes) -> None:
        if data[:1] != b"{":
            if data.strip() == b"[DONE]":
                self.done = True
                return
            if not data.strip():
                return
        self.events += 1
        try:
            event = self._decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            try:
                event = msgspec.convert(decode(data)[0], _Event)
            except (ValueError, msgspec.ValidationError) as error:
                self.broken = self.broken or f"an event that cannot be read ({error})"
                return
        self._take(event)

    def _object(self, data: bytes) -> dict[str, Any] | None:
        """An event of another interface; None where it is none, noted if it is no JSON."""
        try:
            event = decode(data)[0]
        except ValueError as error:
            event = None
            self.broken = self.broken or f"an event that cannot be read ({error})"
        return event if isinstance(event, dict) else None

    def _name(self, event: _Event | _TextEvent) -> None:
        """Note who answers."""
        if event.model is not None:
            self._top["model"] = event.model
        if event.system_fingerprint is not None:
            self._top["system_fingerprint"] = event.system_fingerprint

    def _take(self, event: _Event) -> None:
        if self._latest is not None:
            self._name(self._latest)
            self._latest = None
        self._name(event)
        if event.id:
            self._top["id"] = event.id
        if event.usage is not None:
            self._top["usage"] = event.usage
        if event.error is not None:
            self._top["error"] = event.error
        for choice in event.choices or ():
            if choice.index in (0, None):
                self._take_choice(choice)

    def _take_choice(self, choice: _Choice) -> None:
        if choice.delta is not None and self.finish is None:
            self._take_delta(choice.delta)
        if choice.finish_reason is not None:
            self.finish = self._choice["finish_reason"] = choice.finish_reason
        if choice.stop_reason is not None:
            self._choice["stop_reason"] = choice.stop_reason
        if choice.error is not None:
            self._choice["error"] = choice.error
        if isinstance(choice.token_ids, list):
            self._lists.setdefault("token_ids", []).extend(choice.token_ids)
        if isinstance(choice.logprobs, dict) and isinstance(choice.logprobs.get("content"), list):
            self._lists.setdefault("logprobs", []).extend(choice.logprobs["content"])

    def _take_delta(self, delta: _Delta) -> None:
        texts = self._texts
        if isinstance(text := delta.content, str):
            texts["content"].append(text)
        elif isinstance(text, list):
            self._lists.setdefault("parts", []).extend(text)
        if isinstance(text := delta.reasoning_content, str):
            texts["reasoning_content"].append(text)
        if isinstance(text := delta.reasoning, str):
            texts["reasoning"].append(text)
        if isinstance(text := delta.thinking, str):
            texts["thinking"].append(text)
        if isinstance(text := delta.refusal, str):
            texts["refusal"].append(text)
        if isinstance(delta.reasoning_details, list):
            self._lists.setdefault("reasoning_details", []).extend(delta.reasoning_details)
        if isinstance(delta.tool_calls, list):
            self._take_calls(delta.tool_calls)

    def _take_calls(self, calls: list[Any]) -> None:
        for call in calls:
            if not isinstance(call, dict):
                continue
            index = call.get("index") if isinstance(call.get("index"), int) else 0
            whole = self._calls.setdefault(index or 0, {"type": "function", "function": {}})
            given = call.get("function")
            for name, text in (given if isinstance(given, dict) else {}).items():
                if isinstance(text, str):
                    whole["function"][name] = whole["function"].get(name, "") + text
            whole |= {name: call[name] for name in ("id", "extra_content") if call.get(name)}

    def document(self) -> dict[str, Any]:
        """The reply as if it had come in one piece; without `choices` where no text came."""
        if self._latest is not None:
            self._name(self._latest)
        message: dict[str, Any] = {
            name: "".join(texts) for name, texts in self._texts.items() if texts
        }
        if parts := self._lists.get("parts"):
            text = [{"type": "text", "text": message["content"]}] if "content" in message else []
            message["content"] = parts + text
        if details := self._lists.get("reasoning_details"):
            message["reasoning_details"] = details
        if self._calls:
            message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        choice = {**self._choice, "message": message}
        if "token_ids" in self._lists:
            choice["token_ids"] = self._lists["token_ids"]
        if "logprobs" in self._lists:
            choice["logprobs"] = {"content": self._lists["logprobs"]}
        found = dict(self._top)
        if message or self._choice:
            found["choices"] = [choice]
        return found
