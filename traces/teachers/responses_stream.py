"""Put the events of one streamed reply of the OpenAI Responses interface together again.

Its last event carries the whole response; what came before is needed only where a server leaves the
output out of that one.
"""

from __future__ import annotations

from typing import Any

from traces.teachers.responses_api import as_completion
from traces.teachers.sse import Stream

IDLE = frozenset({"keepalive", "response.queued", "response.in_progress"})
"""Events that tell of no progress."""
LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})


class ResponsesStream(Stream):
    """As `Stream`; `document` gives the reply in the terms of a chat completion."""

    def __init__(self) -> None:
        super().__init__()
        self._items: dict[int, dict[str, Any]] = {}
        self._response: dict[str, Any] = {}

    def _event(self, data: bytes) -> None:
        if data.strip() == b"[DONE]":
            self.done = True
            return
        event = self._object(data) or {}
        kind = str(event.get("type"))
        if kind in IDLE:
            return
        self.events += 1
        if kind in LAST and isinstance(response := event.get("response"), dict):
            self._response, self.done = response, True
            self.finish = str(response.get("status") or kind.rpartition(".")[2])
        elif kind == "response.output_item.done" and isinstance(item := event.get("item"), dict):
            place = event.get("output_index")
            self._items[place if isinstance(place, int) else len(self._items)] = item
        elif kind == "error" or event.get("error"):
            self._response = {"error": event.get("error") or event}

    def document(self) -> dict[str, Any]:
        """The reply as if it had come in one piece; an error object where one came."""
        response = self._response
        if not response:
            return {}
        if not response.get("output") and not response.get("error"):
            response = {**response, "output": [self._items[at] for at in sorted(self._items)]}
        return as_completion(response)
