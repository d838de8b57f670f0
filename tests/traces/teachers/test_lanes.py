from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from typing import Any

import pytest

from tests.fault_server import Answer, Ask, FaultServer, error, good
from traces.errors import TeacherError
from traces.keys import prompt_id, trace_key
from traces.record import Message, Prompt, Sampling, Trace
from traces.teachers.admission import Admission
from traces.teachers.endpoint import EndpointTeacher
from traces.teachers.lanes import Lane, choose
from traces.teachers.protocol import Request
from traces.teachers.retry import Failure


async def nothing(_: bytes, __: int) -> Failure:
    return Failure("refused", "http_error", "not sent")


def lane(in_flight: int, width: int = 10) -> Lane:
    made = Lane("x", nothing, Admission(width, start=width))
    made.gate.in_flight = in_flight
    return made


def test_a_prompt_stays_at_its_home_while_loads_are_alike() -> None:
    lanes, rng = [lane(5), lane(4), lane(6)], random.Random(0)
    for home in range(30):
        assert choose(lanes, home, rng) is lanes[home % 3]


def test_a_fuller_home_is_left() -> None:
    lanes, rng = [lane(9), lane(1)], random.Random(0)
    picked = Counter(choose(lanes, 0, rng) is lanes[1] for _ in range(100))
    assert picked[True] > 25


def test_a_full_home_is_left_whenever_there_is_room_elsewhere() -> None:
    lanes = [lane(10), lane(10), lane(3)]
    assert all(choose(lanes, 0, random.Random(n)) is lanes[2] for n in range(30))


def requests(one: EndpointTeacher, count: int) -> list[Request]:
    made = []
    for number in range(count):
        messages = (Message("user", f"question {number}"),)
        own = Sampling(max_tokens=50)
        prompt = Prompt(prompt_id(messages, None), messages)
        made.append(Request(trace_key(one.record, messages, own, 0), prompt, 0, 1, messages, own))
    return made


def harvest(servers: list[FaultServer], count: int, **changes: Any) -> list[Trace]:
    settings: dict[str, Any] = {"timeout_s": 5.0, "backoff_s": 0.005, "backoff_max_s": 0.02}
    urls = [server.url for server in servers]
    one = EndpointTeacher(base_url=urls, model="m", **{**settings, **changes})
    got: list[Trace] = []
    wanted = requests(one, count)
    one.answer(iter(wanted), got.append, lambda: False)
    assert Counter(t.key for t in got) == Counter(r.key for r in wanted)
    return got


def test_several_endpoints_share_the_work() -> None:
    quick = Answer(good().body, delay_s=0.002)
    with FaultServer(lambda _: quick) as a, FaultServer(lambda _: quick) as b:
        got = harvest([a, b], 60, concurrency=4)
        assert {t.status for t in got} == {"ok"}
        assert min(sum(a.asked.values()), sum(b.asked.values())) > 10


def test_one_of_three_that_gives_only_errors_costs_no_trace() -> None:
    with (
        FaultServer(lambda _: good()) as a,
        FaultServer(lambda _: error(500)) as b,
        FaultServer(lambda _: good()) as c,
    ):
        got = harvest([a, b, c], 150, concurrency=4, retries=12)
        assert {t.status for t in got} == {"ok"}
        assert sum(b.asked.values()) < 40


def test_one_slow_endpoint_of_two_does_not_hold_the_other_up() -> None:
    with (
        FaultServer(lambda _: Answer(good().body, delay_s=0.002)) as a,
        FaultServer(lambda _: Answer(good().body, delay_s=0.4)) as b,
    ):
        got = harvest([a, b], 80, concurrency=4)
        assert {t.status for t in got} == {"ok"}
        assert sum(a.asked.values()) > 2 * sum(b.asked.values())


def models(weights: str) -> Answer:
    return Answer(json.dumps({"data": [{"id": "m", "root": weights}]}).encode())


def test_different_weights_do_not_mix() -> None:
    with (
        FaultServer(lambda _: good(), models=models("a-fp8")) as a,
        FaultServer(lambda _: good(), models=models("a-bf16")) as b,
    ):
        one = EndpointTeacher(base_url=[a.url, b.url], model="m")
        with pytest.raises(TeacherError, match=r"a-fp8.*a-bf16"):
            one.check()


def test_a_server_that_comes_back_with_another_model_ends_the_run() -> None:
    answer = [good()]
    with FaultServer(lambda _: answer[0]) as server:
        one = EndpointTeacher(base_url=server.url, model="m", concurrency=2)
        one.check()
        other = json.loads(good().body) | {"model": "smaller"}
        got: list[Trace] = []

        def emit(trace: Trace) -> None:
            got.append(trace)
            if len(got) == 5:
                answer[0] = Answer(json.dumps(other).encode())

        with pytest.raises(TeacherError, match="'smaller'"):
            one.answer(iter(requests(one, 100)), emit, lambda: False)
    swapped = [t for t in got if t.status == "malformed"]
    assert 1 <= len(swapped) <= 2
    assert all(t.content == "4" for t in swapped)
    assert {t.returned_model for t in got if t.status == "ok"} == {"real-model"}


@pytest.mark.parametrize("trouble", ["hangs", "errors", "is away"])
def test_an_endpoint_in_trouble_gets_only_probes_and_then_its_share_again(trouble: str) -> None:
    """Of three endpoints one is of no use for a second, which stands for half a minute."""
    well_at = time.monotonic() + 1.0
    faulty = Answer(delay_s=20.0) if trouble == "hangs" else error(500)
    asked_in_trouble = asked_later = 0

    def third(_: Ask) -> Answer:
        nonlocal asked_in_trouble, asked_later
        if trouble != "is away" and time.monotonic() < well_at:
            asked_in_trouble += 1
            return faulty
        asked_later += 1
        return Answer(good().body, delay_s=0.02)

    quick = Answer(good().body, delay_s=0.02)
    with (
        FaultServer(lambda _: quick) as a,
        FaultServer(lambda _: quick) as b,
        FaultServer(third) as c,
    ):
        if trouble == "is away":
            c.stop_listening()
            again = threading.Timer(1.0, c.listen_again)
            again.start()
        began = time.monotonic()
        got = harvest([a, b, c], 1200, concurrency=8, timeout_s=0.3, retries=5)
        took_s = time.monotonic() - began
        if trouble == "is away":
            again.join()
    assert {trace.status for trace in got} == {"ok"}
    # A full house twice over, and probes one at a time: quick ones where errors come at once.
    assert asked_in_trouble <= {"hangs": 24, "errors": 40, "is away": 0}[trouble]
    assert asked_later > 50  # once one of them was answered it shares the work
    assert took_s < 20.0
