from __future__ import annotations

import email.utils
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.fault_server import Answer, Ask, FaultServer, error, good
from traces.errors import TeacherError
from traces.keys import prompt_id, trace_key
from traces.record import Message, Prompt, Sampling, Trace
from traces.teachers.endpoint import EndpointTeacher
from traces.teachers.protocol import Request

KEY = "sk-very-secret"


def teacher(server: FaultServer, **changes: Any) -> EndpointTeacher:
    """A teacher with delays short enough for a test."""
    settings: dict[str, Any] = {
        "base_url": server.url,
        "model": "m",
        "api_key": KEY,
        "timeout_s": 5.0,
        "backoff_s": 0.005,
        "backoff_max_s": 0.05,
    }
    return EndpointTeacher(**{**settings, **changes})


def requests(one: EndpointTeacher, count: int, **sampling: Any) -> Iterator[Request]:
    for number in range(count):
        messages = (Message("user", f"question {number}"),)
        prompt = Prompt(prompt_id(messages, None), messages)
        own = Sampling(**{"max_tokens": 50, **sampling})
        yield Request(trace_key(one.record, messages, own, 0), prompt, 0, 1, messages, own)


def answers(
    one: EndpointTeacher, asked: Iterable[Request], stopping: Callable[[], bool] = lambda: False
) -> list[Trace]:
    got: list[Trace] = []
    one.answer(asked, got.append, stopping)
    return got


def only(behave: Callable[[Ask], Answer], **changes: Any) -> Trace:
    """The trace of one request to a server that behaves so."""
    top_logprobs = changes.pop("top_logprobs", 0)
    with FaultServer(behave) as server:
        one = teacher(server, **changes)
        (trace,) = answers(one, requests(one, 1, top_logprobs=top_logprobs))
    return trace


def test_a_reply_becomes_a_whole_trace() -> None:
    seen: list[Ask] = []

    def behave(ask: Ask) -> Answer:
        seen.append(ask)
        return good("<think>Two.</think>Four.", token_ids=[5, 6, 2])

    with FaultServer(behave) as server:
        one = teacher(server, extra_body={"top_k": 3})
        (trace,) = answers(one, requests(one, 1))
    assert (trace.status, trace.reasoning, trace.answer) == ("ok", "Two.", "Four.")
    assert (trace.content, trace.split) == ("<think>Two.</think>Four.", "inline_think@1")
    assert (trace.returned_model, trace.http_status) == ("real-model", 200)
    assert (trace.usage.prompt, trace.usage.completion) == (7, 2)
    assert trace.teacher == one.record.id
    assert 0 < trace.started_us <= trace.finished_us
    assert seen[0].body["model"] == "m"
    assert seen[0].body["top_k"] == 3
    assert seen[0].headers["authorization"] == f"Bearer {KEY}"


FAULTS = {
    "busy": error(429, "slow down"),
    "busy, seconds": error(429, "slow down", retry_after="0"),
    "busy, milliseconds": error(429, "slow down", retry_after_ms="20"),
    "busy, date": error(429, "slow down", retry_after=email.utils.formatdate(usegmt=True)),
    "busy, for a day": error(429, "slow down", retry_after="86400"),
    "busy, nonsense": error(429, "slow down", retry_after="-soon"),
    "overloaded": error(529),
    "unavailable": error(503),
    "server error": error(500),
    "gateway page": Answer(b"<html><h1>Bad Gateway</h1></html>", 502),
    "error in a 200": Answer(b'{"error": {"message": "upstream", "code": 502}}'),
    "page in a 200": Answer(b"<html>Welcome</html>"),
    "broken json": Answer(b'{"choices": [{"message": {"content": "Fo'),
    "no message": Answer(b'{"choices": []}'),
    "short body": Answer(good().body, cut=30),
    "reset in the body": Answer(good().body, cut=30, reset=True),
    "reset": Answer(cut=0, reset=True),
    "closed without a reply": Answer(cut=0),
    "gave up": Answer(b'{"choices": [{"message": {"content": "Fo"}, "finish_reason": "abort"}]}'),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_request_outlives_every_passing_fault(fault: str) -> None:
    with FaultServer(lambda ask: FAULTS[fault] if ask.earlier < 2 else good("4")) as server:
        one = teacher(server)
        (trace,) = answers(one, requests(one, 1))
    assert (trace.status, trace.answer, trace.error) == ("ok", "4", "")
    assert server.asked["question 0"] == 3


@pytest.mark.parametrize(
    ("fault", "status", "http_status", "says"),
    [
        ("server error", "http_error", 500, "HTTP 500: no"),
        ("gateway page", "http_error", 502, "HTTP 502: Bad Gateway"),
        ("error in a 200", "http_error", 200, "upstream"),
        ("page in a 200", "malformed", 200, "Welcome"),
        ("broken json", "malformed", 200, "not JSON"),
        ("short body", "malformed", 0, "broke off"),
        ("closed without a reply", "http_error", 0, "broke"),
    ],
)
def test_a_lasting_fault_is_a_row_after_bounded_attempts(
    fault: str, status: str, http_status: int, says: str
) -> None:
    asked = Counter[str]()

    def behave(ask: Ask) -> Answer:
        asked[ask.text] += 1
        return FAULTS[fault]

    trace = only(behave, retries=2)
    assert (trace.status, trace.http_status, trace.answer) == (status, http_status, None)
    assert says in trace.error
    assert asked == {"question 0": 3}


def test_a_busy_endpoint_is_asked_longer_but_not_for_ever() -> None:
    asked = Counter[str]()

    def behave(ask: Ask) -> Answer:
        asked[ask.text] += 1
        return error(429, retry_after="0")

    trace = only(behave, retries=1, backoff_max_s=0.001)
    assert (trace.status, trace.http_status) == ("http_error", 429)
    assert asked == {"question 0": 11}


def test_silence_is_a_timeout() -> None:
    trace = only(lambda _: Answer(delay_s=30.0), timeout_s=0.1, retries=1)
    assert trace.status == "timeout"
    assert "0.1 s" in trace.error


def test_a_mixed_storm_loses_nothing_and_repeats_nothing() -> None:
    rng, lock = random.Random(7), threading.Lock()
    passing = [name for name in FAULTS if name != "gave up"]  # whole, as the server counts

    def behave(ask: Ask) -> Answer:
        with lock:
            fault = rng.choice(passing) if rng.random() < 0.4 and ask.earlier < 5 else ""
        return FAULTS[fault] if fault else good(f"re {ask.text}")

    with FaultServer(behave) as server:
        one = teacher(server, retries=12, concurrency=16)
        wanted = list(requests(one, 150))
        got = answers(one, iter(wanted))
    assert Counter(t.key for t in got) == Counter(r.key for r in wanted)
    assert {t.status for t in got} == {"ok"}
    named = {request.key: request.messages[0].content for request in wanted}
    assert all(t.content == f"re {named[t.key]}" for t in got)
    assert server.served == Counter(named.values())


def test_the_ledger_equals_the_servers_count_where_replies_are_whole() -> None:
    def behave(ask: Ask) -> Answer:
        return error(500) if ask.earlier < int(ask.text[-1]) % 3 else good()

    with FaultServer(behave) as server:
        one = teacher(server)
        got = answers(one, requests(one, 60))
    assert sum(server.served.values()) == len(got) == 60
    assert set(server.served.values()) == {1}
    assert sum(server.asked.values()) == sum(1 + int(str(n)[-1]) % 3 for n in range(60))


def test_no_more_requests_are_in_flight_than_allowed() -> None:
    with FaultServer(lambda _: Answer(good().body, delay_s=0.005)) as server:
        one = teacher(server, concurrency=5)
        answers(one, requests(one, 60))
    assert server.most_in_flight == 5


def test_requests_are_pulled_only_as_they_can_be_sent() -> None:
    pulled, ahead = 0, 0

    def lazily(wanted: Iterator[Request]) -> Iterator[Request]:
        nonlocal pulled, ahead
        for request in wanted:
            pulled += 1
            ahead = max(ahead, pulled - len(got))
            yield request

    got: list[Trace] = []
    with FaultServer(lambda _: good()) as server:
        one = teacher(server, concurrency=4)
        one.answer(lazily(requests(one, 80)), got.append, lambda: False)
    assert len(got) == 80
    assert ahead <= 5


def test_a_hidden_limit_is_found_without_losing_anything() -> None:
    def behave(ask: Ask) -> Answer:
        if ask.in_flight > 6:
            return error(429, "too many")
        return Answer(good().body, delay_s=0.002)

    with FaultServer(behave) as server:
        one = teacher(server, concurrency=40, retries=20)
        got = answers(one, requests(one, 200))
    assert Counter(t.status for t in got) == {"ok": 200}


def test_one_slow_retry_does_not_hold_up_the_others() -> None:
    def behave(ask: Ask) -> Answer:
        return error(500) if ask.text == "question 0" and ask.earlier < 3 else good()

    with FaultServer(behave) as server:
        one = teacher(server, concurrency=1, backoff_s=1.0, backoff_max_s=1.0, jitter_seed=1)
        wanted = list(requests(one, 20))
        got = answers(one, iter(wanted))
    assert [t.key for t in got].index(wanted[0].key) >= 3


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404])
def test_three_refusals_alike_end_the_run(status: int) -> None:
    with FaultServer(lambda ask: error(status, f"no {KEY}, request {ask.text[-2:]}")) as server:
        one = teacher(server, concurrency=1)
        got: list[Trace] = []
        with pytest.raises(TeacherError) as caught:
            one.answer(requests(one, 50), got.append, lambda: False)
    assert [t.status for t in got] == ["http_error"] * 3
    assert sum(server.asked.values()) == 3
    assert f"HTTP {status}" in caught.value.message
    assert "3 requests in a row" in caught.value.message
    assert caught.value.hint
    for text in (str(caught.value), *(t.error for t in got)):
        assert KEY not in text
        assert "***" in text or text == caught.value.hint


def test_a_refusal_of_one_prompt_is_only_a_row() -> None:
    def behave(ask: Ask) -> Answer:
        if ask.text.endswith("3"):
            return error(400, "This model's maximum context length is 4096 tokens")
        return good()

    with FaultServer(behave) as server:
        one = teacher(server, concurrency=2)
        got = answers(one, requests(one, 40))
    assert Counter(t.status for t in got) == {"ok": 36, "http_error": 4}
    assert set(server.asked.values()) == {1}


def test_prompts_too_long_one_after_another_do_not_end_the_run() -> None:
    def behave(ask: Ask) -> Answer:
        return error(400, "maximum context length") if int(ask.text[9:]) < 10 else good()

    with FaultServer(behave) as server:
        one = teacher(server, concurrency=1)
        assert Counter(t.status for t in answers(one, requests(one, 15)))["ok"] == 5


def test_an_endpoint_that_goes_away_ends_the_run_with_every_request_accounted_for() -> None:
    with FaultServer(lambda _: good()) as server:
        one = teacher(server, concurrency=2, retries=1, backoff_max_s=0.001)
        got: list[Trace] = []

        def emit(trace: Trace) -> None:
            got.append(trace)
            if len(got) == 10:
                server.stop_listening()

        with pytest.raises(TeacherError, match="in a row"):
            one.answer(requests(one, 1000), emit, lambda: False)
    assert len({t.key for t in got}) == len(got) < 30
    assert "http_error" in {t.status for t in got}


def test_stopping_finishes_what_is_in_flight_and_takes_nothing_new() -> None:
    taken: list[str] = []

    def noted(wanted: Iterator[Request]) -> Iterator[Request]:
        for request in wanted:
            taken.append(request.key)
            yield request

    with FaultServer(lambda _: Answer(good().body, delay_s=0.5)) as server:
        one = teacher(server, concurrency=8)
        wanted = requests(one, 500)
        got = answers(one, noted(wanted), stopping=lambda: sum(server.asked.values()) >= 8)
    assert Counter(t.key for t in got) == Counter(taken)
    assert [t.status for t in got] == ["ok"] * 8


def test_stopping_does_not_wait_for_a_busy_endpoint() -> None:
    with FaultServer(lambda _: error(429, retry_after="3600")) as server:
        one = teacher(server, concurrency=4, backoff_max_s=3600.0, timeout_s=3600.0)
        wanted = requests(one, 500)
        got = answers(one, wanted, stopping=lambda: sum(server.asked.values()) >= 4)
    assert {t.status for t in got} <= {"http_error", "cancelled"}
    assert "http_error" in {t.status for t in got}


def test_an_error_in_emit_ends_the_work() -> None:
    def emit(_: Trace) -> None:
        raise OSError("disk full")

    with FaultServer(lambda _: good()) as server:
        one = teacher(server)
        with pytest.raises(OSError, match="disk full"):
            one.answer(requests(one, 100), emit, lambda: False)


def test_logprobs_that_were_asked_for_and_did_not_come_are_a_status() -> None:
    trace = only(lambda _: good("4"), top_logprobs=5)
    assert (trace.status, trace.content) == ("logprobs_missing", "4")


def test_logprobs_with_ids_are_stored() -> None:
    top = [{"token": f"token_id:{i}", "logprob": -1.0 - i} for i in range(5)]
    entries = [{"token": "token_id:0", "logprob": -1.0, "top_logprobs": top}] * 2
    trace = only(lambda _: good("4", logprobs={"content": entries}), top_logprobs=5)
    assert trace.status == "ok"
    assert trace.logprobs is not None
    assert (trace.logprobs.n, trace.logprobs.k, trace.token_ids) == (1, 5, (0,))


def test_thinking_without_an_answer_is_empty_unless_cut_off() -> None:
    assert only(lambda _: good("<think>Two.</think>")).status == "empty"
    cut = only(lambda _: good(None, reasoning="Two", finish_reason="length"))
    assert (cut.status, cut.reasoning, cut.answer) == ("truncated", "Two", None)


def test_a_summary_lowers_the_fidelity_that_was_claimed() -> None:
    details = [{"type": "reasoning.summary", "summary": "It added."}]
    assert only(lambda _: good("4", reasoning_details=details)).fidelity == "summary"
    assert only(lambda _: good("4"), fidelity="hidden").fidelity == "hidden"


def test_the_identity_holds_settings_but_not_address_or_key() -> None:
    def made(**changes: Any) -> str:
        base = {"base_url": "http://one:1/v1", "model": "m"}
        return EndpointTeacher(**{**base, **changes}).record.id

    assert made() == made(base_url="http://two/v1", api_key="k", concurrency=1, retries=0)
    assert made() != made(extra_body={"top_k": 1})
    assert made() != made(revision="r")


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://x/v1", "", "http://", "http://[x"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(TeacherError, match="no http address"):
        EndpointTeacher(base_url=url, model="m")


def test_passwords_in_the_address_and_keys_that_are_no_header_are_refused_unseen() -> None:
    with pytest.raises(TeacherError) as caught:
        EndpointTeacher(base_url="http://u:secret@x/v1", model="m")
    assert "secret" not in str(caught.value)
    with pytest.raises(TeacherError) as caught:
        EndpointTeacher(base_url="http://x/v1", model="m", api_key="sec\nret")
    assert "sec" not in caught.value.message


def test_the_address_may_name_the_whole_page_and_a_query() -> None:
    with FaultServer(lambda _: good()) as server:
        url = f"{server.url}/chat/completions?api-version=1"
        one = teacher(server, base_url=url)
        assert one.record.endpoint == server.url
        assert [t.status for t in answers(one, requests(one, 1))] == ["ok"]


def test_the_check_learns_what_the_endpoint_does() -> None:
    top = [{"token": "token_id:1", "logprob": -0.1}]
    entries = [{"token": "token_id:1", "logprob": -0.1, "top_logprobs": top}]

    def behave(ask: Ask) -> Answer:
        assert ask.body["max_tokens"] == 1
        usage = {"prompt_tokens": 3, "completion_tokens": 1}
        logprobs = {"content": entries}
        return good(None, reasoning="Yes", finish_reason="length", usage=usage, logprobs=logprobs)

    with FaultServer(behave, models=["m", "n"]) as server:
        one = teacher(server)
        one.check()
    assert one.canary is not None
    assert (one.canary.reasoning_field, one.canary.returned_model) == ("reasoning", "real-model")
    assert (one.canary.usage, one.canary.logprobs, one.canary.token_ids) == (True, True, True)
    assert one.canary.models == ("m", "n")
    assert one.record.server == "fault"


def test_the_check_tolerates_no_list_of_models_and_no_logprobs() -> None:
    def behave(ask: Ask) -> Answer:
        return error(400, "logprobs are not supported") if "logprobs" in ask.body else good()

    for models in (None, Answer(b"<html>"), error(500), Answer(b'{"data": 3}'), Answer(b"[]")):
        with FaultServer(behave, models=models) as server:
            one = teacher(server)
            one.check()
        assert one.canary is not None
        assert one.canary.logprobs is False


def test_the_check_names_the_models_there_are_nearest_first() -> None:
    with FaultServer(lambda _: good(), models=["embedder", "qwen3-32b", "qwen3-8b"]) as server:
        with pytest.raises(TeacherError, match="does not serve 'qwen3-8B'") as caught:
            teacher(server, model="qwen3-8B").check()
        assert caught.value.message.index("'qwen3-8b'") < caught.value.message.index("'embedder'")
        assert not server.asked
        teacher(server, model="qwen3-8b:free").check()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (error(401, f"bad key {KEY}"), "HTTP 401"),
        (error(404, "no such model"), "no such model"),
        (error(500, "no"), "HTTP 500"),
        (Answer(b"<html>Welcome</html>"), "Welcome"),
        (error(302), "HTTP 302"),
    ],
)
def test_the_check_says_in_one_line_what_is_wrong(answer: Answer, says: str) -> None:
    with FaultServer(lambda _: answer) as server, pytest.raises(TeacherError) as caught:
        teacher(server).check()
    assert says in caught.value.message
    assert server.url in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert KEY not in str(caught.value)


def test_the_check_says_when_the_list_of_models_needs_another_key() -> None:
    with FaultServer(lambda _: good(), models=error(401, "who?")) as server:
        with pytest.raises(TeacherError, match="HTTP 401: who"):
            teacher(server).check()
        assert not server.asked


def test_the_check_says_when_nobody_listens() -> None:
    with FaultServer(lambda _: good()) as server:
        pass
    with pytest.raises(TeacherError, match="cannot connect") as caught:
        teacher(server).check()
    assert "running" in caught.value.hint


def test_a_busy_reply_is_not_the_end_of_a_check() -> None:
    with FaultServer(lambda ask: good() if ask.earlier else error(503, "loading")) as server:
        teacher(server).check()


def test_a_proxy_of_the_environment_is_used_but_not_for_those_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FaultServer(lambda _: good()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        one = teacher(proxy, base_url="http://teacher.invalid/v1")
        assert [t.status for t in answers(one, requests(one, 1))] == ["ok"]
        assert proxy.lines[-1].startswith("POST http://teacher.invalid/v1/chat/completions")
        one = teacher(proxy)
        assert [t.status for t in answers(one, requests(one, 1))] == ["ok"]
        assert proxy.lines[-1].startswith("POST /v1/chat/completions")
