"""The gate against servers with a hidden limit, on a simulated clock: no machine is in the way."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable

import pytest

from traces.record import Usage
from traces.teachers.admission import Admission
from traces.teachers.chat_reply import Reply
from traces.teachers.dispatch import Dispatch, Patience
from traces.teachers.lanes import Lane
from traces.teachers.retry import Failure, pause_s


def simulate(
    cap_at: Callable[[float], int],
    seconds: float,
    low_s: float,
    high_s: float,
    ceiling: int = 512,
    *,
    gradient: bool = False,
    watch: Callable[[Admission], None] = lambda gate: None,
) -> tuple[float, float]:
    """Share of the server's slots in use, and share of replies that are 429."""
    rng = random.Random(4)
    now = 0.0
    gate = Admission(ceiling, clock=lambda: now, gradient=gradient)
    events: list[tuple[float, int, int, bool]] = []  # when, number, epoch, answered
    sent: dict[int, float] = {}
    serving = refused = answered = number = 0
    used = offered = 0.0

    async def run() -> None:
        nonlocal now, serving, refused, answered, number, used, offered
        while now < seconds:
            gate.grow()
            while gate.free:
                epoch = await gate.enter() or 0
                number += 1
                sent[number] = now
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
                _, which, epoch, good = heapq.heappop(events)
                took_s = now - sent.pop(which)
                gate.leave()
                watch(gate)
                if good:
                    serving, answered = serving - 1, answered + 1
                    gate.succeeded()
                    gate.served(took_s, 100)
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


def queueing(
    slots_at: Callable[[float], int],
    seconds: float,
    *,
    ceiling: int = 256,
    batch: float = 0.0,
    settled: float = 0.6,
) -> tuple[float, float, float]:
    """A server that answers all, in turn: slot use, greatest width and work done once settled.

    `batch` is how many requests at a time double the time of each; 0 for slots that are their own.
    """
    rng, now, number = random.Random(4), 0.0, 0
    gate = Admission(ceiling, clock=lambda: now, gradient=True)
    queue: deque[tuple[float, float]] = deque()  # when sent, work
    serving: list[tuple[float, int, float, float]] = []  # when done, number, when sent, work
    used = offered = widest = done = 0.0

    async def run() -> None:
        nonlocal now, number, used, offered, widest, done
        while now < seconds:
            gate.grow()
            while gate.free:
                await gate.enter()
                queue.append((now, rng.uniform(0.1, 0.5)))
            while queue and len(serving) < slots_at(now):
                sent, work = queue.popleft()
                number += 1
                slowed = 1.0 + len(serving) / batch if batch else 1.0
                ends = now + work * slowed * rng.uniform(0.9, 1.1)
                heapq.heappush(serving, (ends, number, sent, work))
            at = min(serving[0][0], now + 0.01) if serving else now + 0.01
            if now > settled * seconds:
                used += len(serving) * (at - now)
                offered += slots_at(now) * (at - now)
                widest = max(widest, gate.width)
            now = at
            while serving and serving[0][0] <= now:
                _, _, sent, work = heapq.heappop(serving)
                gate.leave()
                gate.succeeded()
                gate.served(now - sent, int(1000 * work))
                done += work if now > settled * seconds else 0.0

    asyncio.run(run())
    return used / max(offered, 1e-9), widest, done / (seconds * (1.0 - settled))


@pytest.mark.parametrize(
    ("slots", "seconds"),
    [
        (12, 150.0),
        (64, 30.0),
        pytest.param(8, 300.0, marks=pytest.mark.exhaustive),
        pytest.param(150, 60.0, marks=pytest.mark.exhaustive),
    ],
)
def test_a_server_that_queues_without_a_word_gets_what_it_works_on(
    slots: int, seconds: float
) -> None:
    use, widest, _ = queueing(lambda _: slots, seconds)
    assert use >= 0.95
    assert widest <= 1.5 * slots


def test_slots_that_are_added_are_found() -> None:
    use, _, _ = queueing(lambda now: 32 if now < 30.0 else 64, 80.0, settled=0.75)
    assert use >= 0.9


def test_a_server_that_does_not_queue_is_filled_to_the_ceiling() -> None:
    _, widest, _ = queueing(lambda _: 10_000, 8.0)
    assert widest == 256


def test_answers_that_take_long_or_short_without_a_queue_are_not_taken_for_one() -> None:
    """All have as many tokens, so the time of a token tells nothing."""
    widths: list[float] = []

    def watch(gate: Admission) -> None:
        widths.append(gate.width)

    use, _ = simulate(lambda _: 512, 240.0, 1.0, 30.0, gradient=True, watch=watch)
    assert use >= 0.95
    assert min(widths[widths.index(512) :]) == 512


def test_a_server_that_batches_keeps_its_throughput() -> None:
    """Each request takes longer the more there are, and yet more gets done."""
    _, _, done = queueing(lambda _: 10_000, 60.0, batch=64.0)
    assert done >= 0.93 * 256 / (1.0 + 256 / 64.0)


def test_an_endpoint_that_says_when_it_is_busy_is_left_to_say_so() -> None:
    async def ask() -> Admission:
        lane = Lane("x", busy_then_good, Admission(8, gradient=True))
        await Dispatch([lane], Patience(8, 5, 60.0, 0.001, 0.01, 0)).deliver(b"{}", 0)
        return lane.gate

    replies: list[Reply | Failure] = [
        Reply("ok", "4", None, "stop", "m", Usage()),
        Failure("busy", "http_error", "HTTP 429", 429),
    ]

    async def busy_then_good(_: bytes, __: int) -> Reply | Failure:
        return replies.pop()

    assert asyncio.run(ask()).gradient is None
