from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fault_server import Answer, FaultServer
from tests.fault_server import streamed as stream
from tests.scenario import endpoint, run, stored
from traces.record import Trace
from traces.teachers.messages_stream import MessagesStream


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def block(index: int, kind: str, *deltas: tuple[str, str, str], **fields: Any) -> list[bytes]:
    """The events of one content block; a delta is its type, its field and its text."""
    made = [event("content_block_start", index=index, content_block={"type": kind, **fields})]
    for name, field, text in deltas:
        delta = {"type": name, field: text}
        made.append(event("content_block_delta", index=index, delta=delta))
    return [*made, event("content_block_stop", index=index)]


START = event("message_start", message={"model": "m-1", "usage": {"input_tokens": 9}})
THINKING = block(0, "thinking", ("thinking_delta", "thinking", "Two and "),
                 ("thinking_delta", "thinking", "two."), ("signature_delta", "signature", "s"),
                 thinking="")  # fmt: skip
TEXT = block(1, "text", ("text_delta", "text", "Fo"), ("text_delta", "text", "ur 👩‍🔬"), text="")
PING = event("ping")
END = [event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 12}),
       event("message_stop")]  # fmt: skip
WHOLE = [START, PING, *THINKING, *TEXT, *END]


def ask(path: Path, answer: Answer, **changes: Any) -> Trace:
    with FaultServer(lambda _: answer) as server:
        settings = {"stream": True, "retries": 0, "idle_s": 0.5, "profile": "anthropic"}
        run(path, endpoint(server, **settings, **changes), 1)
    return stored(path)[0]


def test_a_streamed_message_becomes_a_whole_trace(tmp_path: Path) -> None:
    trace = ask(tmp_path, stream(*WHOLE))
    assert (trace.status, trace.reasoning, trace.answer) == ("ok", "Two and two.", "Four 👩‍🔬")
    assert (trace.usage.prompt, trace.usage.completion) == (9, 12)
    assert (trace.finish_reason, trace.returned_model) == ("stop", "m-1")
    assert trace.fidelity == "summary"


@given(st.lists(st.integers(0, 900), max_size=6))
def test_it_does_not_matter_where_the_bytes_are_cut(cuts: list[int]) -> None:
    whole, reader = b"".join(WHOLE), MessagesStream()
    places = [0, *sorted(cuts), len(whole)]
    for start, end in itertools.pairwise(places):
        reader.feed(whole[start:end])
    reader.end()
    message = reader.document()["choices"][0]["message"]
    assert [part.get("text", part.get("thinking")) for part in message["content"]] == [
        "Two and two.",
        "Four 👩‍🔬",
    ]


BROKEN = {
    "overloaded in the middle": (
        [START, *THINKING, event("error", error={"type": "overloaded_error", "message": "Busy"})],
        "http_error",
        "Busy",
    ),
    "ends in the middle": ([START, *THINKING], "malformed", "without saying so"),
    "an event that is not json": ([START, b"data: {bro\n\n"], "malformed", "cannot be read"),
    "nothing but a start": ([START, event("message_stop")], "malformed", "no message"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_stream_is_a_failed_attempt(tmp_path: Path, fault: str) -> None:
    pieces, status, says = BROKEN[fault]
    trace = ask(tmp_path, stream(*pieces))
    assert (trace.status, trace.answer) == (status, None)
    assert says in trace.error


def test_pings_do_not_keep_a_stream_alive(tmp_path: Path) -> None:
    trace = ask(tmp_path, stream(START, *[PING] * 60, pause_s=0.05))
    assert trace.status == "timeout"
    assert "stood still" in trace.error


def test_a_cut_off_message_is_truncated_and_a_tool_call_is_kept() -> None:
    reader = MessagesStream()
    call = block(0, "tool_use", ("input_json_delta", "partial_json", '{"x": '), name="f", input={})
    for piece in [START, *call, event("message_delta", delta={"stop_reason": "max_tokens"})]:
        reader.feed(piece)
    choice = reader.document()["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"x": '


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail(noise: bytes) -> None:
    reader = MessagesStream()
    reader.feed(b"data: " + noise + b'\n\ndata: {"type": "content_block_delta", "index": ')
    reader.feed(noise + b"}\n\n")
    reader.end()
    reader.document()
