from __future__ import annotations

import asyncio
import sys
import time

import pytest

from traces.teachers.deadlines import LONGEST_TICK_S, TICKS, Deadlines


def test_what_takes_too_long_ends_with_a_timeout_and_what_does_not_is_left_alone() -> None:
    async def run() -> list[str]:
        deadlines = Deadlines(0.05)

        async def one(limit_s: float, takes_s: float) -> str:
            try:
                with deadlines.after(limit_s):
                    await asyncio.sleep(takes_s)
            except asyncio.TimeoutError:
                return "late"
            return "done"

        late = [one(0.05, 30.0) for _ in range(50)]
        return await asyncio.gather(*late, one(30.0, 0.1), one(0.05, 0.0))

    began = time.monotonic()
    assert asyncio.run(run()) == ["late"] * 50 + ["done"] * 2
    assert time.monotonic() - began < 10.0


def test_a_deadline_that_is_moved_counts_from_then_on() -> None:
    async def run() -> None:
        deadlines = Deadlines(0.02)
        with deadlines.after(0.02) as deadline:
            deadline.at += 60.0
            await asyncio.sleep(0.1)

    async def sooner() -> None:
        with Deadlines(0.02).after(60.0) as deadline:
            deadline.at = deadline.end - 60.0
            await asyncio.sleep(30.0)

    asyncio.run(run())
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(sooner())


def test_who_is_cancelled_by_others_stays_cancelled() -> None:
    async def run(limit_s: float, at_once: bool) -> bool:
        deadlines = Deadlines(0.01)

        async def inside() -> None:
            with deadlines.after(limit_s) as deadline:
                if at_once:  # both in one round of the loop
                    deadline.expire()
                await asyncio.sleep(30.0)

        task = asyncio.ensure_future(inside())
        await asyncio.sleep(0.0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(run(60.0, False))
    if sys.version_info >= (3, 11):  # before, a task did not count who cancelled it
        assert asyncio.run(run(60.0, True))


def test_a_client_with_nothing_under_way_has_no_timer() -> None:
    async def run() -> int:
        deadlines = Deadlines(TICKS * 0.001)
        assert LONGEST_TICK_S > 0.001
        with deadlines.after(60.0):
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        loop = asyncio.get_running_loop()
        return len([handle for handle in loop._scheduled if not handle.cancelled()])  # type: ignore[attr-defined]

    assert asyncio.run(run()) == 0
