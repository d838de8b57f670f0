from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fault_server import Answer, Ask, FaultServer, event
from tests.fault_server import streamed as stream
from tests.scenario import books_agree, endpoint, run, stored
from traces.record import Message, Sampling, Trace
from traces.resplit import resplit
from traces.teachers.chat_reply import Reply, read_reply
from traces.teachers.chat_request import chat_body
from traces.teachers.endpoint import EndpointTeacher
from traces.teachers.profile import profiles
from traces.teachers.responses_stream import ResponsesStream
from traces.teachers.retry import Failure

TOOL = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {}}},
}
SUMMARY = {
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "One."}, {"type": "summary_text", "text": "Two."}],
    "encrypted_content": "gAAA",
}
HIDDEN = {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}
OPEN = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 12,
    "output_tokens_details": {"reasoning_tokens": 8},
}


def said(text: str = "Four.", kind: str = "output_text") -> dict[str, Any]:
    field = "refusal" if kind == "refusal" else "text"
    return {"type": "message", "role": "assistant", "content": [{"type": kind, field: text}]}


def response(*output: dict[str, Any], **fields: Any) -> dict[str, Any]:
    about = {"id": "resp_1", "object": "response", "model": "real-model", "usage": USAGE}
    return {**about, "status": "completed", "output": list(output), "error": None, **fields}


def read(*output: dict[str, Any], **fields: Any) -> Reply | Failure:
    return read_reply(200, {}, json.dumps(response(*output, **fields)).encode(), 0, "responses")


@pytest.mark.parametrize(
    ("item", "fidelity", "reasoning"),
    [(SUMMARY, "summary", "One.\n\nTwo."), (HIDDEN, "hidden", None), (OPEN, "full", "Hm.")],
)
def test_a_reply_is_read_with_what_is_told_of_its_reasoning(
    item: dict[str, Any], fidelity: str, reasoning: str | None
) -> None:
    got = read(item, said())
    assert isinstance(got, Reply)
    assert (got.status, got.content, got.raw_reasoning) == ("ok", "Four.", reasoning)
    assert (got.fidelity, got.finish_reason, got.returned_model) == (fidelity, "stop", "real-model")
    usage = got.usage
    assert (usage.prompt, usage.cached, usage.completion, usage.reasoning) == (9, 4, 12, 8)


def test_how_a_response_ended_is_its_status() -> None:
    cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    filtered = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}
    call = {"type": "function_call", "name": "add", "arguments": '{"a": 1}', "call_id": "c1"}
    got = [
        read(SUMMARY, **cut),
        read(said("Fo"), **filtered),
        read(said("I cannot.", "refusal")),
        read(HIDDEN, call),
        read(HIDDEN),
        read(said(), {"type": "web_search_call"}),
    ]
    replies = [one for one in got if isinstance(one, Reply)]
    assert [one.status for one in replies] == [
        "truncated", "refused", "refused", "ok", "empty", "ok"
    ]  # fmt: skip
    assert (replies[0].raw_reasoning, replies[2].content) == ("One.\n\nTwo.", "I cannot.")
    assert replies[3].finish_reason == "tool_calls"
    (kept,) = replies[3].tool_calls
    assert kept == {
        "id": "c1",
        "type": "function",
        "function": {"name": "add", "arguments": '{"a": 1}'},
    }
    assert "parts_ignored" in replies[5].flags


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"error": {"code": "server_error", "message": "Oh."}, "status": "failed"}, "broken"),
        ({"error": {"code": "rate_limit_exceeded", "message": "Oh."}}, "busy"),
        ({"error": {"code": "invalid_prompt", "message": "Oh."}}, "refused"),
        ({"status": "in_progress"}, "broken"),
        ({"status": "incomplete", "incomplete_details": None}, "broken"),
        ({"output": None}, "broken"),
    ],
)
def test_what_failed_or_is_not_whole_is_no_reply(fields: dict[str, Any], kind: str) -> None:
    got = read(said(), **fields)
    assert isinstance(got, Failure)
    assert got.kind == kind


def test_turns_calls_and_results_are_items() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    messages = [
        Message("system", "Be brief."),
        Message("user", "1+1?"),
        Message("assistant", "", reasoning="Sum.", tool_calls=(call,)),
        Message("tool", "2", tool_call_id="c1"),
    ]
    profile = profiles()["openai_responses"]
    extra = {"reasoning": {"effort": "high", "summary": "auto"}, "temperature": None}
    made = json.loads(chat_body("m", messages, Sampling(max_tokens=1), extra, profile, [TOOL]))
    assert made["input"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1+1?"},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "2"},
    ]
    assert made["tools"][0]["name"] == "add"
    assert made["tools"][0]["strict"] is False
    assert (made["max_output_tokens"], made["store"], made["reasoning"]["effort"]) == (
        16, False, "high"
    )  # fmt: skip
    assert not made.keys() & {"temperature", "seed", "messages", "previous_response_id"}


def events(*items: dict[str, Any], last: str = "response.completed", **fields: Any) -> list[bytes]:
    made: list[dict[str, Any]] = [{"type": "response.created", "response": response(status="x")}]
    for place, item in enumerate(items):
        made.append({"type": "response.output_text.delta", "output_index": place, "delta": "F"})
        made.append({"type": "response.output_item.done", "output_index": place, "item": item})
    return [event(one) for one in [*made, {"type": last, "response": response(*items, **fields)}]]


WHOLE = events(SUMMARY, said("Four 👩‍🔬"))


def ask(path: Path, answer: Answer, **changes: Any) -> Trace:
    with FaultServer(lambda _: answer) as server:
        plain = {"retries": 0, "idle_s": 0.4, "profile": "openai_responses"}
        run(path, endpoint(server, **plain, **changes), 1)
    return stored(path)[0]


@given(st.lists(st.integers(0, 1500), max_size=6))
def test_it_does_not_matter_where_the_bytes_of_a_stream_are_cut(cuts: list[int]) -> None:
    whole, reader = b"".join(WHOLE), ResponsesStream()
    for start, end in itertools.pairwise([0, *sorted(cuts), len(whole)]):
        reader.feed(whole[start:end])
    reader.end()
    message = reader.document()["choices"][0]["message"]
    assert message["content"][0]["text"] == "Four 👩‍🔬"


def test_a_stream_whose_last_event_leaves_the_output_out_is_whole() -> None:
    reader = ResponsesStream()
    bare = {"type": "response.completed", "response": response()}
    for piece in [*WHOLE[:-1], event(bare)]:
        reader.feed(piece)
    message = reader.document()["choices"][0]["message"]
    assert message["content"][0]["text"] == "Four 👩‍🔬"
    assert message["reasoning_details"][0]["type"] == "reasoning.summary"


FAILED = event({"type": "response.failed", "response": response(
    status="failed", error={"code": "server_error", "message": "Oh."})})  # fmt: skip
BROKEN = {
    "failed": ([*WHOLE[:-1], FAILED], "http_error", "Oh."),
    "error event": ([WHOLE[0], event({"type": "error", "message": "Oh."})], "http_error", "Oh."),
    "ends in the middle": (WHOLE[:-1], "malformed", "without saying so"),
    "no json": ([WHOLE[0], b"data: {bro\n\n"], "malformed", "cannot be read"),
    "idle": (
        [WHOLE[0], *[event({"type": "response.in_progress"})] * 40], "timeout", "stood still"
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_stream_is_a_failed_attempt(tmp_path: Path, fault: str) -> None:
    pieces, status, says = BROKEN[fault]
    pause_s = 0.02 if fault == "idle" else 0.0
    trace = ask(tmp_path, stream(*pieces, pause_s=pause_s), stream=True)
    assert (trace.status, trace.answer) == (status, None)
    assert says in trace.error


def test_a_streamed_response_becomes_a_trace_that_can_be_split_again(tmp_path: Path) -> None:
    trace = ask(tmp_path, stream(*WHOLE), stream=True)
    assert (trace.status, trace.reasoning, trace.answer) == ("ok", "One.\n\nTwo.", "Four 👩‍🔬")
    assert (trace.fidelity, trace.flags) == ("summary", ("streamed",))
    assert resplit(tmp_path / "traces.sqlite").changed == 0


def test_a_harvest_of_responses_outlives_errors_in_a_200(tmp_path: Path) -> None:
    seen: list[Ask] = []

    def behave(ask: Ask) -> Answer:
        seen.append(ask)
        failing = response(status="failed", error={"code": "server_error", "message": "Oh."})
        fails = ask.text[-1] in "0369" and not ask.earlier
        return Answer(json.dumps(failing if fails else response(SUMMARY, said())).encode())

    with FaultServer(behave, models=["m"]) as server:
        teacher = endpoint(server, profile="openai_responses", api_key="k", backoff_s=0.005)
        counts = run(tmp_path, teacher, 10)
        books_agree(tmp_path, server, counts)
        assert sum(server.asked.values()) == 14
        teacher.check()
    assert {one.path for one in seen} == {"/v1/responses"}
    assert seen[0].headers["authorization"] == "Bearer k"
    assert teacher.canary is not None
    assert teacher.canary.usage


NAMES = ["output", "type", "content", "summary", "status", "error", "usage", "text", "message",
         "incomplete_details", "reasoning", "parts", "finishReason", "functionCall"]  # fmt: skip
DOCUMENTS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.sampled_from(NAMES),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)


def test_logprobs_that_are_no_list_are_none() -> None:
    part = {"type": "output_text", "text": "Four.", "logprobs": 5}
    got = read({"type": "message", "role": "assistant", "content": [part]})
    assert isinstance(got, Reply)
    assert (got.status, got.content, got.logprobs) == ("ok", "Four.", None)


@given(DOCUMENTS)
@settings(max_examples=50)
def test_no_document_makes_the_reader_fail(document: Any) -> None:
    for api in ("responses", "gemini", "messages"):
        read_reply(200, {}, json.dumps(document).encode(), 0, api)
    body = json.dumps({"output": document, "content": document, "candidates": [document]})
    for api in ("responses", "gemini", "messages"):
        read_reply(200, {}, body.encode(), 0, api)


def test_the_teacher_is_an_endpoint_like_any_other() -> None:
    teacher = EndpointTeacher(base_url="https://api.openai.com/v1", model="m",
                              profile="openai_responses")  # fmt: skip
    plain = EndpointTeacher(base_url="https://api.openai.com/v1", model="m", profile="openai")
    assert teacher.record.id == plain.record.id
