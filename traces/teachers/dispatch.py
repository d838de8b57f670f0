"""Send many requests to one teacher's endpoints: where, when again, and when to give up."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from traces.teachers.admission import MOVED
from traces.teachers.chat_reply import Reply
from traces.teachers.hedge import Flight, Hedge
from traces.teachers.lanes import Lane, choose
from traces.teachers.protocol import Request, Withdraw
from traces.teachers.retry import Failure, full_jitter_s, pause_s

log = logging.getLogger(__name__)

POLL_S = 0.05
"""How often `stopping` is asked while nothing else happens."""
BUSY_FACTOR = 10
"""A busy endpoint is asked this many times as often as a broken one before a request fails."""
ALIKE = 3
"""So many refusals alike, without a success between them, end the work."""
ALIKE_TOO_LONG = 20
"""The same for prompts that do not fit the context: some may not, all cannot be meant."""

_TOO_LONG = re.compile(r"context.{0,20}(length|window|size)|maximum.{0,20}tokens|too long", re.I)


class Patience(msgspec.Struct, frozen=True):
    """How much is asked of an endpoint, and how often. See `EndpointTeacher` for the fields."""

    concurrency: int
    retries: int
    busy_s: float
    backoff_s: float
    backoff_max_s: float
    jitter_seed: int
    hedge: float = 0.0


class Delivery(msgspec.Struct, frozen=True):
    """What became of one request: its reply or last failure, None if it was never sent.

    `billable` counts other replies to it, broken or cut off, that may have been paid for.
    """

    result: Reply | Failure | None
    billable: int = 0
    flags: tuple[str, ...] = ()


class Dispatch:
    """One spell of work with a teacher's endpoints, in one event loop."""

    gave_up: Failure | None = None
    """The refusal that ended the work."""
    alike = 0
    """How many times in a row it came."""

    def __init__(self, lanes: Sequence[Lane], patience: Patience) -> None:
        self.lanes = lanes
        self._patience = patience
        self._rng = random.Random(patience.jitter_seed)
        self._halt = asyncio.Event()
        self._hedge = Hedge(lanes, patience.hedge)
        self._waiting_to_retry = 0
        self._reason = ""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unwanted: set[asyncio.Task[Any] | None] = set()

    async def deliver(
        self, body: bytes, top_logprobs: int, home: int = 0, tokens: int = 1
    ) -> Delivery:
        """Send one request until there is a reply, or no hope of one.

        `home` is the number of its prompt, `tokens` how many it may take of a rate limit.
        """
        number, flight = self._hedge.begin(body, top_logprobs)
        try:
            result = await self._ask(number, flight, home, tokens)
        except asyncio.CancelledError:
            if flight.won is None and flight.task not in self._unwanted:
                raise
            result = flight.won or flight.withdrawn()
        finally:
            self._hedge.end(number)
        return Delivery(result, flight.billable, flight.flags)

    async def _ask(
        self, number: int, flight: Flight, home: int, tokens: int
    ) -> Reply | Failure | None:
        """The reply, or the last failure; None if it was never sent."""
        loop, last = asyncio.get_running_loop(), None
        started, broken, busy = loop.time(), 0, 0
        while flight.won is None:
            lane = choose(self.lanes, home, self._rng)
            epoch = await lane.gate.enter()
            if epoch == MOVED:
                continue
            if epoch is None:
                flight.billable -= last is not None and last.billable
                return last
            flight.lane, flight.sent_at = lane, loop.time()
            try:
                result = await lane.send(flight.body, flight.top_logprobs)
            finally:
                lane.gate.leave()
            self._heed(lane, result, tokens)
            if isinstance(result, Reply):
                lane.gate.succeeded()
                self._hedge.answered(flight, loop.time())
                lane.gate.served(loop.time() - flight.sent_at, result.usage.completion)
                return result
            flight.sent_at, last = None, result
            if result.kind == "busy":
                busy += 1
                waited = loop.time() - started
                if busy > self._patience.retries * BUSY_FACTOR or waited > self._patience.busy_s:
                    return last
                self._pause(lane, epoch, result)
            elif result.kind == "broken" and lane.gate.broken(number):
                if self._outage_too_long(result):
                    return last
                flight.billable += result.billable
            else:
                broken += 1
                if result.kind in ("refused", "changed") or broken > self._patience.retries:
                    return last
                flight.billable += result.billable
                await self._back_off(broken - 1)
        return flight.won

    async def work(
        self,
        requests: Iterable[Request | Withdraw | None],
        handle: Callable[[Request], Coroutine[Any, Any, None]],
        stopping: Callable[[], bool],
    ) -> None:
        """Run `handle` for every request, pulling only as many as the endpoints take at a time.

        Returns when all that were pulled are done. An error in `handle` cancels the others.
        """
        source, finished = iter(requests), asyncio.Event()
        loop = asyncio.get_running_loop()
        errors: list[BaseException] = []

        def done(key: str, task: asyncio.Task[None]) -> None:
            del self._tasks[key]
            self._unwanted.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                errors.append(error)
            finished.set()

        ticking = loop.create_task(_tick(finished))
        try:
            more = True
            while not errors:
                if stopping() or self.gave_up is not None:
                    self.halt()
                    more = False
                for lane in self.lanes:
                    lane.gate.grow()
                idle = not more
                while more and not stopping() and self._wants_more():
                    request = next(source, _END)
                    if idle := request is None:
                        break
                    if isinstance(request, _End):
                        more, idle = False, True
                    elif isinstance(request, Withdraw):
                        self._withdraw(request.key)
                    else:
                        task = loop.create_task(handle(request))
                        self._tasks[request.key] = task
                        task.add_done_callback(partial(done, request.key))
                if not self._tasks and not more:
                    break
                if idle and not self._halt.is_set():
                    self._send_copies()
                finished.clear()
                await finished.wait()
        finally:
            ticking.cancel()
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._hedge.stop()
        if errors:
            raise errors[0]

    def halt(self) -> None:
        """Send nothing any more; what is in flight is waited for."""
        for lane in self.lanes:
            lane.gate.close()
        self._halt.set()

    def note(self, result: Reply | Failure | None) -> None:
        """Count refusals alike; sets `gave_up` when there are too many in a row."""
        if isinstance(result, Reply):
            self.alike, self._reason = 0, ""
        if not isinstance(result, Failure) or result.status == "cancelled" or self.gave_up:
            return
        if result.kind == "changed":
            self.gave_up = result
            return
        slow = result.kind == "broken" and result.status == "timeout"
        if result.kind != "refused" and (result.http_status or slow):
            return  # an answer of sorts: the endpoint is there and may recover
        reason = f"{result.http_status} {re.sub(r'[0-9]+', '#', result.error)}"
        self.alike = self.alike + 1 if reason == self._reason else 1
        self._reason = reason
        limit = ALIKE_TOO_LONG if _TOO_LONG.search(result.error) else ALIKE
        if self.alike >= limit:
            self.gave_up = result

    def _wants_more(self) -> bool:
        """Whether to pull another request: those waiting to be sent again hold no place."""
        tasks = len(self._tasks)
        places = sum(lane.gate.places for lane in self.lanes)
        most = 2 * self._patience.concurrency * len(self.lanes)
        return tasks - self._waiting_to_retry < places and tasks < most

    def _send_copies(self) -> None:
        """Ask twice for what takes too long, when there is nothing else to ask for."""
        if len(self._tasks) < self._patience.concurrency * len(self.lanes):
            self._hedge.look(asyncio.get_running_loop().time())
            self.note(self._hedge.changed)

    def _withdraw(self, key: str) -> None:
        if task := self._tasks.get(key):
            self._unwanted.add(task)
            asyncio.get_running_loop().call_soon(task.cancel)  # after its first step

    def _heed(self, lane: Lane, result: Reply | Failure, tokens: int) -> None:
        """Keep to what the reply's rate headers say."""
        if result.rate is not None and (room := result.rate.room(tokens)) is not None:
            lane.gate.allow(*room)

    def _outage_too_long(self, failure: Failure) -> bool:
        """Whether no endpoint has answered for longer than a busy one is waited for."""
        if min(lane.gate.outage_s() for lane in self.lanes) <= self._patience.busy_s:
            return False
        if self.gave_up is None:
            self.gave_up = failure
        return True

    def _pause(self, lane: Lane, epoch: int, failure: Failure) -> None:
        asked, cuts = failure.retry_after_s, lane.gate.cuts
        if failure.http_status == 0:  # nobody is there: the width is not to blame
            cuts += 1
            lane.gate.lost()
        else:
            lane.gate.gradient = None  # it says itself when it has enough
        limits = self._patience.backoff_s, self._patience.backoff_max_s
        wait_s = pause_s(asked, cuts, *limits, self._rng)
        if lane.gate.busy(epoch, wait_s, asked=asked is not None) and wait_s > 0:
            log.warning(
                "the endpoint is busy (%s): waiting %.1f s, then at most %d requests at a time",
                failure.error,
                wait_s,
                lane.gate.places,
            )

    async def _back_off(self, failures: int) -> None:
        limits = self._patience.backoff_s, self._patience.backoff_max_s
        self._waiting_to_retry += 1
        try:
            await _wait(self._halt, full_jitter_s(failures, *limits, self._rng))
        finally:
            self._waiting_to_retry -= 1


class _End:
    """There are no more requests."""


_END = _End()


async def _tick(event: asyncio.Event) -> None:
    """Set the event every `POLL_S`: cheaper than a limit on each wait for it."""
    while True:
        await asyncio.sleep(POLL_S)
        event.set()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, no longer than so many seconds."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        return
