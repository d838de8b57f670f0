"""What a provider signed or encrypted is kept, and sent back as it came."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fault_server import event
from traces.conversations import parse_messages
from traces.jsonio import write_jsonl
from traces.models.load import _turn
from traces.record import Message, Sampling, Trace
from traces.signed import NO_SIGNATURE, kept
from traces.store import TraceStore
from traces.talk_import import export_talks, import_talks
from traces.teachers.chat_reply import Reply, read_document, read_reply
from traces.teachers.chat_request import chat_body
from traces.teachers.profile import profiles
from traces.teachers.raw_reply import STREAMS
from traces.transfer import export_traces, import_traces

ANTHROPIC = [
    {"type": "thinking", "thinking": "Sum.", "signature": "sig"},
    {"type": "redacted_thinking", "data": "secret"},
]
CALLED = {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}}
OPENAI = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Sum."}],
    "encrypted_content": "gAAA",
}
FUNCTION = {"type": "function_call", "name": "add", "arguments": '{"a":1}', "call_id": "c1"}
GEMINI = {"functionCall": {"name": "add", "args": {"a": 1}}, "thoughtSignature": "sig"}
REPLIES: dict[str, dict[str, Any]] = {
    "messages": {"id": "r", "content": [*ANTHROPIC, CALLED], "stop_reason": "tool_use"},
    "responses": {"id": "r", "status": "completed", "output": [OPENAI, FUNCTION]},
    "gemini": {
        "responseId": "r",
        "candidates": [{"content": {"parts": [GEMINI]}, "finishReason": "STOP"}],
    },
    "chat": {
        "id": "r",
        "choices": [{"finish_reason": "tool_calls", "message": {
            "reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "index": 0}],
            "tool_calls": [{"id": "c1", "function": {"name": "add", "arguments": '{"a":1}'}}],
        }}],
    },
}  # fmt: skip
PROFILES = {
    "messages": "anthropic",
    "responses": "openai_responses",
    "gemini": "gemini_native",
    "chat": "openrouter",
}


def read(api: str) -> Reply:
    reply = read_reply(200, {}, json.dumps(REPLIES[api]).encode(), 0, api)
    assert isinstance(reply, Reply)
    return reply


def turn_of(reply: Reply) -> Message:
    details = tuple(reply.provider.get("reasoning_details", ()))
    return Message("assistant", reply.content, reply.raw_reasoning, tool_calls=reply.tool_calls,
                   reasoning_details=details)  # fmt: skip


def sent(profile: str, turn: Message) -> dict[str, Any]:
    messages = [Message("user", "1+1?"), turn, Message("tool", "2", tool_call_id="c1")]
    made: dict[str, Any] = json.loads(
        chat_body("m", messages, Sampling(), {}, profiles()[profile], ())
    )
    return made


@pytest.mark.parametrize("api", REPLIES)
def test_the_next_turn_sends_back_what_the_provider_signed(api: str) -> None:
    reply = read(api)
    assert reply.provider["id"] == "r"
    body = sent(PROFILES[api], turn_of(reply))
    found = {
        "messages": lambda: body["messages"][1]["content"] == [*ANTHROPIC, CALLED],
        "responses": lambda: body["input"][1:3] == [OPENAI, FUNCTION],
        "gemini": lambda: body["contents"][1]["parts"] == [GEMINI],
        "chat": lambda: body["messages"][1]["reasoning_details"][0]["data"] == "x",
    }
    assert found[api]()


@pytest.mark.parametrize("profile", ["anthropic", "openai_responses", "openai", "vllm"])
@pytest.mark.parametrize("api", REPLIES)
def test_nobody_gets_the_signatures_of_another(api: str, profile: str) -> None:
    if PROFILES[api] == profile:
        return
    text = json.dumps(sent(profile, turn_of(read(api))))
    assert not any(word in text for word in ("sig", "secret", "gAAA", "reasoning_details", "extra"))


def test_gemini_is_told_which_calls_are_not_its_own() -> None:
    first, second = ({"id": n, "function": {"name": n, "arguments": "{}"}} for n in "ab")
    body = sent("gemini_native", Message("assistant", "", tool_calls=(first, second)))
    parts = body["contents"][1]["parts"]
    assert parts[0]["thoughtSignature"] == NO_SIGNATURE
    assert "thoughtSignature" not in parts[1]


def test_a_stream_keeps_signatures_too() -> None:
    start = {"type": "message_start", "message": {"id": "r", "model": "m"}}
    block = {"type": "thinking", "thinking": ""}
    deltas = [("thinking_delta", "thinking", "Sum."), ("signature_delta", "signature", "s"),
              ("signature_delta", "signature", "ig")]  # fmt: skip
    events: list[dict[str, Any]] = [
        start,
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": kind, name: text}}
          for kind, name, text in deltas),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]  # fmt: skip
    reply = streamed("messages", events)
    (detail,) = reply.provider["reasoning_details"]
    assert (detail["text"], detail["signature"]) == ("Sum.", "sig")
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"},
            "extra_content": {"google": {"thought_signature": "sig"}}}  # fmt: skip
    more = {"id": "r", "choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "stop"}]}
    reply = streamed("chat", [more])
    assert reply.provider == {"id": "r"}
    assert reply.tool_calls[0]["extra_content"] == call["extra_content"]


def streamed(api: str, events: list[dict[str, Any]]) -> Reply:
    stream = STREAMS[api]()
    for one in events:
        stream.feed(event(one))
    stream.end()
    reply = read_document(stream.document(), {}, 0, b"")
    assert isinstance(reply, Reply)
    return reply


def test_pieces_of_a_stream_are_one_and_what_nobody_signed_is_not_kept_twice() -> None:
    piece = {"type": "reasoning.text", "index": 0}
    pieces = [{**piece, "text": "Su"}, {**piece, "text": "m."}, {**piece, "signature": "sig"}]
    assert kept(pieces) == ({**piece, "text": "Sum.", "signature": "sig"},)
    assert kept(pieces[:2]) == kept([None, {}, 5]) == ()
    other = {"type": "reasoning.encrypted", "index": 1, "data": "x"}
    assert kept([*pieces, other])[1] == other


def test_logs_and_exports_keep_them_and_templates_do_not_see_them(tmp_path: Path) -> None:
    answer = {"type": "text", "text": "2."}
    log = {"messages": [
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": [*ANTHROPIC, CALLED]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "c1", "content": "2"}]},
        {"role": "assistant", "content": [answer]},
    ]}  # fmt: skip
    path, store = tmp_path / "log.jsonl", tmp_path / "s.sqlite"
    write_jsonl(path, [log])
    import_talks(path, store, form="anthropic", model="m")
    with TraceStore.open(store, readonly=True) as opened:
        first, second = opened.traces()
        history = opened.prompt(second.prompt_id).messages
    assert len(first.provider["reasoning_details"]) == 2
    body = json.loads(chat_body("m", history, Sampling(), {}, profiles()["anthropic"], ()))
    assert body["messages"][1]["content"] == [*ANTHROPIC, CALLED]
    assert _turn(history[1]).keys() == {"role", "content", "tool_calls"}
    signed = {**history[1].tool_calls[0], "extra_content": {"google": {}}}
    (rendered,) = _turn(Message("assistant", "", tool_calls=(signed,)))["tool_calls"]
    assert "extra_content" not in rendered
    for name in ("t.jsonl", "t.parquet"):
        export_traces(store, tmp_path / name)
        copy = tmp_path / f"{name}.sqlite"
        import_traces(tmp_path / name, copy)
        assert stored(copy) == stored(store)
    export_talks(store, tmp_path / "again.jsonl")
    row = json.loads((tmp_path / "again.jsonl").read_text())
    assert parse_messages(row["messages"])[1].reasoning_details == history[1].reasoning_details


def stored(path: Path) -> list[Trace]:
    with TraceStore.open(path, readonly=True) as opened:
        return list(opened.traces())
