"""A teacher behind any server that speaks the OpenAI chat-completions protocol.

One event loop, one request per trace. Requests are pulled lazily, only as many as can be sent; a
request that waits to be asked again does not hold up those behind it. Everything an endpoint can do
ends as a trace with a status, except refusing again and again, which ends the run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Literal

import msgspec

from traces.budget import Price
from traces.garbage import seldom_collected
from traces.keys import teacher_id
from traces.record import Fidelity, Message, Sampling, TeacherRecord, Trace
from traces.teachers.admission import Admission
from traces.teachers.chat_client import ChatClient, address_of
from traces.teachers.chat_reply import Reply
from traces.teachers.chat_request import chat_body
from traces.teachers.dispatch import Delivery, Dispatch, Patience
from traces.teachers.endpoint_check import Canary, refusal, run_canary, same_weights
from traces.teachers.endpoint_trace import FIDELITIES, make_trace
from traces.teachers.lanes import Lane
from traces.teachers.profile import find_profile
from traces.teachers.protocol import Request, Withdraw
from traces.teachers.queue_watch import watch_queue
from traces.teachers.retry import Failure
from traces.teachers.watch import Watch

CHECK_RETRIES = 2
CHECK_BUSY_S = 30.0
"""A check gives up early: nothing is lost yet."""


class EndpointTeacher:
    """A `traces.teachers.protocol.WaitingTeacher` that asks over HTTP.

    Args:
        base_url: Up to and including `/v1`; several where several servers have the same weights.
        model: As the endpoint names it.
        revision: Which weights, as far as you know.
        api_key: Sent as a bearer token; kept out of records, logs and errors.
        profile: An interface of `traces/teachers/profiles`; `auto` goes by address and server.
        stream: Whether replies come as events; None leaves it to the profile.
        concurrency: Requests in flight at most, at each endpoint; fewer after it said that it is
            busy.
        retries: How often a broken reply is asked for again.
        timeout_s: For one whole reply. Also how long a busy endpoint, or an outage, is waited for.
        idle_s: Between two events of a stream.
        extra_body: Sent with each request; part of the teacher's identity. See `chat_body`.
        context: Messages before each prompt that the student does not see.
        licence: Of the teacher's outputs.
        fidelity: Whether the reasoning that arrives is the model's own, whole.
        price: What its tokens cost; None where that is not known.
        backoff_s: First delay before a broken reply is asked for again; doubles, with full jitter.
        backoff_max_s: The longest delay, also where the endpoint asks for a longer one.
        jitter_seed: Seed of the delays.
        hedge: Share of the requests that may be sent twice when the last ones take too long.

    Raises:
        TeacherError: the address or the key cannot be used.
        UserError: the profile is not known.
    """

    waits: Literal[True] = True
    canaries: tuple[Canary, ...] = ()
    """What `check` learnt, one for each endpoint."""

    def __init__(
        self,
        *,
        base_url: str | Sequence[str],
        model: str,
        revision: str = "",
        api_key: str | None = None,
        profile: str = "auto",
        stream: bool | None = None,
        concurrency: int = 32,
        retries: int = 5,
        timeout_s: float = 600.0,
        idle_s: float = 300.0,
        extra_body: Mapping[str, Any] | None = None,
        context: Sequence[Message] = (),
        licence: str = "",
        fidelity: Fidelity = "full",
        price: Price | None = None,
        backoff_s: float = 0.3,
        backoff_max_s: float = 60.0,
        jitter_seed: int = 0,
        hedge: float = 0.0,
    ) -> None:
        urls = [base_url] if isinstance(base_url, str) else list(base_url)
        found = [find_profile(profile, address_of(url)) for url in urls]
        if stream is not None:
            found = [msgspec.structs.replace(one, stream=stream) for one in found]
        self._clients = [
            ChatClient(url, api_key, timeout_s, one, idle_s, model)
            for url, one in zip(urls, found, strict=True)
        ]
        self._patience = Patience(
            found[0].ceiling(model, concurrency),
            retries,
            timeout_s,
            backoff_s,
            backoff_max_s,
            jitter_seed,
            hedge,
        )
        self._fidelity = max(fidelity, *(p.fidelity for p in found), key=FIDELITIES.index)
        self.price = price
        record = TeacherRecord(
            id="",
            kind="endpoint",
            model=model,
            revision=revision,
            licence=licence,
            context=tuple(context),
            settings=dict(extra_body or {}),
            endpoint=" ".join(str(client.base_url) for client in self._clients),
        )
        self.record = msgspec.structs.replace(record, id=teacher_id(record))

    @property
    def canary(self) -> Canary | None:
        """What `check` learnt of the first endpoint."""
        return self.canaries[0] if self.canaries else None

    def check(self) -> None:
        """Ask each endpoint for the list of models and for one token; sets `canaries`.

        Raises:
            TeacherError: one cannot be reached, refuses, does not have the model, or has other
                weights than the first.
        """
        self.canaries = tuple(asyncio.run(self._check(client)) for client in self._clients)
        same_weights(self.canaries)
        self.record = msgspec.structs.replace(self.record, server=self.canaries[0].server)

    async def _check(self, client: ChatClient) -> Canary:
        patience = msgspec.structs.replace(
            self._patience,
            retries=min(CHECK_RETRIES, self._patience.retries),
            busy_s=min(CHECK_BUSY_S, self._patience.busy_s),
        )
        async with client:
            dispatch = Dispatch([self._lane(client)], patience)

            async def ask(body: bytes, top_logprobs: int) -> Reply | Failure | None:
                return (await dispatch.deliver(body, top_logprobs)).result

            return await run_canary(client, self.record.model, self._body, ask)

    def answer(
        self,
        requests: Iterable[Request | Withdraw | None],
        emit: Callable[[Trace], None],
        stopping: Callable[[], bool],
    ) -> None:
        """Send every request and `emit` one trace for each that was taken, in order of arrival.

        Requests that were taken but not sent when `stopping` turned true become `cancelled` traces.

        Raises:
            TeacherError: the endpoint refused three requests in a row for the same reason, has had
                an outage for `timeout_s`, or began to answer as another model.
        """
        with seldom_collected():
            asyncio.run(self._answer(requests, emit, stopping))

    async def _answer(
        self,
        requests: Iterable[Request | Withdraw | None],
        emit: Callable[[Trace], None],
        stopping: Callable[[], bool],
    ) -> None:
        async with AsyncExitStack() as stack:
            for client in self._clients:
                await stack.enter_async_context(client)
            lanes = self._lanes()
            dispatch = Dispatch(lanes, self._patience)
            for client, lane in zip(self._clients, lanes, strict=True):
                if client.profile.waiting_metric:
                    task = asyncio.create_task(watch_queue(client.waiting, lane.gate))
                    stack.callback(task.cancel)

            async def handle(request: Request) -> None:
                started_us, began = time.time_ns() // 1000, time.monotonic()
                delivery = await self._deliver(dispatch, request)
                dispatch.note(delivery.result)
                took_us = round(1e6 * (time.monotonic() - began))
                who = self.record.id, self._fidelity, self.price
                trace = make_trace(request, delivery, *who, started_us, took_us)
                if request.prompt.tools and not self._clients[0].profile.tools:
                    trace = msgspec.structs.replace(trace, flags=(*trace.flags, "tools_not_sent"))
                emit(trace)

            await dispatch.work(requests, handle, stopping)
            if dispatch.gave_up is not None:
                raise refusal(self._clients[0], dispatch.gave_up, dispatch.alike)

    async def _deliver(self, dispatch: Dispatch, request: Request) -> Delivery:
        body = self._body(request.messages, request.sampling, request.prompt.tools)
        home = int(request.prompt.id[:8] or "0", 16)
        limit = request.sampling.max_tokens
        return await dispatch.deliver(body, request.sampling.top_logprobs, home, limit)

    def _lanes(self) -> list[Lane]:
        """One for each endpoint, watched where it was checked."""
        canaries = self.canaries or (None,) * len(self._clients)
        return [self._lane(*pair) for pair in zip(self._clients, canaries, strict=True)]

    def _lane(self, client: ChatClient, canary: Canary | None = None) -> Lane:
        silent = not client.profile.waiting_metric  # its metrics do not tell of a queue
        gate = Admission(
            self._patience.concurrency, probe_s=self._patience.backoff_s, gradient=silent
        )
        send = client.chat if canary is None else Watch(client, self.record.model, canary).send
        return Lane(str(client.base_url), send, gate)

    def _body(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        tools: Sequence[dict[str, Any]] = (),
    ) -> bytes:
        profile, record = self._clients[0].profile, self.record
        return chat_body(record.model, messages, sampling, record.settings, profile, tools)
