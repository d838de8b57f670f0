"""Second copies of the requests that hold up the end of a harvest.

When fewer requests are left than places, and one has run far longer than almost all others took, a
second copy goes to another endpoint, or to the same where there is one only. The first answer is
taken and the other copy is cut off. Source: J. Dean and L. A. Barroso, "The Tail at Scale", CACM
56(2), 2013.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections import deque
from collections.abc import Sequence

from traces.teachers.admission import MOVED
from traces.teachers.chat_reply import Reply
from traces.teachers.lanes import Lane
from traces.teachers.retry import Failure

log = logging.getLogger(__name__)

QUANTILE = 0.99
FACTOR = 1.5
"""A request that ran longer than this many times the quantile gets a copy."""
FEWEST = 20
"""So many must have been answered before a quantile is believed."""
KEPT = 1000
"""Of the latest answers the times are kept."""


class Flight:
    """One request that is being delivered, and perhaps its copy."""

    sent_at: float | None = None
    """When it went out, None while it waits to be sent (again)."""
    lane: Lane | None = None
    copy: asyncio.Task[None] | None = None
    won: Reply | None = None
    """What the copy brought, if it was first."""
    billable = 0
    """Replies that broke off, or were cut off, and may have been paid for."""

    def __init__(self, body: bytes, top_logprobs: int, task: asyncio.Task[object] | None) -> None:
        self.body, self.top_logprobs = body, top_logprobs
        self.task = task

    def withdrawn(self) -> Failure:
        """What it ends as where nobody wants it any more; may be paid for if it is out."""
        out = self.sent_at is not None
        return Failure("refused", "cancelled", "no longer wanted", billable=out)

    @property
    def flags(self) -> tuple[str, ...]:
        """What a trace says of it."""
        if self.copy is None:
            return ()
        return ("hedged", "hedge_won") if self.won is not None else ("hedged",)


class Hedge:
    """All flights of one spell of work; copies are `share` of the requests at most, rounded up."""

    def __init__(self, lanes: Sequence[Lane], share: float) -> None:
        self._lanes, self._share = lanes, share
        self._begun = self.copies = 0
        self._flights: dict[int, Flight] = {}
        self._numbers = itertools.count()
        self._times_s: deque[float] = deque(maxlen=KEPT)
        self._running: set[asyncio.Task[None]] = set()
        self.changed: Failure | None = None
        """Set where a copy found that an endpoint is not what it was."""

    def begin(self, body: bytes, top_logprobs: int) -> tuple[int, Flight]:
        """A new flight, to be ended by its number."""
        self._begun += 1
        number, flight = next(self._numbers), Flight(body, top_logprobs, asyncio.current_task())
        self._flights[number] = flight
        return number, flight

    def end(self, number: int) -> None:
        """The request is answered, or given up; a copy that is still out is cut off."""
        flight = self._flights.pop(number)
        if flight.copy is not None and not flight.copy.done() and flight.won is None:
            flight.billable += 1
            flight.copy.cancel()

    def answered(self, flight: Flight, now_s: float) -> None:
        """The request was answered after the time since it was sent."""
        if flight.sent_at is not None:
            self._times_s.append(now_s - flight.sent_at)

    def look(self, now_s: float) -> None:
        """Send copies of what has run for too long; for when there is nothing else to send."""
        most = math.ceil(self._share * self._begun)
        if self.copies >= most or len(self._times_s) < FEWEST:
            return
        times_s = sorted(self._times_s)
        limit_s = FACTOR * times_s[min(len(times_s) - 1, int(QUANTILE * len(times_s)))]
        for flight in self._flights.values():
            if flight.sent_at is None or flight.copy or now_s - flight.sent_at <= limit_s:
                continue
            lane = self._other(flight.lane)
            if lane is not None and self.copies < most:
                self._copy(flight, lane, now_s)

    async def stop(self) -> None:
        """Cut off what is still out."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _other(self, lane: Lane | None) -> Lane | None:
        """The emptiest endpoint that takes a request at once, another one if there is."""
        free = [one for one in self._lanes if one.gate.well and one.gate.free]
        elsewhere = [one for one in free if one is not lane]
        if len(self._lanes) > 1:
            free = elsewhere
        return min(free, key=lambda one: one.gate.load, default=None)

    def _copy(self, flight: Flight, lane: Lane, now_s: float) -> None:
        self.copies += 1
        ran_s = now_s - (flight.sent_at or now_s)
        log.info("a request has run for %.1f s: a copy goes to %s", ran_s, lane.name)
        flight.copy = asyncio.ensure_future(self._race(flight, lane))
        self._running.add(flight.copy)
        flight.copy.add_done_callback(self._running.discard)

    async def _race(self, flight: Flight, lane: Lane) -> None:
        loop = asyncio.get_running_loop()
        epoch = await lane.gate.enter()
        if epoch is None or epoch == MOVED:
            flight.copy = None
            self.copies -= 1
            return
        began = loop.time()
        try:
            result = await lane.send(flight.body, flight.top_logprobs)
        finally:
            lane.gate.leave()
        if isinstance(result, Failure):  # the first copy goes on as if there had been no second
            flight.billable += result.billable
            if result.kind == "busy":
                lane.gate.busy(epoch, 0.0, asked=False)
            elif result.kind == "changed":
                self.changed = result
            return
        lane.gate.succeeded()
        self._times_s.append(loop.time() - began)
        if flight.won is None and flight.task is not None and not flight.task.done():
            flight.won = result
            flight.billable += flight.sent_at is not None
            flight.task.cancel()
