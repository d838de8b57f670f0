"""Replies that are not what the protocol promises: each is a row, and passing ones cost nothing."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.fault_server import Answer, Ask, FaultServer, completion, deltas, error, event, good
from tests.fault_server import streamed as stream
from tests.scenario import books_agree, endpoint, run, stored
from traces.budget import Price
from traces.errors import TeacherError
from traces.record import Sampling

CERTIFICATES = Path(__file__).parents[1] / "certificates"

PASSING = {
    "error in a 200": Answer(b'{"error": {"message": "upstream", "code": 502}}'),
    "error in a choice": Answer(b'{"choices": [{"error": {"message": "upstream", "code": 502}}]}'),
    "page in a 200": Answer(b"<html>Welcome</html>"),
    "gateway page": Answer(b"<html><h1>Bad Gateway</h1></html>", 502),
    "broken json of the right length": Answer(b'{"choices": [{"message": {"content": "Fo'),
    "not json": Answer(b"four"),
    "no choices": Answer(b'{"choices": []}'),
    "short content length": Answer(good().body, cut=30),
    "reset in the body": Answer(good().body, cut=30, reset=True),
    "reset at once": Answer(cut=0, reset=True),
    "closed without a reply": Answer(cut=0),
    "half closed": Answer(half_close=True, hang_up_after_s=0.2),
    "overloaded": error(529),
    "blank lines and then nothing": Answer(drip=tuple((0.001, b"\n") for _ in range(5))),
}


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_hits_one_in_three_costs_no_trace(tmp_path: Path, fault: str) -> None:
    def behave(ask: Ask) -> Answer:
        return PASSING[fault] if int(ask.text[9:]) % 3 == 0 and ask.earlier < 2 else good()

    with FaultServer(behave) as server:
        counts = run(tmp_path, endpoint(server, backoff_s=0.005), 30)
        books_agree(tmp_path, server, counts)
        assert sum(server.asked.values()) == 50


@pytest.mark.parametrize("idle_s", [0.0, 0.001])
def test_connections_that_close_when_idle_cost_no_retry(tmp_path: Path, idle_s: float) -> None:
    closing = Answer(good().body, hang_up=True, hang_up_after_s=idle_s)
    with FaultServer(lambda _: closing) as server:
        counts = run(tmp_path, endpoint(server, concurrency=8, retries=0), 100)
        books_agree(tmp_path, server, counts)
        assert sum(server.asked.values()) == 100


def test_a_request_on_a_closed_connection_never_goes_out_on_another_idle_one(
    tmp_path: Path,
) -> None:
    """The server resets every second request on a connection, having read it or not."""

    def behave(ask: Ask) -> Answer:
        return good() if ask.on_connection == 0 else Answer(cut=0, reset=True)

    with FaultServer(behave) as server:
        counts = run(tmp_path, endpoint(server, concurrency=8, retries=0), 60)
        books_agree(tmp_path, server, counts)
        assert max(server.asked.values()) == 2
        server.behave = lambda _: Answer(cut=0)  # on fresh connections too
        failed = run(tmp_path / "all", endpoint(server, concurrency=1, retries=1), 1)
        assert failed.by_status == {"http_error": 1}
        assert server.asked["question 0"] - 2 <= 2


def slowly(body: bytes, pause_s: float) -> Answer:
    """One byte at a time."""
    pieces = tuple((pause_s, body[at : at + 1]) for at in range(len(body)))
    return Answer(headers={"Content-Type": "application/json"}, drip=pieces)


ENDLESS = {
    "silence": Answer(delay_s=60.0),
    "a byte now and then": slowly(good().body, 0.05),
    "blank lines for ever": Answer(drip=((0.02, b"\n"),) * 200),
}


@pytest.mark.parametrize("fault", ENDLESS)
def test_what_never_ends_is_a_timeout_and_is_asked_again(tmp_path: Path, fault: str) -> None:
    def behave(ask: Ask) -> Answer:
        return ENDLESS[fault] if int(ask.text[9:]) < 3 else good()

    with FaultServer(behave) as server:
        began = time.monotonic()
        first = run(tmp_path, endpoint(server, timeout_s=0.4, retries=1), 10)
        assert time.monotonic() - began < 20.0
        assert first.by_status == {"ok": 7, "timeout": 3}
        asked = server.asked.copy()
        server.behave = lambda _: good()
        second = run(tmp_path, endpoint(server), 10)
    assert (second.reused, second.by_status) == (7, {"ok": 3})
    assert all(asked[f"question {n}"] == 2 for n in range(3))
    assert Counter(row.attempt for row in stored(tmp_path)) == {1: 10, 2: 3}


def test_blank_lines_before_a_reply_are_read_over(tmp_path: Path) -> None:
    late = Answer(drip=((0.01, b"\n\n"), (0.01, b"\n"), (0.0, good().body)), whole=True)
    with FaultServer(lambda _: late) as server:
        books_agree(tmp_path, server, run(tmp_path, endpoint(server), 5))


TEXT = "Двe 二 👩‍🔬"
WHOLE = deltas("<think>Two.</think>", TEXT, prompt_tokens=7, completion_tokens=9)
FIRST = event({"choices": [{"index": 0, "delta": {"reasoning": "We think"}}]})
BYTES = b"".join(WHOLE)


class Broken(NamedTuple):
    """A stream, and what becomes of its request: the status, with a part of the error."""

    answer: Answer
    status: str = "ok"
    says: str = ""


STREAMS = {
    "stall in the reasoning": Broken(
        Answer(
            headers={"Content-Type": "text/event-stream"}, drip=((0.0, FIRST), (30.0, WHOLE[1]))
        ),
        "timeout",
        "stood still",
    ),
    "keep-alives for ever": Broken(stream(FIRST, *[b": ping\n\n"] * 99, pause_s=0.05), "timeout"),
    "no end mark": Broken(stream(*WHOLE[:-1], whole=True)),
    "no usage": Broken(stream(*deltas("<think>Two.</think>", TEXT), whole=True)),
    "windows line ends": Broken(
        stream(*(piece.replace(b"\n", b"\r\n") for piece in WHOLE), whole=True)
    ),
    "characters cut in two": Broken(
        stream(*(BYTES[at : at + 7] for at in range(0, len(BYTES), 7)), whole=True)
    ),
    "data over several lines": Broken(
        stream(*(piece.replace(b'{"', b'{\ndata: "', 1) for piece in WHOLE), whole=True)
    ),
    "final chunk twice": Broken(stream(*WHOLE[:-1], WHOLE[-2], WHOLE[-3], WHOLE[-1], whole=True)),
    "all in one piece": Broken(stream(BYTES, whole=True)),
    "five megabytes in one event": Broken(stream(*deltas("x" * 5_000_000), whole=True)),
    "ends in the middle": Broken(stream(*WHOLE[:1]), "malformed", "without saying so"),
    "an event that is not json": Broken(stream(WHOLE[0], event(b"{bro")), "malformed", "read"),
    "an error after some text": Broken(
        stream(WHOLE[0], event({"error": {"message": "upstream died"}})), "http_error", "upstream"
    ),
    "nothing but the end mark": Broken(stream(WHOLE[-1]), "malformed", "no message"),
}


@pytest.mark.parametrize("fault", STREAMS)
def test_a_stream_broken_in_every_way_is_whole_or_a_failed_attempt(
    tmp_path: Path, fault: str
) -> None:
    broken = STREAMS[fault]
    with FaultServer(lambda ask: broken.answer if ask.text == "question 0" else stream(*WHOLE,
                     whole=True)) as server:  # fmt: skip
        settings = {"stream": True, "retries": 0, "idle_s": 1.0, "timeout_s": 5.0}
        counts = run(tmp_path, endpoint(server, **settings), 4)
        rows = stored(tmp_path)
        assert len({row.key for row in rows}) == len(rows) == counts.asked == 4
        done = [row for row in rows if row.status == "ok"]
        assert sum(server.served.values()) == len(done)
    assert all(row.answer == TEXT for row in done if len(row.content) < 100)
    (mine,) = [row for row in rows if row.status != "ok"] or [done[0]]
    assert (mine.status, broken.says in mine.error) == (broken.status, True)


TOP = [{"token": f"token_id:{n}", "logprob": -0.5 - n} for n in range(5)]
ENTRY = {"token": "token_id:4", "logprob": -0.5, "top_logprobs": TOP}
LOGPROBS = {
    "ignored": (good("4"), "logprobs_missing"),
    "null": (good("4", logprobs=None), "logprobs_missing"),
    "short": (good("4", logprobs={"content": [ENTRY]},
                   usage={"prompt_tokens": 7, "completion_tokens": 9}), "logprobs_missing"),
    "without the others": (good("4", logprobs={"content": [{"token": "4", "logprob": -1}] * 2}),
                           "logprobs_missing"),
    "by token id": (good("4", logprobs={"content": [ENTRY] * 2}), "ok"),
}  # fmt: skip


@pytest.mark.parametrize("form", LOGPROBS)
def test_logprobs_that_do_not_come_are_a_status_and_keep_the_text(
    tmp_path: Path, form: str
) -> None:
    answer, status = LOGPROBS[form]
    with FaultServer(lambda _: answer) as server:
        sampling = Sampling(max_tokens=50, top_logprobs=5)
        counts = run(tmp_path, endpoint(server), 3, sampling=sampling)
        assert sum(server.served.values()) == counts.asked == 3
    assert [(row.status, row.content) for row in stored(tmp_path)] == [(status, "4")] * 3
    assert counts.by_status == {status: 3}


HARD = {
    "thirty megabytes": (good("x" * 30_000_000), "ok", "x" * 30_000_000),
    "nul": (good("four\x00 4"), "ok", "four\x00 4"),
    "emoji and rare planes": (good("👩‍🔬 𒀀𒁹 \U0010fffd"), "ok", "👩‍🔬 𒀀𒁹 \U0010fffd"),
    "neither content nor reasoning": (good(None, reasoning=None), "empty", ""),
    "parts": (good([{"type": "thinking", "thinking": "Two."}, {"type": "text", "text": "4"}]),
              "ok", "4"),
    "a refusal": (good(None, refusal="I cannot."), "refused", "I cannot."),
    "broken arguments of a tool": (
        good("4", tool_calls=[{"id": "a", "function": {"name": "f", "arguments": '{"x": '}}]),
        "ok", "4"),
}  # fmt: skip


@pytest.mark.parametrize("name", HARD)
def test_hard_content_is_stored_as_it_came(tmp_path: Path, name: str) -> None:
    answer, status, content = HARD[name]
    with FaultServer(lambda _: answer) as server:
        run(tmp_path, endpoint(server), 1)
        assert sum(server.served.values()) == 1
    (row,) = stored(tmp_path)
    assert (row.status, row.content) == (status, content)


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


@pytest.mark.parametrize("status", [401, 402, 404])
def test_a_refusal_ends_the_run_after_three_and_is_asked_again_later(
    tmp_path: Path, status: int
) -> None:
    with FaultServer(lambda _: error(status, "no")) as server:
        with pytest.raises(TeacherError, match=f"HTTP {status}: no") as caught:
            run(tmp_path, endpoint(server, concurrency=1), 40)
        assert caught.value.exit_code == 2
        assert sum(server.asked.values()) == len(stored(tmp_path)) == 3
        server.behave = lambda _: good()
        counts = run(tmp_path, endpoint(server), 40)
    assert (counts.reused, counts.by_status) == (0, {"ok": 40})


def test_prompts_too_long_for_the_context_are_rows_and_asked_once(tmp_path: Path) -> None:
    def behave(ask: Ask) -> Answer:
        long = int(ask.text[9:]) % 4 == 0
        return error(400, "maximum context length is 4096 tokens") if long else good()

    with FaultServer(behave) as server:
        counts = run(tmp_path, endpoint(server, concurrency=2), 20)
        assert set(server.asked.values()) == {1}
    assert counts.by_status == {"http_error": 5, "ok": 15}


@pytest.mark.parametrize("name", ["self_signed", "expired"])
def test_a_certificate_that_nobody_trusts_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with FaultServer(lambda _: good(), certificate=CERTIFICATES / f"{name}.pem") as server:
        one = endpoint(server, concurrency=2)
        with pytest.raises(TeacherError, match=r"no secure connection.*certificate") as caught:
            one.check()
        with pytest.raises(TeacherError, match="no secure connection"):
            run(tmp_path, one, 20)
        assert not server.asked
    assert "\n" not in caught.value.message
    assert len(stored(tmp_path)) < 20


def test_a_name_that_no_server_has_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with FaultServer(lambda _: good()) as server:
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        one = endpoint(server, base_url="http://nowhere.invalid/v1", retries=1, backoff_max_s=0.01)
        with pytest.raises(TeacherError, match=r"cannot connect: .*not known"):
            one.check()
        with pytest.raises(TeacherError, match=r"cannot connect: .*not known"):
            run(tmp_path, one, 20)
    assert {row.status for row in stored(tmp_path)} <= {"http_error", "cancelled"}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://127.0.0.1:{port}/v1", "not accepted in time|secure connection"),
        ("http://[::1]:{port}/v1", "cannot connect"),
    ],
)
def test_no_way_to_the_server_is_one_clear_line(url: str, says: str) -> None:
    with FaultServer(lambda _: good()) as server:
        one = endpoint(server, base_url=url.format(port=server.port), timeout_s=0.5, retries=0)
        with pytest.raises(TeacherError, match=says) as caught:
            one.check()
    assert "\n" not in caught.value.message
