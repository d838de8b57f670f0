from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fault_server import Answer, Ask, FaultServer, good
from traces import waves
from traces.budget import Budget, Caps, Price
from traces.harvest import HarvestCounts, harvest
from traces.keys import prompt_id
from traces.record import Message, Prompt, Reference, Sampling, Trace
from traces.store import TraceStore
from traces.teachers.endpoint import EndpointTeacher
from traces.waves import Target, Waves

SAMPLING = Sampling(temperature=0.7, max_tokens=50)


def prompts(count: int) -> list[Prompt]:
    made = []
    for number in range(count):
        messages = (Message("user", f"question {number}"),)
        reference = Reference("math", "4")
        made.append(Prompt(prompt_id(messages, reference), messages, reference))
    return made


def right(_: Prompt, trace: Trace) -> bool:
    return trace.answer == "4"


def run(path: Path, teacher: Any, count: int = 10, **changes: Any) -> HarvestCounts:
    settings: dict[str, Any] = {"samples": 8, "sampling": SAMPLING, "seed": 0, **changes}
    with TraceStore.open(path / "traces.sqlite") as store:
        return harvest(prompts(count), teacher, store, **settings)


def stored(path: Path) -> list[Trace]:
    with TraceStore.open(path / "traces.sqlite", readonly=True) as store:
        return list(store.traces())


def endpoint(server: FaultServer, **changes: Any) -> EndpointTeacher:
    settings: dict[str, Any] = {"base_url": server.url, "model": "m", "timeout_s": 20.0}
    return EndpointTeacher(**{**settings, "backoff_s": 0.005, **changes})


def test_easy_prompts_get_just_enough_and_hopeless_ones_are_given_up(tmp_path: Path) -> None:
    def behave(ask: Ask) -> Answer:
        return good("4" if int(ask.text[9:]) % 2 else "5")

    with FaultServer(behave) as server:
        counts = run(tmp_path, endpoint(server), target=Target(2, right, give_up=0.05))
    by_prompt = Counter(t.prompt_id for t in stored(tmp_path))
    made = [by_prompt[p.id] for p in prompts(10)]
    assert made[1::2] == [2] * 5
    assert all(2 < n <= 8 for n in made[::2])
    assert counts.requested == counts.asked + counts.spared == 80
    assert counts.not_asked == 0


def test_a_resumed_harvest_judges_what_it_has_and_asks_only_for_more(tmp_path: Path) -> None:
    with FaultServer(lambda _: good("4")) as server:
        first = run(tmp_path, endpoint(server), target=Target(2, right))
        again = run(tmp_path, endpoint(server), target=Target(2, right))
        more = run(tmp_path, endpoint(server), target=Target(3, right))
    assert (first.asked, again.asked, again.reused, more.asked) == (20, 0, 20, 10)
    assert sum(server.asked.values()) == 30


def test_stored_traces_wait_in_the_store_until_they_can_be_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waves, "WAITING", 2)
    begin, waiting = threading.Event(), []

    def judge(_: Prompt, trace: Trace) -> bool:
        begin.wait()
        waiting.append(made._threads._work_queue.qsize())
        return True

    done = np.ones(40, dtype=np.bool_)
    with Waves(Target(1, judge, workers=1), iter(()), str, 1, done) as made:
        threading.Timer(0.2, begin.set).start()
        for place, prompt in enumerate(prompts(40)):
            made.reuse(place, prompt, Trace(str(place), prompt.id, 0, 1, "ok", "t", SAMPLING))
        assert set(made) <= {None}
    assert len(waiting) == 40
    assert max(waiting) <= 2


def test_siblings_in_flight_are_withdrawn_when_a_prompt_has_enough(tmp_path: Path) -> None:
    def behave(ask: Ask) -> Answer:
        content, slow = ("5", False) if not ask.earlier else ("4", ask.earlier > 1)
        return Answer(good(content).body, delay_s=60.0 if slow else 0.0)

    with FaultServer(behave) as server:
        one = endpoint(server, retries=0, timeout_s=100.0)
        began = time.monotonic()
        # One wrong answer makes the second wave two samples, of which one is enough.
        counts = run(tmp_path, one, 1, target=Target(1, right))
    assert time.monotonic() - began < 50.0
    assert counts.by_status == {"cancelled": 1, "ok": 2}
    assert Counter(t.status for t in stored(tmp_path)) == counts.by_status


def test_a_verifier_that_fails_or_is_slow_costs_no_trace(tmp_path: Path) -> None:
    calls, lock = Counter[str](), threading.Lock()

    def judge(prompt: Prompt, trace: Trace) -> bool:
        with lock:
            calls[prompt.id] += 1
        if calls[prompt.id] == 1:
            raise RuntimeError("verifier bug")
        time.sleep(0.02)
        return True

    with FaultServer(lambda _: good("4")) as server:
        counts = run(tmp_path, endpoint(server), 4, target=Target(1, judge))
    assert counts.by_status["ok"] == sum(calls.values()) >= 8
    assert counts.asked == sum(counts.by_status.values()) == len(stored(tmp_path))


def test_a_teacher_that_cannot_wait_is_asked_in_rounds(tmp_path: Path) -> None:
    class Slow:
        def __init__(self, inner: EndpointTeacher) -> None:
            self.record, self._inner = inner.record, inner

        def check(self) -> None:
            return

        def answer(self, requests: Any, emit: Any, stopping: Any) -> None:
            wanted = list(requests)
            assert None not in wanted
            self._inner.answer(wanted, emit, stopping)

    with FaultServer(lambda _: good("4")) as server:
        counts = run(tmp_path, Slow(endpoint(server)), target=Target(3, right))
    assert (counts.asked, counts.spared) == (30, 50)


PRICE = Price.of_dollars(1.0, 10.0)
"""A reply of the server, 7 and 2 tokens, costs 27 micro-dollars."""


def test_a_cap_drains_what_is_in_flight_and_is_never_passed(tmp_path: Path) -> None:
    slow = Answer(good("4").body, delay_s=0.02)
    with FaultServer(lambda _: slow) as server:
        one = endpoint(server, price=PRICE, concurrency=64)
        budget = Budget(Caps(usd=0.003), PRICE)
        counts = run(tmp_path, one, 50, budget=budget)
        served = sum(server.served.values())
    assert counts.stopped_by == "0.003 dollars"
    assert counts.asked == served == len(stored(tmp_path))
    assert counts.cost_micro_usd == 27 * served <= 3000
    assert counts.not_asked == 400 - served
    worst = PRICE.cost(budget_usage())
    assert counts.cost_micro_usd > 3000 - worst


def budget_usage() -> Any:
    from traces.budget import worst_usage

    return worst_usage((Message("user", "question 49"),), SAMPLING)


def test_the_ledger_is_read_from_the_store_after_a_stop(tmp_path: Path) -> None:
    with FaultServer(lambda _: good("4")) as server:
        for cap, asked in ((10, 10), (10, 0), (15, 5)):
            one = endpoint(server, price=PRICE)
            counts = run(tmp_path, one, budget=Budget(Caps(requests=cap), PRICE))
            assert (counts.asked, counts.stopped_by) == (asked, f"{cap} requests")
        assert sum(server.asked.values()) == 15


def test_a_reply_that_broke_off_is_counted_at_its_worst(tmp_path: Path) -> None:
    def behave(ask: Ask) -> Answer:
        return Answer(good().body, cut=30) if not ask.earlier else good("4")

    with FaultServer(behave) as server:
        run(tmp_path, endpoint(server, price=PRICE), 1, samples=1)
    (trace,) = stored(tmp_path)
    assert trace.cost_micro_usd is not None
    assert trace.cost_micro_usd > 27 + 50 * 10
    assert "earlier_replies_lost" in trace.flags
