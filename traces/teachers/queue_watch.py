"""See that requests do not pile up inside a server that never says that it is busy.

vLLM and SGLang queue whatever comes; what waits there runs into time limits and is out of our
hands. Their metrics tell how many requests wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from traces.teachers.admission import Admission

POLL_S = 2.0


async def watch_queue(waiting: Callable[[], Awaitable[int | None]], gate: Admission) -> None:
    """Hold the width of `gate` while requests wait; returns where that cannot be told."""
    while (count := await waiting()) is not None:
        if count > 0:
            gate.hold(2.0 * POLL_S)
        await asyncio.sleep(POLL_S)


def read_gauge(text: str, name: str) -> int | None:
    """The sum of a metric over its labels in the Prometheus text format; None if not there."""
    found = [line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    try:
        return int(sum(float(line.rpartition(" ")[2]) for line in found)) if found else None
    except (ValueError, OverflowError):
        return None
