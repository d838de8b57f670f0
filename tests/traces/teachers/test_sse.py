from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fault_server import Answer, FaultServer, deltas, event, streamed
from traces.keys import prompt_id, trace_key
from traces.record import Message, Prompt, Sampling, Trace
from traces.teachers.endpoint import EndpointTeacher
from traces.teachers.protocol import Request
from traces.teachers.raw_reply import STREAMS
from traces.teachers.sse import MISSES, Stream


def read(*pieces: bytes) -> Stream:
    stream = Stream()
    for piece in pieces:
        stream.feed(piece)
    stream.end()
    return stream


def text_of(stream: Stream, field: str = "content") -> Any:
    return stream.document()["choices"][0]["message"].get(field)


WHOLE = b"".join(deltas("Fo", "ü\n\n", "r 😀", prompt_tokens=3, completion_tokens=4))


@given(st.lists(st.integers(0, len(WHOLE)), max_size=8))
def test_it_does_not_matter_where_the_bytes_are_cut(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(WHOLE)]
    stream = read(*(WHOLE[a:b] for a, b in itertools.pairwise(ends)))
    assert text_of(stream) == "Foü\n\nr 😀"
    assert (stream.finish, stream.done, stream.broken) == ("stop", True, "")
    assert stream.document()["usage"] == {"prompt_tokens": 3, "completion_tokens": 4}


NOISY = b": keep-alive\n\n" + WHOLE.replace(b"data:", b"event: message\nid: 1\ndata:")


@given(st.lists(st.integers(0, len(NOISY)), max_size=8))
def test_comments_and_event_names_do_not_matter_wherever_the_bytes_are_cut(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(NOISY)]
    stream = read(*(NOISY[a:b] for a, b in itertools.pairwise(ends)))
    assert text_of(stream) == "Foü\n\nr 😀"
    assert (stream.finish, stream.done, stream.broken) == ("stop", True, "")


def test_windows_line_ends_comments_and_unknown_fields_are_read_over() -> None:
    crlf = WHOLE.replace(b"\n", b"\r\n")
    noisy = b": keep-alive\r\n\r\nevent: message\r\nid: 1\r\n" + crlf
    stream = read(noisy)
    assert text_of(stream) == "Foü\n\nr 😀"


def test_data_over_several_lines_is_one_event() -> None:
    lines = json.dumps({"choices": [{"delta": {"content": "4"}}]}, indent=1).splitlines()
    stream = read("".join(f"data: {line}\n" for line in lines).encode() + b"\n")
    assert text_of(stream) == "4"


def test_comments_and_blank_lines_are_no_progress() -> None:
    assert read(b": keep-alive\n\n" * 100, b"\n\n\n").events == 0


def test_a_repeated_final_chunk_adds_nothing() -> None:
    *parts, done = deltas("4")
    final = event({"choices": [{"delta": {"content": "4"}, "finish_reason": "stop"}]})
    assert text_of(read(*parts, final, final, done)) == "4"


def test_reasoning_logprobs_token_ids_and_tool_calls_are_put_together() -> None:
    one = {"delta": {"reasoning": "Two"}, "token_ids": [1], "logprobs": {"content": [{"id": 1}]}}
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a"'}}
    rest = {"index": 0, "function": {"arguments": ": 1}"}}
    two = {"delta": {"content": "4", "tool_calls": [call]}, "token_ids": [2]}
    three = {"delta": {"tool_calls": [rest]}, "finish_reason": "stop"}
    stream = read(*(event({"choices": [choice]}) for choice in (one, two, three)))
    (choice,) = stream.document()["choices"]
    assert choice["token_ids"] == [1, 2]
    assert choice["logprobs"] == {"content": [{"id": 1}]}
    assert choice["message"]["reasoning"] == "Two"
    function = {"name": "f", "arguments": '{"a": 1}'}
    assert choice["message"]["tool_calls"] == [
        {"type": "function", "function": function, "id": "c"}
    ]


NULL_OR_TEXT = st.none() | st.text(max_size=3)
DELTA = st.fixed_dictionaries(
    {},
    optional={
        "role": st.just("assistant"),
        "content": NULL_OR_TEXT | st.just([{"type": "text", "text": "part"}]),
        "reasoning_content": NULL_OR_TEXT,
        "reasoning": NULL_OR_TEXT | st.just(1),
        "thinking": NULL_OR_TEXT,
        "refusal": NULL_OR_TEXT,
        "tool_calls": st.none() | st.just([{"index": 0, "function": {"arguments": "x"}}]),
    },
)
CHOICE = st.fixed_dictionaries(
    {"delta": DELTA | st.none()},
    optional={
        "index": st.sampled_from([0, 1, None]),
        "finish_reason": st.sampled_from([None, None, "stop"]),
        "logprobs": st.none() | st.just({"content": [{"token": "a"}]}),
        "token_ids": st.none() | st.just([7]),
    },
)
EVENT = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.lists(CHOICE, max_size=2) | st.none(),
        "model": st.sampled_from([None, "a", "b"]),
        "system_fingerprint": st.sampled_from([None, "f", "g"]),
        "usage": st.none() | st.just({"completion_tokens": 3}),
    },
)


NAMED: dict[str, Any] = {"model": "a", "system_fingerprint": "f", "choices": [{"delta": {}}]}
BARE: dict[str, Any] = {"choices": [{"delta": {"content": "x"}}]}


@given(st.lists(EVENT, max_size=8))
@example([NAMED, BARE])
@example([NAMED, BARE, {"model": "b", **BARE}])
def test_events_of_text_alone_give_what_they_give_one_by_one(events: list[dict[str, Any]]) -> None:
    written = [event(one) for one in events]
    careful = Stream()
    careful._misses = MISSES  # takes no event for text alone
    for one in written:
        careful.feed(one)
    careful.end()
    stream = read(b"".join(written))
    assert stream.document() == careful.document()
    assert (stream.events, stream.finish, stream.broken, stream.done) == (
        (careful.events, careful.finish, careful.broken, careful.done)
    )


def test_a_large_chunk_and_lone_surrogates_pass() -> None:
    big = "x" * 5_000_000
    surrogate = b'data: {"choices": [{"delta": {"content": "\\ud800"}}]}\n\n'
    assert text_of(read(event({"choices": [{"delta": {"content": big}}]}), surrogate)) == big + "�"


ODD = st.recursive(
    st.none() | st.integers() | st.sampled_from(["content", "error", "response.completed"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["type", "response", "item", "delta", "candidates"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("api", STREAMS)
@given(noise=st.binary(max_size=200), odd=ODD)
@example(noise=b"", odd={"type": ["x"]})
def test_no_bytes_make_the_reader_fail(api: str, noise: bytes, odd: Any) -> None:
    stream = STREAMS[api]()
    for piece in (b"data: ", noise, b"\n\ndata: {", noise, b"\n\n", event(odd)):
        stream.feed(piece)
    stream.end()
    stream.document()


def ask(answer: Answer, **changes: Any) -> Trace:
    settings: dict[str, Any] = {"timeout_s": 20.0, "retries": 0, "idle_s": 0.4, "stream": True}
    messages = (Message("user", "?"),)
    prompt = Prompt(prompt_id(messages, None), messages)
    got: list[Trace] = []
    with FaultServer(lambda _: answer) as server:
        one = EndpointTeacher(base_url=server.url, model="m", **{**settings, **changes})
        sampling = Sampling(max_tokens=50)
        key = trace_key(one.record, messages, sampling, 0)
        request = Request(key, prompt, 0, 1, messages, sampling)
        one.answer([request], got.append, lambda: False)
    return got[0]


def test_a_stream_becomes_the_same_trace_as_a_reply() -> None:
    events = [*deltas("<think>Two.</think>", "Four.", prompt_tokens=7, completion_tokens=2)]
    trace = ask(streamed(*events))
    assert (trace.status, trace.reasoning, trace.answer) == ("ok", "Two.", "Four.")
    assert (trace.usage.prompt, trace.returned_model, trace.flags[0]) == (
        7,
        "real-model",
        "streamed",
    )


@pytest.mark.parametrize("first", [b"", b": hello\n\n", b"\nevent: message\n"])
def test_a_stream_whose_content_type_was_stripped_on_the_way_is_read(first: bytes) -> None:
    trace = ask(Answer(first + b"".join(deltas("4")), headers={"Content-Type": "text/plain"}))
    assert (trace.status, trace.answer, trace.flags) == ("ok", "4", ("streamed",))


@pytest.mark.parametrize(
    ("pieces", "status", "says"),
    [
        (deltas("Fo", "ur")[:1], "malformed", "ended without saying so"),
        ([event({"choices": [{"delta": {"content": "Fo"}}]}), event(b"{broken")],
         "malformed", "cannot be read"),
        ([event({"error": {"message": "upstream died"}})], "http_error", "upstream died"),
        ([event(b"[DONE]")], "malformed", "no message"),
    ],
)  # fmt: skip
def test_a_broken_stream_is_a_failed_attempt_that_keeps_its_text(
    pieces: list[bytes], status: str, says: str
) -> None:
    trace = ask(streamed(*pieces))
    assert (trace.status, trace.answer) == (status, None)
    assert says in trace.error
    assert "Fo" in trace.content or status == "http_error" or len(pieces) == 1


def test_a_missing_end_mark_is_forgiven_after_a_finish_reason() -> None:
    assert ask(streamed(*deltas("4")[:-1])).status == "ok"


def test_usage_that_a_stream_leaves_out_is_estimated() -> None:
    assert ask(streamed(*deltas("four"))).usage.source == "estimated"


@pytest.mark.parametrize("noise", [b": keep-alive\n\n", b"\n"])
def test_keep_alives_do_not_keep_a_stream_alive(noise: bytes) -> None:
    first = event({"choices": [{"delta": {"content": "Fo"}}]})
    trace = ask(streamed(first, *[noise] * 60, pause_s=0.05))
    assert trace.status == "timeout"
    assert "stood still for 0.4 s" in trace.error
    assert "Fo" in trace.content
