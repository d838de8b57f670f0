"""What endpoints do on bad days. Each time: nothing lost, nothing twice, the books agree."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.fault_server import Answer, Ask, FaultServer, completion, error, good
from tests.scenario import books_agree, endpoint, run, stored
from traces.errors import TeacherError
from traces.record import Trace

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


def test_a_slope_limit_is_climbed_without_a_storm(tmp_path: Path) -> None:
    refused, lock, window = Counter[str](), threading.Lock(), [0.0, 0, 16]

    def behave(ask: Ask) -> Answer:
        with lock:
            now = time.monotonic()
            if now > window[0]:  # at most half as many again as in the window before
                window[:] = [now + 0.1, 0, max(16, int(1.5 * window[1]))]
            window[1] += 1
            if window[1] > window[2]:
                window[1] -= 1
                refused["slope"] += 1
                return error(429, "Request rate increased too quickly")
        return Answer(good().body, delay_s=0.02)

    with FaultServer(behave) as server:
        counts = run(tmp_path, endpoint(server, concurrency=128, retries=30), 600)
        books_agree(tmp_path, server, counts)
    assert 0 < refused["slope"] < 200


def test_one_of_three_endpoints_slow_and_one_dead_cost_no_trace(tmp_path: Path) -> None:
    def slow(ask: Ask) -> Answer:
        return Answer(good().body, delay_s=0.2)

    def swift(ask: Ask) -> Answer:
        return Answer(good().body, delay_s=0.02)

    with FaultServer(swift) as a, FaultServer(slow) as b, FaultServer(swift) as c:
        c.stop_listening()
        one = endpoint(a, base_url=[a.url, b.url, c.url], concurrency=8, retries=12)
        counts = run(tmp_path, one, 200)
        assert counts.by_status == {"ok": 200}
        assert sum((a.served + b.served).values()) == len(stored(tmp_path)) == 200
        assert sum(a.served.values()) > sum(b.served.values())


def listing(weights: str) -> Answer:
    return Answer(json.dumps({"data": [{"id": "m", "root": weights}]}).encode())


def marked(fingerprint: str) -> Answer:
    return Answer(json.dumps({**completion(), "system_fingerprint": fingerprint}).encode())


def test_a_server_that_comes_back_with_other_weights_ends_the_run(tmp_path: Path) -> None:
    with FaultServer(lambda _: Answer(good().body, delay_s=0.01), models=listing("a")) as server:
        one = endpoint(server, concurrency=2, retries=20)
        one.check()
        heard: list[Trace] = []

        def swap(trace: Trace) -> None:
            heard.append(trace)
            if len(heard) == 20:
                server.stop_listening()
                server.models = listing("b")
                time.sleep(0.5)
                server.listen_again()

        with pytest.raises(TeacherError, match=r"weights .*b.*, not .*a") as caught:
            run(tmp_path, one, 400, on_trace=swap)
        assert caught.value.exit_code == 2
    rows = stored(tmp_path)
    assert len({row.key for row in rows}) == len(rows) < 400
    assert Counter(row.status for row in rows)["malformed"] >= 1


@pytest.mark.parametrize(("profile", "ends"), [("vllm", True), ("openai", False)])
def test_another_fingerprint_ends_the_run_or_marks_the_trace(
    tmp_path: Path, profile: str, ends: bool
) -> None:
    with FaultServer(lambda _: marked("one")) as server:
        one = endpoint(server, concurrency=1, profile=profile)
        one.check()
        server.behave = lambda ask: marked("one" if int(ask.text[9:]) < 5 else "two")
        if ends:
            with pytest.raises(TeacherError, match="fingerprint is 'two', not 'one'"):
                run(tmp_path, one, 20)
        else:
            run(tmp_path, one, 20)
    statuses = Counter(row.status for row in stored(tmp_path))
    flags = Counter(flag for row in stored(tmp_path) for flag in row.flags)
    assert statuses["ok"] == (5 if ends else 20)
    assert flags["fingerprint_changed"] == (0 if ends else 15)
