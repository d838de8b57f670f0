"""What endpoints do on bad days. Each time: nothing lost, nothing twice, the books agree."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.fault_server import Answer, Ask, FaultServer, completion, error, good
from traces.budget import Budget, Caps, Price
from traces.errors import TeacherError
from traces.harvest import HarvestCounts, harvest
from traces.keys import prompt_id
from traces.record import Message, Prompt, Sampling, Trace
from traces.store import TraceStore
from traces.teachers.endpoint import EndpointTeacher

ROOT = Path(__file__).parents[2]


def prompts(count: int) -> list[Prompt]:
    made = []
    for number in range(count):
        messages = (Message("user", f"question {number}"),)
        made.append(Prompt(prompt_id(messages, None), messages))
    return made


def endpoint(server: FaultServer, **changes: Any) -> EndpointTeacher:
    settings: dict[str, Any] = {"timeout_s": 30.0, "backoff_s": 0.02, "backoff_max_s": 0.3}
    return EndpointTeacher(**{"base_url": server.url, "model": "m", **settings, **changes})


def stored(path: Path) -> list[Trace]:
    with TraceStore.open(path / "traces.sqlite", readonly=True) as store:
        return list(store.traces(latest=False))


def run(path: Path, teacher: EndpointTeacher, count: int, **changes: Any) -> HarvestCounts:
    settings: dict[str, Any] = {"samples": 1, "sampling": Sampling(max_tokens=50), "seed": 0}
    with TraceStore.open(path / "traces.sqlite") as store:
        return harvest(prompts(count), teacher, store, **{**settings, **changes})


def books_agree(path: Path, server: FaultServer, counts: HarvestCounts) -> None:
    """Every prompt answered once, by a reply that the server knows to have given once."""
    rows = stored(path)
    assert len({row.key for row in rows}) == len(rows) == counts.requested
    assert {row.status for row in rows} == {"ok"}
    assert sum(server.served.values()) == counts.asked == len(rows)
    assert set(server.served.values()) == {1}


RETRY_AFTER = [
    {}, {"retry_after": "0"}, {"retry_after": "0.05"}, {"retry_after_ms": "40"},
    {"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, {"retry_after": "99999999"},
    {"retry_after": "-5"}, {"retry_after": "soon"},
]  # fmt: skip


def test_a_storm_of_429_with_every_form_of_retry_after(tmp_path: Path) -> None:
    rng, lock, refused = random.Random(11), threading.Lock(), Counter[str]()

    def behave(ask: Ask) -> Answer:
        with lock:
            if ask.in_flight > 8:
                refused["cap"] += 1
                return error(429, "slow down", **rng.choice(RETRY_AFTER))
        return Answer(good().body, delay_s=0.01)

    with FaultServer(behave) as server:
        counts = run(tmp_path, endpoint(server, concurrency=64, retries=30), 250)
        books_agree(tmp_path, server, counts)
    assert 0 < refused["cap"] < 120


def test_a_limit_that_changes_is_followed_down_and_up(tmp_path: Path) -> None:
    refused, served, lock = Counter[int](), Counter[int](), threading.Lock()

    def behave(ask: Ask) -> Answer:
        with lock:
            done = sum(served.values())
            cap = 6 if 150 < done < 300 else 24
            if ask.in_flight > cap:
                refused[cap] += 1
                return error(429, "too many")
            served[cap] += 1
        return Answer(good().body, delay_s=0.02)

    with FaultServer(behave) as server:
        counts = run(tmp_path, endpoint(server, concurrency=200, retries=30), 600)
        books_agree(tmp_path, server, counts)
    # Blind retries of 200 at a time would be refused thousands of times.
    assert sum(refused.values()) < 150


def test_errors_only_for_a_while_cost_no_trace_and_few_requests(tmp_path: Path) -> None:
    began: list[float] = []

    def behave(ask: Ask) -> Answer:
        began.append(time.monotonic())
        down = 0.1 < time.monotonic() - began[0] < 1.6
        return error(500, "down") if down else Answer(good().body, delay_s=0.01)

    with FaultServer(behave) as server:
        counts = run(tmp_path, endpoint(server, concurrency=32, retries=5), 1000)
        books_agree(tmp_path, server, counts)
    assert sum(server.asked.values()) - counts.asked < 120


def test_an_outage_that_lasts_ends_the_run_with_all_requests_accounted_for(tmp_path: Path) -> None:
    with FaultServer(lambda _: error(500, "down")) as server:
        one = endpoint(server, concurrency=16, retries=50, timeout_s=1.0)
        with pytest.raises(TeacherError, match="HTTP 500: down"):
            run(tmp_path, one, 400)
    assert {row.status for row in stored(tmp_path)} <= {"http_error", "cancelled"}
    assert len(stored(tmp_path)) < 100


def test_a_server_that_restarts_under_load_costs_no_trace(tmp_path: Path) -> None:
    with FaultServer(lambda _: Answer(good().body, delay_s=0.005)) as server:

        def restart() -> None:
            time.sleep(0.3)
            server.stop_listening()
            time.sleep(1.0)
            server.listen_again()

        thread = threading.Thread(target=restart)
        thread.start()
        counts = run(tmp_path, endpoint(server, concurrency=8, retries=20), 600)
        thread.join()
    rows = stored(tmp_path)
    assert len({row.key for row in rows}) == len(rows) == counts.asked == 600
    assert {row.status for row in rows} == {"ok"}


def test_connections_closed_behind_our_back_are_opened_again(tmp_path: Path) -> None:
    with FaultServer(lambda _: Answer(good().body, hang_up=True)) as server:
        counts = run(tmp_path, endpoint(server, concurrency=8), 100)
        books_agree(tmp_path, server, counts)


def test_a_gateway_that_fails_one_in_ten_in_every_way(tmp_path: Path) -> None:
    rng, lock = random.Random(5), threading.Lock()
    faults = [error(500), error(502), error(503), error(529), Answer(b"<html>Bad</html>", 502)]
    faults += [Answer(good().body, cut=30), Answer(good().body, cut=30, reset=True)]

    def behave(ask: Ask) -> Answer:
        with lock:
            fault = rng.choice(faults) if rng.random() < 0.1 else None
        return fault or Answer(good().body, delay_s=0.005)

    with FaultServer(behave) as server:
        counts = run(tmp_path, endpoint(server, concurrency=32, retries=10), 400)
        books_agree(tmp_path, server, counts)


def test_rate_headers_are_kept_to_without_a_single_429(tmp_path: Path) -> None:
    window, lock, refused = [0.0, 20], threading.Lock(), Counter[str]()

    def behave(ask: Ask) -> Answer:
        with lock:
            now = time.monotonic()
            if now > window[0]:
                window[:] = [now + 0.25, 20]
            window[1] -= 1
            left, reset = window[1], window[0] - now
        headers = {
            "x-ratelimit-remaining-requests": str(max(0, int(left))),
            "x-ratelimit-reset-requests": f"{int(1000 * reset) + 1}ms",
        }
        if left < 0:
            refused["429"] += 1
            return Answer(error(429).body, 429, headers)
        return Answer(good().body, headers=headers, delay_s=0.005)

    with FaultServer(behave) as server:
        counts = run(tmp_path, endpoint(server, concurrency=16), 120)
        books_agree(tmp_path, server, counts)
    assert refused["429"] <= 12


HARD = {
    "thirty megabytes": ("x" * 30_000_000, "ok"),
    "nul": ("four\x00 4", "ok"),
    "emoji and rare planes": ("👩‍🔬 𒀀𒁹 \U0010fffd", "ok"),
    "nothing": (None, "empty"),
}


@pytest.mark.parametrize("name", HARD)
def test_hard_content_is_stored_as_it_came(tmp_path: Path, name: str) -> None:
    content, status = HARD[name]
    with FaultServer(lambda _: good(content)) as server:
        run(tmp_path, endpoint(server), 1)
    (row,) = stored(tmp_path)
    assert (row.status, row.content) == (status, content or "")


def test_a_lone_surrogate_is_replaced_and_said(tmp_path: Path) -> None:
    body = json.dumps(completion("four \ud800 4")).encode()
    with FaultServer(lambda _: Answer(body)) as server:
        run(tmp_path, endpoint(server), 1)
    (row,) = stored(tmp_path)
    assert (row.content, row.flags) == ("four � 4", ("replaced_characters",))


@pytest.mark.parametrize("usage", [None, {}, {"completion_tokens": 0}, {"completion_tokens": -3}])
def test_usage_that_cannot_be_is_estimated_and_priced(tmp_path: Path, usage: Any) -> None:
    price = Price.of_dollars(1.0, 10.0)
    with FaultServer(lambda _: good("four is it", usage=usage)) as server:
        run(tmp_path, endpoint(server, price=price), 1)
    (row,) = stored(tmp_path)
    assert (row.usage.source, row.usage.completion, row.cost_micro_usd) == ("estimated", 3, 30)


def test_a_budget_reached_with_hundreds_in_flight_is_not_passed(tmp_path: Path) -> None:
    price = Price.of_dollars(1.0, 10.0)
    slow = Answer(good().body, delay_s=0.3)
    with FaultServer(lambda _: slow) as server:
        one = endpoint(server, price=price, concurrency=512)
        counts = run(tmp_path, one, 600, budget=Budget(Caps(usd=0.1), price))
    assert counts.asked == sum(server.served.values()) == len(stored(tmp_path)) == 600 or (
        counts.stopped_by and counts.cost_micro_usd <= 100_000
    )
    assert server.most_in_flight > 64


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://127.0.0.1:{port}/v1", "no complete reply|secure connection"),
        ("http://[::1]:{port}/v1", "cannot connect"),
    ],
)
def test_no_way_to_the_server_is_one_clear_line(url: str, says: str) -> None:
    with FaultServer(lambda _: good()) as server:
        one = endpoint(server, base_url=url.format(port=server.port), timeout_s=0.5, retries=0)
        with pytest.raises(TeacherError, match=says) as caught:
            one.check()
    assert "\n" not in caught.value.message


def child(server: FaultServer, path: Path, count: int, concurrency: int, files: int = 0) -> Any:
    command = [sys.executable, "tests/traces/harvest_child.py", server.url]
    command += [str(path / "traces.sqlite"), str(count), str(concurrency), str(files)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_again_and_again_it_loses_no_acknowledged_trace(tmp_path: Path) -> None:
    rng, acknowledged = random.Random(2), list[str]()
    with FaultServer(lambda _: Answer(good().body, delay_s=0.02)) as server:
        for _ in range(3):
            process = child(server, tmp_path, 250, 4)
            for _ in range(rng.randrange(20, 60)):
                acknowledged.append(process.stdout.readline().strip())
            process.kill()
            process.stdout.close()
            process.wait()
        process = child(server, tmp_path, 250, 4)
        lines = process.stdout.read().split("\n")
        process.stdout.close()
        assert process.wait() == 0
    keys = [row.key for row in stored(tmp_path)]
    assert len(set(keys)) == len(keys) == 250
    assert set(acknowledged) <= set(keys)
    assert lines[-2].startswith("done")
    # Sent again: at most what was in flight or not yet on disk when it was killed.
    assert sum(server.asked.values()) <= 250 + 3 * 60


@pytest.mark.slow
def test_too_few_file_descriptors_slow_it_down_and_lose_nothing(tmp_path: Path) -> None:
    with FaultServer(lambda _: Answer(good().body, delay_s=0.5)) as server:
        process = child(server, tmp_path, 150, 120, files=64)
        out = process.stdout.read()
        process.stdout.close()
        assert process.wait() == 0
    assert out.splitlines()[-1] == "done 150 0"
    assert {row.status for row in stored(tmp_path)} == {"ok"}
