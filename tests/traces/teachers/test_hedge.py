from __future__ import annotations

import asyncio
import random
import selectors
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fault_server import Answer, Ask, FaultServer, error, good
from tests.scenario import endpoint, run, stored
from traces.budget import Price, worst_usage
from traces.harvest import HarvestCounts
from traces.record import Message, Sampling, Trace, Usage
from traces.summary import store_stats
from traces.teachers.admission import Admission
from traces.teachers.chat_reply import Reply
from traces.teachers.dispatch import Dispatch, Patience
from traces.teachers.lanes import Lane
from traces.teachers.protocol import Withdraw
from traces.teachers.retry import Failure
from traces.waves import Target

HANGS = Answer(good().body, delay_s=20.0)
SLOW = Answer(good().body, delay_s=0.5)
QUICK = Answer(good().body, delay_s=0.005)


def first_of(*numbers: int, first: Answer, later: Answer = QUICK) -> Callable[[Ask], Answer]:
    """The first copies of these questions go wrong, wherever they are asked."""
    seen: Counter[str] = Counter()

    def behave(ask: Ask) -> Answer:
        seen[ask.text] += 1
        if ask.text not in {f"question {number}" for number in numbers}:
            return QUICK
        return first if seen[ask.text] == 1 else later

    return behave


def harvest(
    path: Path, behave: Callable[[Ask], Answer], count: int = 40, servers: int = 2, **changes: Any
) -> tuple[HarvestCounts, dict[str, Trace], int]:
    """Counts, traces by question, and how many requests the servers got."""
    made = [FaultServer(behave) for _ in range(servers)]
    for server in made:
        server.__enter__()
    try:
        urls = [server.url for server in made]
        settings = {"base_url": urls, "hedge": 0.05, "retries": 0}
        counts = run(path, endpoint(made[0], **{**settings, **changes}), count)
        asked = sum(sum(server.asked.values()) for server in made)
    finally:
        for server in made:
            server.__exit__()
    rows = stored(path)
    assert len({row.key for row in rows}) == len(rows) == count
    assert {row.status for row in rows} == {"ok"}
    assert asked == len(rows) + sum("hedged" in row.flags for row in rows)
    return counts, {f"question {n}": row for n, row in enumerate(_in_order(rows))}, asked


def _in_order(rows: list[Trace]) -> list[Trace]:
    from tests.scenario import prompts

    by_prompt = {row.prompt_id: row for row in rows}
    return [by_prompt[prompt.id] for prompt in prompts(len(rows))]


@pytest.mark.parametrize("servers", [1, 2])
def test_what_hangs_at_the_end_is_asked_twice_and_the_first_answer_is_taken(
    tmp_path: Path, servers: int
) -> None:
    _, rows, asked = harvest(tmp_path, first_of(7, first=HANGS), servers=servers)
    assert asked == 41
    assert rows["question 7"].flags == ("earlier_replies_lost", "hedged", "hedge_won")
    assert rows["question 7"].finished_us - rows["question 7"].started_us < 15e6
    assert not rows["question 8"].flags


def test_a_copy_that_fails_or_is_slower_costs_the_answer_nothing(tmp_path: Path) -> None:
    for name, later in (("fails", error(500)), ("slower", HANGS)):
        behave = first_of(7, first=SLOW, later=later)
        _, rows, _ = harvest(tmp_path / name, behave)
        assert "hedged" in rows["question 7"].flags
        assert "hedge_won" not in rows["question 7"].flags


def test_copies_keep_to_their_share(tmp_path: Path) -> None:
    behave = first_of(1, 2, 3, first=SLOW)
    _, _, none = harvest(tmp_path / "none", behave, hedge=0.0)
    assert none == 40
    behave = first_of(1, 2, 3, first=SLOW, later=SLOW)
    _, _, one = harvest(tmp_path / "one", behave, hedge=0.02)
    assert one == 41


def test_the_copy_that_was_cut_off_is_paid_for_at_its_worst(tmp_path: Path) -> None:
    price = Price(2_000_000, 8_000_000)
    counts, rows, _ = harvest(tmp_path, first_of(7, first=HANGS), price=price)
    row = rows["question 7"]
    worst = worst_usage((Message("user", "question 7"),), Sampling(max_tokens=50))
    assert row.cost_micro_usd == price.cost(row.usage) + price.cost(worst)
    assert counts.cost_micro_usd == 40 * price.cost(row.usage) + price.cost(worst)
    stats = store_stats(tmp_path / "traces.sqlite")
    assert stats.flags == {"earlier_replies_lost": 1, "hedge_won": 1, "hedged": 1}
    assert stats.cost_micro_usd == counts.cost_micro_usd


def test_the_last_of_a_wave_is_hedged_too(tmp_path: Path) -> None:
    target = Target(1, lambda _, trace: trace.status == "ok")
    with FaultServer(first_of(7, first=HANGS)) as server:
        teacher = endpoint(server, hedge=0.05, retries=0)
        counts = run(tmp_path, teacher, 40, target=target)
    (slow,) = [row for row in stored(tmp_path) if "hedge_won" in row.flags]
    assert (counts.asked, counts.by_status) == (40, {"ok": 40})
    assert slow.finished_us - slow.started_us < 15e6


@pytest.mark.parametrize(("hangs", "billable"), [(True, 3), (False, 2)])
def test_what_a_withdrawn_request_may_have_cost_is_kept(hangs: bool, billable: int) -> None:
    """Two replies that broke off, and a third attempt that is out, or waits for its turn."""
    sent, found = 0, []

    async def send(body: bytes, _: int) -> Reply | Failure:
        nonlocal sent
        sent += 1
        if sent == 3:
            await asyncio.sleep(60.0)
        if sent == 2 and not hangs:
            lane.gate.allow(0, reset_s=60.0)
        return Failure("broken", "malformed", "cut", 200, billable=True)

    lane = Lane("a", send, Admission(4))

    async def work() -> None:
        dispatch = Dispatch([lane], Patience(4, 9, 60.0, 0.0, 60.0, 0))

        class Asked:
            key = "k"

        def requests() -> Iterator[Any]:
            yield Asked()
            while sent < 2 + hangs:
                yield None
            yield Withdraw("k")

        async def handle(_: Any) -> None:
            found.append(await dispatch.deliver(b"", 0))

        await dispatch.work(requests(), handle, lambda: False)

    asyncio.run(work())
    (delivery,) = found
    assert isinstance(delivery.result, Failure)
    assert delivery.result.status == "cancelled"
    assert delivery.billable + delivery.result.billable == billable


class _Clock(selectors.SelectSelector):
    """Waits for nothing: where a loop would sleep, its clock is moved."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now_s += max(0.0, timeout or 0.0)
        return super().select(0)


def simulate(share: float, count: int = 1000, servers: int = 3) -> tuple[float, int, set[int]]:
    """Seconds until `count` requests are answered, of which one in 200 hangs; requests; answered.

    Answers take about 2 s (log-normal); one that hangs is cut off by the server after 120 s.
    """
    clock, rng, sent = _Clock(), random.Random(3), 0
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now_s  # type: ignore[method-assign]
    answered: set[int] = set()

    async def send(body: bytes, _: int) -> Reply | Failure:
        nonlocal sent
        sent += 1
        await asyncio.sleep(120.0 if rng.random() < 0.005 else rng.lognormvariate(0.7, 0.4))
        return Reply("ok", body.decode(), None, "stop", "m", Usage())

    lanes = [Lane(str(n), send, Admission(32, clock=loop.time)) for n in range(servers)]
    dispatch = Dispatch(lanes, Patience(32, 5, 600.0, 0.3, 60.0, 0, share))

    async def handle(request: Any) -> None:
        delivery = await dispatch.deliver(request.key.encode(), 0, int(request.key))
        assert isinstance(delivery.result, Reply)
        answered.add(int(delivery.result.content))

    class Asked:
        def __init__(self, number: int) -> None:
            self.key = str(number)

    requests: Any = (Asked(number) for number in range(count))
    try:
        loop.run_until_complete(dispatch.work(requests, handle, lambda: False))
    finally:
        loop.close()
    return clock.now_s, sent, answered


def test_a_simulated_harvest_does_not_wait_for_what_hangs() -> None:
    plain_s, plain, everything = simulate(0.0)
    hedged_s, hedged, again = simulate(0.02)
    assert everything == again == set(range(1000))
    assert plain == 1000
    assert 1000 < hedged <= 1020
    assert plain_s > 120.0
    assert hedged_s < 0.4 * plain_s
