"""The gate against servers with a hidden limit, on a simulated clock: no machine is in the way."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable

import pytest

from traces.teachers.admission import Admission
from traces.teachers.retry import pause_s


def simulate(
    cap_at: Callable[[float], int],
    seconds: float,
    low_s: float,
    high_s: float,
    ceiling: int = 512,
) -> tuple[float, float]:
    """Share of the server's slots in use, and share of replies that are 429."""
    rng = random.Random(4)
    now = 0.0
    gate = Admission(ceiling, clock=lambda: now)
    events: list[tuple[float, int, int, bool]] = []  # when, number, epoch, answered
    serving = refused = answered = number = 0
    used = offered = 0.0

    async def run() -> None:
        nonlocal now, serving, refused, answered, number, used, offered
        while now < seconds:
            gate.grow()
            while gate.free:
                epoch = await gate.enter() or 0
                number += 1
                if serving >= cap_at(now):
                    heapq.heappush(events, (now + 0.005, number, epoch, False))
                else:
                    serving += 1
                    heapq.heappush(events, (now + rng.uniform(low_s, high_s), number, epoch, True))
            at = min(events[0][0], now + 0.01) if events else now + 0.01
            used += min(serving, cap_at(now)) * (at - now)
            offered += cap_at(now) * (at - now)
            now = at
            while events and events[0][0] <= now:
                _, _, epoch, good = heapq.heappop(events)
                gate.leave()
                if good:
                    serving, answered = serving - 1, answered + 1
                    gate.succeeded()
                else:
                    refused += 1
                    wait_s = pause_s(None, gate.cuts, 0.3, 60.0, rng)
                    gate.busy(epoch, wait_s, asked=False)

    asyncio.run(run())
    return used / offered, refused / (refused + answered)


@pytest.mark.parametrize(("low_s", "high_s"), [(0.1, 0.5), (1.0, 5.0)])
def test_a_hidden_limit_is_used_well_and_seldom_run_into(low_s: float, high_s: float) -> None:
    used, refused = simulate(lambda _: 300, 60.0, low_s, high_s)
    assert used >= 0.85
    assert refused <= 0.01


def test_a_limit_that_changes_is_followed() -> None:
    def cap(now: float) -> int:
        return 60 if 20 <= now < 40 else 300

    used, refused = simulate(cap, 60.0, 0.1, 0.5)
    assert used >= 0.85
    assert refused <= 0.01


def test_long_answers_do_not_make_a_slow_start_slow() -> None:
    used, refused = simulate(lambda _: 2048, 60.0, 1.0, 30.0, ceiling=2048)
    assert used >= 0.95
    assert refused == 0
