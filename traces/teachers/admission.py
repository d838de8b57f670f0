"""How many requests one endpoint gets at a time.

The width follows CUBIC (RFC 9438) with requests for segments: slow start, one cut in each epoch of
congestion, and a return that is fast at first, slow around the width at which the endpoint was
busy, and then looks for more. A busy endpoint is felt through its replies, or through the time that
they take (`gradient`); one that answers nothing but errors is left alone but for single probes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from traces.teachers.gradient import Gradient

CUT = 0.85
"""The share of its concurrency that an endpoint keeps after it said that it is busy."""
START = 32
"""Width at which slow start begins."""
GROWTH = 2.0
"""CUBIC's C, in requests per second cubed: back at the old width of 300 after 2.8 s. TCP's 0.4
uses 81 % of a limit that goes from 300 to 60 and back, this 87 %; 429s stay below 1 %."""
DOUBLE_S = 0.5
"""Slow start doubles the width in this time even where answers take longer. A busy reply comes at
once, so waiting for answers of 30 s would only waste the first minutes."""
TRIP = 10
"""So many broken replies without an answer between them, to more than two requests, are an
outage."""
PROBE_MAX_S = 30.0
WAITS_APART = 20
"""An endpoint that asks for a wait makes each look past its limit cost that wait, so it is looked
past only so many waits after the last time: a twentieth of the time at most is spent waiting."""
APART_MAX_S = 300.0

MOVED = -1
"""What `enter` returns to those whom an outage sends elsewhere."""


class Admission:
    """A gate with a width that follows the endpoint. For use inside one event loop."""

    def __init__(
        self,
        ceiling: int,
        *,
        start: int = START,
        probe_s: float = 0.5,
        gradient: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ceiling = ceiling
        self.width = float(min(ceiling, start))
        self.in_flight = 0
        self.cuts = 0
        """Cuts since the last success."""
        self.away = False
        """Whether nobody answered when a connection was last tried."""
        self.tripped_at: float | None = None
        """When the outage began that is going on."""
        self.gradient = Gradient(clock) if gradient else None
        """Sees queues by the time that tokens take; None where the endpoint tells of them."""
        self._clock = clock
        self._threshold = float(ceiling)
        self._peak, self._cut_at = float(ceiling), clock()
        self._grown_at, self._held_until = clock(), clock()
        self._below_until = clock()  # till when the width stays below the peak
        self._epoch = 0
        self._open_at = 0.0
        self._allowed: int | None = None
        self._resets = False
        self._crowded = 0  # answers still to come of those sent when the gate was full
        self._probe_s, self._first_probe_s = probe_s, probe_s
        self._broken, self._broken_requests = 0, set[int]()
        self._closed = False
        self._waiting: deque[asyncio.Future[bool]] = deque()

    async def enter(self) -> int | None:
        """Wait for a place; the epoch in which it was taken, None once the gate is closed.

        `MOVED` where an outage began meanwhile: ask at another endpoint, or here again.
        """
        loop = asyncio.get_running_loop()
        while not self._closed and not self.free:
            waiter: asyncio.Future[bool] = loop.create_future()
            self._waiting.append(waiter)
            try:
                stay = await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()  # the place that was offered goes to the next
                raise
            if not stay:
                return MOVED
        if self._closed:
            return None
        self.in_flight += 1
        if self.gradient is not None:
            self.gradient.entered()
        if self._allowed is not None:
            self._allowed -= 1
        if self.in_flight >= self.places:
            self._crowded = self.in_flight
        return self._epoch

    def leave(self) -> None:
        """Give the place back."""
        self.in_flight -= 1
        self._wake()

    @property
    def places(self) -> int:
        """How many are let in at a time just now."""
        return 1 if self.tripped_at is not None else max(1, int(self.width))

    @property
    def well(self) -> bool:
        """Whether it is there and answers, as far as is known."""
        return self.tripped_at is None and not self.away

    @property
    def load(self) -> float:
        """The share of its places that is taken."""
        return self.in_flight / self.places

    @property
    def free(self) -> bool:
        """Whether the next one is let in at once."""
        room = self._allowed is None or self._allowed > 0
        return room and self.in_flight < self.places and self._clock() >= self._open_at

    def succeeded(self) -> None:
        """An answer came: widen, if the width was what held requests back."""
        if self.away:  # the width was cut for want of anybody there
            self.width = max(self.width, float(min(self.ceiling, START)))
            self._threshold = max(self._threshold, self.width)
        self.cuts, self.away = 0, False
        self._broken, self._broken_requests = 0, set()
        if self.tripped_at is not None:
            self.tripped_at, self._probe_s = None, self._first_probe_s
            self._open_at = 0.0
        if not self._crowded:
            return
        self._crowded -= 1
        if self._held:
            return
        wider = self.width + 1.0
        if self.width >= self._threshold:
            wider = min(wider, self._cubic(self._clock()))
        self.width = min(float(self.ceiling), max(self.width, wider))
        self._wake()

    def grow(self) -> None:
        """Widen by the time that passed since the last call, in slow start and while full."""
        now = self._clock()
        passed_s, self._grown_at = min(0.1, now - self._grown_at), now
        if self._held:
            return
        ceiling = min(self._threshold, float(self.ceiling))
        if (
            self._crowded
            and self.width < ceiling
            and self.tripped_at is None
            and now >= self._open_at
        ):
            self.width = min(ceiling, self.width * 2.0 ** (passed_s / DOUBLE_S))
            self._wake()

    def served(self, took_s: float, tokens: int) -> None:
        """An answer of so many tokens took so long."""
        if self.gradient is None or self.tripped_at is not None:
            return
        wanted = self.gradient.served(took_s, tokens, self.width, self.in_flight)
        if wanted is not None:
            self.width = max(1.0, min(float(self.ceiling), wanted))
            self._wake()

    @property
    def _held(self) -> bool:
        """Whether the width is not to grow by itself just now."""
        holding = self.gradient is not None and self.gradient.holding
        return holding or self._clock() < self._held_until

    def hold(self, seconds: float) -> None:
        """Do not widen for so long: requests wait inside the endpoint."""
        self._held_until = self._clock() + seconds

    def busy(self, epoch: int, pause_s: float, *, asked: bool) -> bool:
        """The endpoint is busy. True if this was news, for which the width was cut.

        Only the first busy reply among those sent since the last cut is news. Nobody enters for
        `pause_s`, which also counts where it is no news if the endpoint `asked`.
        """
        news = epoch == self._epoch
        if news or asked:
            self._pause(pause_s)
        if news:
            self._epoch += 1
            self.cuts += 1
            held = min(self.width, float(self.in_flight + 1))
            self._peak, self._cut_at = held, self._clock()
            self._threshold = self.width = max(1.0, held * CUT)
            if asked:
                self._below_until = self._cut_at + min(APART_MAX_S, WAITS_APART * pause_s)
        return news

    def broken(self, request: int) -> bool:
        """A reply was broken. True while there is an outage, for which the request is not to blame.

        `request` is a number that tells requests apart.
        """
        self._broken += 1
        self._broken_requests.add(request)
        if self.tripped_at is None:
            if self._broken < TRIP or len(self._broken_requests) < 3:
                return False
            self.tripped_at = self._clock()
            self._threshold, self.width = self.width * CUT, float(min(self.ceiling, START))
            self._send_elsewhere()
            self._pause(self._probe_s)
        elif self._clock() >= self._open_at:  # the probe, not one of those sent before
            self._probe_s = min(PROBE_MAX_S, 2.0 * self._probe_s)
            self._pause(self._probe_s)
        return True

    def lost(self) -> None:
        """Nobody accepted a connection: those who wait may find another endpoint."""
        self.away = True
        self._send_elsewhere()

    def outage_s(self) -> float:
        """How long the outage has lasted that is going on, 0 where there is none."""
        return 0.0 if self.tripped_at is None else self._clock() - self.tripped_at

    def allow(self, requests: int, reset_s: float) -> None:
        """Rate headers say that so many more may be sent until the limit is reset.

        Those in flight may not be counted yet, so they are taken off.
        """
        self._allowed = max(0, requests - self.in_flight)
        if not self._resets:
            self._resets = True
            asyncio.get_running_loop().call_later(max(0.01, reset_s), self._reset)

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True
        self._wake()

    def _cubic(self, now: float) -> float:
        """The width by the time since the cut; RFC 9438, section 4.2.

        Until `_below_until` it stays below its peak, from which it then goes on.
        """
        to_peak_s = float((self._peak * (1.0 - CUT) / GROWTH) ** (1.0 / 3.0))
        begun = self._cut_at
        if now >= self._below_until:
            begun = max(begun, self._below_until - to_peak_s)
        width = self._peak + GROWTH * float((now - begun - to_peak_s) ** 3)
        return min(width, self._peak - 1.0) if now < self._below_until else width

    def _pause(self, seconds: float) -> None:
        opens = self._clock() + seconds
        if seconds > 0 and opens > self._open_at:
            self._open_at = opens
            asyncio.get_running_loop().call_later(seconds, self._reopen, opens)

    def _reopen(self, opens: float) -> None:
        # The clock may still stand a tick before `opens` when the loop calls.
        if opens >= self._open_at:
            self._open_at = 0.0
        self._wake()

    def _send_elsewhere(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(False)

    def _reset(self) -> None:
        self._allowed, self._resets = None, False
        self._wake()

    def _wake(self) -> None:
        if not self._waiting or (self._clock() < self._open_at and not self._closed):
            return
        places = len(self._waiting) if self._closed else self.places - self.in_flight
        if not self._closed and self._allowed is not None:
            places = min(places, self._allowed)
        while self._waiting and places > 0:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(True)
                places -= 1
