from __future__ import annotations

import asyncio
import itertools

from traces.teachers.admission import CUT, GROWTH, MOVED, START, Admission


def test_no_more_enter_than_the_gate_is_wide() -> None:
    async def run() -> int:
        gate, most = Admission(3), 0

        async def one() -> None:
            nonlocal most
            assert await gate.enter() is not None
            most = max(most, gate.in_flight)
            await asyncio.sleep(0)
            gate.leave()

        await asyncio.gather(*(one() for _ in range(50)))
        assert gate.in_flight == 0
        return most

    assert asyncio.run(run()) == 3


TO_PEAK_S = (300 * (1 - CUT) / GROWTH) ** (1 / 3)
"""RFC 9438's K, for a width of 300."""


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def full(gate: Admission) -> list[int]:
    """The epochs of as many as the gate lets in."""
    epochs = []
    while gate.free:
        epochs.append(await gate.enter() or 0)
    return epochs


def test_slow_start_doubles_the_width_with_every_round() -> None:
    async def run() -> list[int]:
        gate, widths = Admission(1000, start=16), []
        for _ in range(5):
            for _ in await full(gate):
                gate.in_flight -= 1
                gate.succeeded()
            widths.append(int(gate.width))
        return widths

    widths = asyncio.run(run())
    assert all(1.4 < b / a <= 2.0 for a, b in zip([16, *widths], widths, strict=False))


def test_a_gate_that_is_not_full_does_not_widen() -> None:
    async def run() -> float:
        gate = Admission(1000, start=16)
        for _ in range(50):
            await gate.enter()
            gate.leave()
            gate.succeeded()
        return gate.width

    assert asyncio.run(run()) == 16.0


def refusals_in_a_minute(cap: int, *, asked: bool) -> tuple[int, float]:
    """Refusals of an endpoint with so many places, and the share of the places that was used.

    Each answer takes 0.1 s; a refusal wants a wait of 1 s where it `asked`, else 0.3 s.
    """

    async def run() -> tuple[int, float]:
        clock = Clock()
        gate = Admission(64, start=cap, clock=clock)
        refused = used = 0
        for _ in range(600):
            clock.now += 0.1
            gate._reopen(clock.now)
            epochs = await full(gate)
            for epoch in epochs[cap:]:  # refusals come first
                gate.in_flight -= 1
                refused += 1
                gate.busy(epoch, 1.0 if asked else 0.3, asked=asked)
            for _ in epochs[:cap]:
                gate.in_flight -= 1
                used += 1
                gate.succeeded()
        return refused, used / (600 * cap)

    return asyncio.run(run())


def test_a_limit_whose_overrun_costs_a_wait_is_seldom_looked_past() -> None:
    refused, used = refusals_in_a_minute(8, asked=True)
    assert refused < 30 < refusals_in_a_minute(8, asked=False)[0]
    assert used > 0.85


def test_a_limit_that_rises_is_found_although_an_overrun_costs_a_wait() -> None:
    async def run() -> float:
        clock = Clock()
        gate = Admission(64, start=8, clock=clock)
        epochs = await full(gate)
        gate.in_flight -= 1
        gate.busy(epochs[0], 1.0, asked=True)
        gate.in_flight = 0
        for _ in range(300):
            clock.now += 0.1
            gate._reopen(clock.now)
            for _ in await full(gate):
                gate.in_flight -= 1
                gate.succeeded()
        return gate.width

    assert asyncio.run(run()) == 64.0


def test_busy_replies_of_one_epoch_cut_once() -> None:
    async def run() -> tuple[float, list[bool]]:
        gate = Admission(100, start=100)
        epochs = await full(gate)
        news = []
        for epoch in epochs[:10]:
            gate.leave()
            news.append(gate.busy(epoch, 0.0, asked=False))
        return gate.width, news

    width, news = asyncio.run(run())
    assert news == [True] + [False] * 9
    assert 84 <= width <= 85


def test_the_width_returns_fast_then_rests_then_looks_for_more() -> None:
    async def run() -> list[float]:
        clock = Clock()
        gate, widths = Admission(1000, start=300, clock=clock), []
        epochs = await full(gate)
        gate.leave()
        gate.busy(epochs[0], 0.0, asked=False)
        gate.in_flight = 0
        for _ in range(12):
            clock.now += TO_PEAK_S / 6
            for _ in await full(gate):
                gate.in_flight -= 1
                gate.succeeded()
            gate.in_flight = 0
            widths.append(gate.width)
        return widths

    widths = asyncio.run(run())
    steps = [after - before for before, after in itertools.pairwise(widths)]
    assert 255 < widths[0] < 280
    assert abs(widths[5] - 300) < 1
    assert steps[0] > 5 * steps[4] > 0
    assert steps[-1] > 5 * steps[4]


def test_the_width_never_falls_below_one_and_comes_back() -> None:
    async def run() -> tuple[float, float]:
        clock = Clock()
        gate = Admission(8, clock=clock)
        for _ in range(50):
            epoch = await gate.enter()
            gate.leave()
            gate.busy(epoch or 0, 0.0, asked=False)
        low = gate.width
        for _ in range(200):
            clock.now += 0.1
            for _ in await full(gate):
                gate.leave()
                gate.succeeded()
        return low, gate.width

    assert asyncio.run(run()) == (1.0, 8.0)


def test_an_outage_lets_one_probe_in_at_a_time_with_growing_pauses() -> None:
    async def run() -> tuple[list[bool], bool, int, float]:
        clock = Clock()
        gate = Admission(64, probe_s=1.0, clock=clock)
        outage = [gate.broken(request) for request in range(12)]
        closed = gate.free
        clock.now += 1.1
        gate._reopen(clock.now)
        places = len(await full(gate))
        gate.leave()
        gate.broken(99)
        return outage, closed, places, gate._open_at - clock.now

    outage, open_at_once, places, pause = asyncio.run(run())
    assert outage == [False] * 9 + [True] * 3
    assert not open_at_once
    assert places == 1
    assert pause == 2.0


def test_broken_replies_to_one_request_are_no_outage() -> None:
    async def run() -> bool:
        gate = Admission(4)
        return any(gate.broken(0) for _ in range(100))

    assert not asyncio.run(run())


def test_an_answer_ends_an_outage_and_starts_slowly() -> None:
    async def run() -> tuple[float, int, float]:
        gate = Admission(500, start=500)
        for request in range(10):
            gate.broken(request)
        gate.succeeded()
        return gate.outage_s(), gate.places, gate.width

    lasting, places, width = asyncio.run(run())
    assert lasting == 0.0
    assert START <= places <= START + 1 <= width + 1


def test_an_outage_sends_those_who_wait_elsewhere() -> None:
    async def run() -> list[int | None]:
        gate = Admission(1)
        await gate.enter()
        waiting = [asyncio.ensure_future(gate.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        for request in range(10):
            gate.broken(request)
        return await asyncio.gather(*waiting)

    assert asyncio.run(run()) == [MOVED] * 3


def test_rate_headers_hold_requests_back_until_the_reset() -> None:
    async def run() -> tuple[int, bool, bool]:
        gate = Admission(100, start=100)
        await gate.enter()
        gate.allow(4, 0.05)
        entered = len(await full(gate))
        held = not gate.free
        await asyncio.sleep(0.1)
        return entered, held, gate.free

    assert asyncio.run(run()) == (3, True, True)


def test_one_who_is_cancelled_while_waiting_leaves_the_place_to_the_next() -> None:
    async def run() -> int | None:
        gate = Admission(1)
        await gate.enter()
        first, second = (asyncio.ensure_future(gate.enter()) for _ in range(2))
        await asyncio.sleep(0)
        gate.leave()
        first.cancel()
        return await asyncio.wait_for(second, 1.0)

    assert asyncio.run(run()) == 0


def test_nobody_enters_during_a_pause_and_all_after_it() -> None:
    async def run() -> list[float]:
        gate, loop = Admission(4), asyncio.get_running_loop()
        gate.busy(0, 0.05, asked=True)
        opens, entered = loop.time() + 0.05, list[float]()

        async def one() -> None:
            await gate.enter()
            entered.append(loop.time() - opens)
            gate.leave()

        await asyncio.gather(*(one() for _ in range(9)))
        return entered

    entered = asyncio.run(run())
    assert len(entered) == 9
    assert min(entered) > -0.01


def test_closing_turns_those_who_wait_away() -> None:
    async def run() -> list[int | None]:
        gate = Admission(1)
        await gate.enter()
        waiting = [asyncio.ensure_future(gate.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        gate.close()
        return [*await asyncio.gather(*waiting), await gate.enter()]

    assert asyncio.run(run()) == [None] * 4
