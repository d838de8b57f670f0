"""End what takes too long, for thousands of requests with one timer.

A timer for each request costs more than sending it. One that looks at all of them now and then is
late by a tick at most, which for a limit of minutes is nothing.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

TICKS = 20
"""A limit is passed by a twentieth of it at most,"""
LONGEST_TICK_S = 1.0
"""and by no more than this."""


class Deadlines:
    """The limits of all that one client waits for, inside one event loop."""

    def __init__(self, shortest_s: float) -> None:
        """`shortest_s` is the shortest limit that will be set."""
        self._loop = asyncio.get_running_loop()
        self._tick_s = min(LONGEST_TICK_S, shortest_s / TICKS)
        self._open: set[Deadline] = set()
        self._timer: asyncio.TimerHandle | None = None

    def after(self, seconds: float) -> Deadline:
        """A limit on what is done inside `with`."""
        return Deadline(self, self._loop.time() + seconds)

    def add(self, deadline: Deadline) -> None:
        """Watch it from now on."""
        self._open.add(deadline)
        if self._timer is None:
            self._timer = self._loop.call_later(self._tick_s, self._tick)

    def discard(self, deadline: Deadline) -> None:
        """Watch it no more."""
        self._open.discard(deadline)

    def _tick(self) -> None:
        self._timer = None
        if not self._open:
            return
        now = self._loop.time()
        for late in [one for one in self._open if one.at <= now]:
            self._open.discard(late)
            late.expire()
        self._timer = self._loop.call_later(self._tick_s, self._tick)


class Deadline:
    """What its task does inside `with` ends with TimeoutError at the loop's time `at`.

    `at` may be changed meanwhile; `end` is what it was at first.
    """

    __slots__ = ("_all", "_expired", "_task", "at", "end")

    def __init__(self, among: Deadlines, at: float) -> None:
        self._all, self.at, self.end = among, at, at
        self._expired = False
        self._task: asyncio.Task[object] | None = None

    def __enter__(self) -> Deadline:
        self._task = asyncio.current_task()
        self._all.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._all.discard(self)
        if not self._expired or self._task is None:
            return
        # Somebody else may have cancelled it too; Python 3.10 does not tell.
        others = self._task.uncancel() if hasattr(self._task, "uncancel") else 0
        if kind is asyncio.CancelledError and not others:
            raise asyncio.TimeoutError from error

    def expire(self) -> None:
        """Interrupt the task."""
        if self._task is not None:
            self._expired = True
            self._task.cancel()
