"""Put the events of one streamed reply of the native Gemini interface together again.

Each event is a reply of its own with the next parts; the last has the reason of its end and the
usage.
"""

from __future__ import annotations

from typing import Any

from traces.teachers.gemini_api import as_completion
from traces.teachers.sse import Stream


class GeminiStream(Stream):
    """As `Stream`; `document` gives the reply in the terms of a chat completion."""

    def __init__(self) -> None:
        super().__init__()
        self._reply: dict[str, Any] = {}
        self._candidate: dict[str, Any] = {}
        self._parts: list[Any] = []

    def _event(self, data: bytes) -> None:
        self.events += 1
        event = self._object(data) or {}
        self._reply |= event
        candidates = event.get("candidates")
        candidate = candidates[0] if isinstance(candidates, list) and candidates else None
        if isinstance(candidate, dict):
            self._add(candidate)
        feedback = event.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            self.finish = "PROMPT_BLOCKED"
        self.done = bool(self.finish and "usageMetadata" in self._reply)

    def _add(self, candidate: dict[str, Any]) -> None:
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        self._parts += parts if isinstance(parts, list) else []
        self._candidate |= candidate
        if isinstance(reason := candidate.get("finishReason"), str):
            self.finish = reason

    def document(self) -> dict[str, Any]:
        """The reply as if it had come in one piece; an error object where one came."""
        if self._candidate:
            whole = {**self._candidate, "content": {"parts": self._parts}}
            return as_completion({**self._reply, "candidates": [whole]})
        return as_completion(self._reply)
