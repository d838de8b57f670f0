"""See that an endpoint stays what it was when the harvest began.

A server may come back from a restart with other weights under the same name. Its replies name a
model and mostly a fingerprint; its list of models, which is read again after a connection failed,
tells the weights.
"""

from __future__ import annotations

import asyncio

import msgspec

from traces.teachers.chat_client import ChatClient
from traces.teachers.chat_reply import Reply
from traces.teachers.endpoint_check import Canary, listed_as
from traces.teachers.retry import Failure


class Watch:
    """Sends to one endpoint and compares what answers with what answered its canary call."""

    def __init__(self, client: ChatClient, model: str, canary: Canary) -> None:
        self._client = client
        self._model = model
        self._canary = canary
        self._away = False
        self._listing = asyncio.Lock()

    async def send(self, body: bytes, top_logprobs: int) -> Reply | Failure:
        """As `ChatClient.chat`; a Failure of kind `changed` where another model answered."""
        result = await self._client.chat(body, top_logprobs)
        if isinstance(result, Failure):
            self._away |= result.http_status == 0 and result.status == "http_error"
            return result
        before, now = self._canary, result
        change = ""
        if _differ(before.returned_model, now.returned_model):
            change = f"it answered as {now.returned_model!r}, not as {before.returned_model!r}"
        elif _differ(before.fingerprint, now.fingerprint):
            if not self._client.profile.one_build:
                return msgspec.structs.replace(now, flags=(*now.flags, "fingerprint_changed"))
            change = f"its fingerprint is {now.fingerprint!r}, not {before.fingerprint!r}"
        elif self._away:
            change = await self._other_weights()
        if not change:
            return result
        error = f"{change} any more"
        return Failure("changed", "malformed", error, 200, raw=result.content, billable=True)

    async def _other_weights(self) -> str:
        """What its list of models says differently now, asked for once; empty if nothing."""
        async with self._listing:
            if not self._away:
                return ""
            models = await self._client.models()
            if isinstance(models, Failure):
                return ""  # asked again after the next reply
            mine = listed_as(self._model, models)
            if mine is not None and _differ(self._canary.weights, mine.weights):
                return f"it came back with the weights {mine.weights}, not {self._canary.weights}"
            self._away = False
            return ""


def _differ(before: str, now: str) -> bool:
    """Whether two marks are there and are not the same."""
    return bool(before and now and before != now)
