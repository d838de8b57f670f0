"""What happens to harvesting processes: killed, stopped, starved, doubled, resumed otherwise."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.children import Children
from tests.fault_server import Answer, Ask, FaultServer, good
from tests.scenario import books_agree, endpoint, prompts, run, stored
from traces.budget import Budget, Caps, Price
from traces.errors import DataError
from traces.harvest import harvest
from traces.keys import prompt_id
from traces.record import Message, Prompt, Reference, Sampling, Trace
from traces.store import TraceStore
from traces.verify.pool import Pool
from traces.verify.run import verify_trace
from traces.waves import Target


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children() as started:
        yield started


def quick(_: Ask) -> Answer:
    return Answer(good().body, delay_s=0.005)


def once_each(folder: Path, count: int) -> set[str]:
    """The keys of the store, which holds each of `count` prompts answered once."""
    rows = stored(folder)
    keys = {row.key for row in rows}
    assert len(keys) == len(rows) == count
    assert {row.status for row in rows} == {"ok"}
    return keys


@pytest.mark.slow
def test_killed_two_hundred_times_it_loses_no_acknowledged_trace(
    tmp_path: Path, children: Children
) -> None:
    rng, acknowledged, killed = random.Random(2), list[str](), 0
    with FaultServer(lambda _: Answer(good().body, delay_s=0.04)) as server:
        task: dict[str, Any] = {"url": server.url, "path": str(tmp_path / "traces.sqlite")}
        task |= {"count": 2000, "concurrency": 3}
        for _ in range(200):
            outcome = children.run("harvest", kill_after_s=rng.uniform(0.0, 0.2), **task)
            acknowledged += outcome.acknowledged
            killed += outcome.code == -9
        outcome = children.run("harvest", **task | {"concurrency": 32})
        acknowledged += outcome.acknowledged
        assert outcome.code == 0
        asked = sum(server.asked.values())
    keys = once_each(tmp_path, 2000)
    assert len(set(acknowledged)) == len(acknowledged)
    assert set(acknowledged) <= keys
    assert killed > 150
    # Sent again: at most what was in flight or not yet on disk when it was killed.
    assert asked <= 2000 + killed * 50


SIGNALS = {
    "ctrl-c": ((signal.SIGINT,), 130),
    "ctrl-c twice": ((signal.SIGINT, signal.SIGINT), 130),
    "ctrl-c three times": ((signal.SIGINT, signal.SIGINT, signal.SIGINT), 130),
    "sigterm": ((signal.SIGTERM,), 130),
    "a closed terminal": ((signal.SIGHUP,), 130),
    "stopped and continued": ((signal.SIGSTOP, signal.SIGCONT), 0),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_ends_a_harvest_in_time_and_the_rest_is_asked_later(
    tmp_path: Path, children: Children, name: str
) -> None:
    signals, code = SIGNALS[name]

    def behave(ask: Ask) -> Answer:
        slow = 12 <= int(ask.text[9:]) < 14 and not ask.earlier
        return Answer(good().body, delay_s=1.5 if slow else 0.005)

    with FaultServer(behave) as server:
        task: dict[str, Any] = {"url": server.url, "path": str(tmp_path / "traces.sqlite")}
        task |= {"count": 100, "concurrency": 2}
        began = time.monotonic()
        first = children.run("harvest", signals=signals, **task)
        assert time.monotonic() - began < 60.0
        assert first.code == code
        second = children.run("harvest", **task)
        # Two were in flight; the first signal lets them end.
        assert sum(server.asked.values()) <= 100 + (2 if len(signals) > 1 else 0)
    keys = answered_once(tmp_path, 100)
    assert set(first.acknowledged) | set(second.acknowledged) >= keys
    assert (len(first.acknowledged) == 100) == (code == 0)


def answered_once(folder: Path, count: int) -> set[str]:
    """The keys answered `ok`, one for each of `count` prompts; cancelled attempts may precede."""
    rows = [row for row in stored(folder) if row.status == "ok"]
    keys = {row.key for row in rows}
    assert len(keys) == len(rows) == count
    return keys


@pytest.mark.slow
def test_too_few_file_descriptors_slow_it_down_and_lose_nothing(
    tmp_path: Path, children: Children
) -> None:
    with FaultServer(lambda _: Answer(good().body, delay_s=0.5)) as server:
        task: dict[str, Any] = {"url": server.url, "path": str(tmp_path / "traces.sqlite")}
        task |= {"count": 600, "concurrency": 400, "limits": {"files": 256}}
        outcome = children.run("harvest", **task)
    assert (outcome.code, outcome.said[-1]) == (0, "done 600 0")
    once_each(tmp_path, 600)


def test_too_little_memory_ends_it_and_more_finishes_it(tmp_path: Path, children: Children) -> None:
    large = good("x" * 8_000_000)

    def behave(ask: Ask) -> Answer:
        return large if int(ask.text[9:]) >= 20 else good()

    with FaultServer(behave) as server:
        task: dict[str, Any] = {"url": server.url, "path": str(tmp_path / "traces.sqlite")}
        task |= {"count": 30, "concurrency": 4}
        first = children.run("harvest", limits={"memory": 60_000_000}, **task)
        assert first.code not in (0, 130)
        second = children.run("harvest", **task)
        assert second.code == 0
    assert set(first.acknowledged) <= once_each(tmp_path, 30)


def test_a_second_harvester_of_one_store_is_refused_and_disturbs_nobody(
    tmp_path: Path, children: Children
) -> None:
    with FaultServer(quick) as server:
        with TraceStore.open(tmp_path / "traces.sqlite") as store:
            task: dict[str, Any] = {"url": server.url, "path": str(tmp_path / "traces.sqlite")}
            task |= {"count": 20, "concurrency": 2}
            second = children.run("harvest", **task)
            assert second.code == 2
            assert "another process is writing to it" in second.said[-1]
            assert not server.asked
            settings: dict[str, Any] = {"samples": 1, "sampling": Sampling(max_tokens=50)}
            counts = harvest(prompts(20), endpoint(server), store, seed=0, **settings)
        books_agree(tmp_path, server, counts)
    with TraceStore.open(tmp_path / "traces.sqlite"), pytest.raises(DataError, match="another"):
        TraceStore.open(tmp_path / "traces.sqlite")


CHANGES: dict[str, tuple[dict[str, Any], int]] = {
    "nothing": ({}, 20),
    "more prompts": ({"count": 25}, 20),
    "another sampling": ({"sampling": Sampling(max_tokens=60)}, 0),
    "another model": ({"teacher": {"model": "n"}}, 0),
    "another revision": ({"teacher": {"revision": "2"}}, 0),
    "another request body": ({"teacher": {"extra_body": {"top_k": 1}}}, 0),
    "another context": ({"teacher": {"context": (Message("system", "Be brief."),)}}, 0),
    "another key and width": ({"teacher": {"api_key": "k", "concurrency": 2}}, 20),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_resumed_harvest_reuses_what_was_asked_in_the_same_words(
    tmp_path: Path, change: str
) -> None:
    changes, reused = CHANGES[change]
    with FaultServer(lambda _: good()) as server:
        run(tmp_path, endpoint(server), 20)
    with FaultServer(lambda _: good()) as server:  # at another address
        changes = dict(changes)
        one = endpoint(server, **changes.pop("teacher", {}))
        counts = run(tmp_path, one, changes.pop("count", 20), **changes)
        assert (counts.reused, sum(server.asked.values())) == (reused, counts.requested - reused)


@pytest.mark.slow
def test_a_budget_reached_with_2048_in_flight_is_not_passed(tmp_path: Path) -> None:
    price = Price.of_dollars(1.0, 10.0)
    slow = Answer(good().body, delay_s=2.0)
    with FaultServer(lambda _: slow) as server:
        one = endpoint(server, price=price, concurrency=2048)
        # The most that one can cost is 513 micro-dollars, what each does cost is 27.
        counts = run(tmp_path, one, 4500, budget=Budget(Caps(usd=1.1), price))
        assert counts.asked == sum(server.served.values()) == len(stored(tmp_path))
        assert sum(server.asked.values()) == counts.asked + counts.reused
    assert server.most_in_flight >= 1800
    assert counts.cost_micro_usd <= 1_100_000
    assert counts.cost_micro_usd == 27 * counts.asked


HANG = "def f(n):\n    while True: pass"
FORK = "import os\ndef f(n):\n    os.fork()\n    return n"
CRASH = "import os\ndef f(n):\n    os.kill(os.getpid(), 11)"
RIGHT = "def f(n):\n    return n"


def test_a_verifier_that_hangs_crashes_forks_or_raises_costs_no_trace(tmp_path: Path) -> None:
    answers = [HANG, FORK, CRASH, RIGHT]

    def behave(ask: Ask) -> Answer:
        return good(f"```python\n{answers[ask.body['seed'] % 4]}\n```")

    gold = '{"entry": "f", "tests": [[[3], 3]]}'
    messages = (Message("user", "Write f."),)
    reference = Reference("code", gold)
    asked = [Prompt(prompt_id(messages, reference), messages, reference)]
    with FaultServer(behave) as server, Pool(2, 1.0) as pool:

        def judge(prompt: Prompt, trace: Trace) -> bool:
            if trace.sample == 1:
                raise RuntimeError("a bug of the verifier")
            verdicts = verify_trace(prompt, trace, steps=False, pool=pool)
            return any(verdict.outcome == "right" for verdict in verdicts)

        with TraceStore.open(tmp_path / "traces.sqlite") as store:
            sampling = Sampling(temperature=1.0, max_tokens=50)
            counts = harvest(asked, endpoint(server), store, samples=6, seed=0, sampling=sampling,
                             target=Target(6, judge, give_up=0.0))  # fmt: skip
        assert sum(server.served.values()) == counts.asked == 6
    once_each(tmp_path, 6)


def test_a_clock_that_jumps_disturbs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = time.time_ns, Counter[str]()

    def jumping() -> int:
        calls["clock"] += 1
        return real() + (-1) ** calls["clock"] * 3_600_000_000_000

    monkeypatch.setattr(time, "time_ns", jumping)
    monkeypatch.setattr(time, "time", lambda: jumping() / 1e9)
    with FaultServer(quick) as server:
        counts = run(tmp_path, endpoint(server), 50)
        books_agree(tmp_path, server, counts)
    assert calls["clock"] >= 50
    assert all(0 <= row.finished_us - row.started_us < 60_000_000 for row in stored(tmp_path))
