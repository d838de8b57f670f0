from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fault_server import Answer, Ask, FaultServer, event
from tests.fault_server import streamed as stream
from tests.scenario import books_agree, endpoint, run, stored
from traces.errors import TeacherError
from traces.record import Message, Sampling
from traces.resplit import resplit
from traces.teachers.chat_reply import Reply, read_reply
from traces.teachers.chat_request import chat_body
from traces.teachers.endpoint import EndpointTeacher
from traces.teachers.gemini_stream import GeminiStream
from traces.teachers.profile import find_profile, profiles
from traces.teachers.retry import Failure

THOUGHT = {"text": "Two and two.", "thought": True}
TEXT = {"text": "Four.", "thoughtSignature": "x"}
USAGE = {
    "promptTokenCount": 9,
    "cachedContentTokenCount": 4,
    "candidatesTokenCount": 3,
    "thoughtsTokenCount": 8,
}


def reply(*parts: dict[str, Any], finish: str | None = "STOP", **fields: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": finish}
    made = {"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": "gemini-x-001"}
    return made | fields


def read(document: dict[str, Any]) -> Reply | Failure:
    return read_reply(200, {}, json.dumps(document).encode(), 0, "gemini")


def test_thoughts_are_a_summary_and_are_counted_as_output() -> None:
    got = read(reply(THOUGHT, TEXT))
    assert isinstance(got, Reply)
    assert (got.status, got.content, got.raw_reasoning) == ("ok", "Four.", "Two and two.")
    assert (got.fidelity, got.finish_reason) == ("summary", "stop")
    assert (got.returned_model, got.flags) == ("gemini-x-001", ())
    usage = got.usage
    assert (usage.prompt, usage.cached, usage.completion, usage.reasoning) == (9, 4, 11, 8)


def test_thoughts_that_are_counted_and_not_shown_are_hidden() -> None:
    got = read(reply(TEXT))
    assert isinstance(got, Reply)
    assert (got.raw_reasoning, got.fidelity) == (None, "hidden")


@pytest.mark.parametrize(
    ("document", "status", "finish"),
    [
        (reply(TEXT, finish="MAX_TOKENS"), "truncated", "length"),
        (reply(finish="MAX_TOKENS"), "truncated", "length"),
        ({"candidates": [{"finishReason": "MAX_TOKENS"}]}, "truncated", "length"),
        (reply(TEXT, finish="SAFETY"), "refused", "safety"),
        (reply(finish="PROHIBITED_CONTENT"), "refused", "prohibited_content"),
        (reply(finish="RECITATION"), "refused", "recitation"),
        (reply(finish="OTHER"), "refused", "content_filter"),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "refused", "prompt_blocked:safety"),
        (
            {"promptFeedback": {"blockReason": "JAILBREAK"}},
            "refused",
            "prompt_blocked:jailbreak",
        ),
        (reply(), "empty", "stop"),
        (reply(TEXT, finish=None), "ok", ""),
        (reply(THOUGHT, {"functionCall": {"name": "add", "args": {"a": 1}}}), "ok", "tool_calls"),
    ],
)
def test_how_a_candidate_ended_is_its_status(
    document: dict[str, Any], status: str, finish: str
) -> None:
    got = read(document)
    assert isinstance(got, Reply)
    assert (got.status, got.finish_reason) == (status, finish)
    if finish == "tool_calls":
        assert got.tool_calls[0]["function"] == {"name": "add", "arguments": '{"a": 1}'}


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"error": {"code": 503, "message": "Oh.", "status": "UNAVAILABLE"}}, "busy"),
        ({"error": {"code": 400, "message": "Oh."}}, "refused"),
        (reply(finish="MALFORMED_FUNCTION_CALL"), "broken"),
        ({"usageMetadata": USAGE}, "broken"),
        ({"candidates": []}, "broken"),
    ],
)
def test_what_is_no_answer_is_a_failure(document: dict[str, Any], kind: str) -> None:
    got = read(document)
    assert isinstance(got, Failure)
    assert got.kind == kind


def test_turns_calls_and_results_are_contents() -> None:
    calls = tuple(
        {"id": f"c{n}", "type": "function", "function": {"name": f"f{n}", "arguments": '{"a": 1}'}}
        for n in range(2)
    )
    messages = [
        Message("system", "Be brief."),
        Message("user", "1+1?"),
        Message("assistant", "Let me see.", tool_calls=calls),
        Message("tool", "2", tool_call_id="c0"),
        Message("tool", "3", tool_call_id="c1"),
    ]
    tool = {"type": "function", "function": {"name": "f0", "parameters": {"type": "object"}}}
    extra = {"generationConfig": {"topP": None, "thinkingConfig": {"thinkingBudget": 9}}}
    profile = profiles()["gemini_native"]
    made = json.loads(chat_body("m", messages, Sampling(seed=5), extra, profile, [tool]))
    assert made["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert [turn["role"] for turn in made["contents"]] == ["user", "model", "user"]
    called = made["contents"][1]["parts"][1:]
    assert [part["functionCall"] for part in called] == [
        {"name": f"f{n}", "args": {"a": 1}} for n in range(2)
    ]
    assert [p["functionResponse"]["name"] for p in made["contents"][2]["parts"]] == ["f0", "f1"]
    assert made["tools"][0]["functionDeclarations"][0]["name"] == "f0"
    config = made["generationConfig"]
    assert config.pop("thinkingConfig") == {"includeThoughts": True, "thinkingBudget": 9}
    assert config == {"temperature": 0.0, "maxOutputTokens": 1024, "seed": 5}
    assert not made.keys() & {"model", "messages", "stream"}


def test_the_address_tells_which_of_two_interfaces_is_meant() -> None:
    host = "generativelanguage.googleapis.com"
    assert find_profile("auto", f"{host}/v1beta").name == "gemini_native"
    assert find_profile("auto", f"{host}/v1beta/openai").name == "gemini"
    assert find_profile("auto", host).licence_route == "gemini-api"
    with pytest.raises(TeacherError, match="carries a key as 'key'"):
        EndpointTeacher(base_url=f"https://{host}/v1beta?key=secret", model="m")


WHOLE = [
    event({"candidates": [{"content": {"parts": [THOUGHT]}}], "modelVersion": "gemini-x-001"}),
    event({"candidates": [{"content": {"parts": [{"text": "Fo"}]}}], "usageMetadata": {}}),
    event({"candidates": [{"content": {"parts": [{"text": "ur 👩‍🔬"}]}, "finishReason": "STOP"}],
           "usageMetadata": USAGE}),
]  # fmt: skip


@given(st.lists(st.integers(0, 500), max_size=6))
def test_it_does_not_matter_where_the_bytes_of_a_stream_are_cut(cuts: list[int]) -> None:
    whole, reader = b"".join(WHOLE), GeminiStream()
    for start, end in itertools.pairwise([0, *sorted(cuts), len(whole)]):
        reader.feed(whole[start:end])
    reader.end()
    choice = reader.document()["choices"][0]
    assert "".join(part.get("text", "") for part in choice["message"]["content"]) == "Four 👩‍🔬"
    assert reader.done


BLOCKED = [event({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {}})]
STREAMS = {
    "whole": (WHOLE, "ok", ""),
    "blocked": (BLOCKED, "refused", ""),
    "ends in the middle": (WHOLE[:2], "malformed", "without saying so"),
    "an error in the middle": (
        [WHOLE[0], event({"error": {"code": 500, "message": "Oh."}})], "http_error", "Oh."
    ),
    "no json": ([WHOLE[0], b"data: {bro\n\n"], "malformed", "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_whole_or_a_failed_attempt(tmp_path: Path, name: str) -> None:
    pieces, status, says = STREAMS[name]
    seen: list[Ask] = []

    def behave(ask: Ask) -> Answer:
        seen.append(ask)
        return stream(*pieces)

    with FaultServer(behave) as server:
        settings = {"retries": 0, "profile": "gemini_native", "stream": True}
        run(tmp_path, endpoint(server, **settings), 1)
    trace = stored(tmp_path)[0]
    assert trace.status == status
    assert says in trace.error
    assert seen[0].path == "/v1/models/m:streamGenerateContent?alt=sse"
    if name == "whole":
        assert (trace.reasoning, trace.answer) == ("Two and two.", "Four 👩‍🔬")
        assert resplit(tmp_path / "traces.sqlite").changed == 0


def test_a_harvest_sends_its_key_in_a_header_alone(tmp_path: Path) -> None:
    seen: list[Ask] = []

    def behave(ask: Ask) -> Answer:
        seen.append(ask)
        return Answer(json.dumps(reply(THOUGHT, TEXT)).encode())

    rows = [{"name": "models/m", "version": "001"}, {"name": "models/n"}]
    models = Answer(json.dumps({"models": rows}).encode())
    with FaultServer(behave, models=models) as server:
        settings = {"profile": "gemini_native", "api_key": "secret", "model": "models/m"}
        teacher = endpoint(server, **settings)
        counts = run(tmp_path, teacher, 8)
        books_agree(tmp_path, server, counts)
        teacher.check()
        assert teacher.canary is not None
        assert teacher.canary.models == ("m", "n")
        with pytest.raises(TeacherError, match="does not serve 'o'; it has"):
            endpoint(server, profile="gemini_native", model="o").check()
        assert not any("secret" in line for line in server.lines)
    assert {one.path for one in seen} == {"/v1/models/m:generateContent"}
    assert {one.headers["x-goog-api-key"] for one in seen} == {"secret"}
    assert not any("authorization" in one.headers for one in seen)
