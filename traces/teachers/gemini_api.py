"""The native Gemini interface: what is asked, and replies in the terms of a chat completion.

Source: Gemini API reference, "Generating content" (v1beta). Parts with `thought` are summaries of
the reasoning; `thoughtsTokenCount` counts what was thought, also where nothing of it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from traces.record import Message, Sampling
from traces.signed import GEMINI, NO_SIGNATURE, signature_of, signed_call
from traces.tool_calls import arguments_of, call, function_of, names_by_id

Fields = dict[str, Any]

FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "LANGUAGE": "content_filter",
    "OTHER": "content_filter",
    "MALFORMED_FUNCTION_CALL": "error",
    "MALFORMED_RESPONSE": "error",
    "UNEXPECTED_TOOL_CALL": "error",
}
"""All others are taken in lower case; `chat_reply` knows which of them are filters."""


def request_fields(
    messages: Sequence[Message], sampling: Sampling, tools: Sequence[Fields]
) -> Fields:
    """The body of a request; model and streaming are in the address."""
    system = "\n\n".join(m.content for m in messages if m.role == "system")
    turns = [m for m in messages if m.role != "system"]
    names = names_by_id(turns)
    fields: Fields = {
        "contents": _joined([_turn(message, names) for message in turns]),
        "systemInstruction": {"parts": [{"text": system}]} if system else None,
        "generationConfig": {
            "temperature": sampling.temperature,
            "topP": sampling.top_p,
            "maxOutputTokens": sampling.max_tokens,
            "seed": sampling.seed,
        },
    }
    if tools:
        fields["tools"] = [{"functionDeclarations": [_declared(tool) for tool in tools]}]
    return fields


def _declared(tool: Fields) -> Fields:
    function = function_of(tool)
    kept = {name: function[name] for name in ("name", "description") if name in function}
    schema = function.get("parameters")
    return kept | ({"parametersJsonSchema": schema} if schema else {})


def _turn(message: Message, names: dict[str, str]) -> Fields:
    if message.role == "tool":
        id_ = message.tool_call_id or ""
        name = message.name or names.get(id_, id_)
        said = {"name": name, "response": {"result": message.content}}
        return {"role": "user", "parts": [{"functionResponse": said}]}
    parts: list[Fields] = [{"text": message.content}] if message.content else []
    signed = any(signature_of(made) for made in message.tool_calls)
    for number, made in enumerate(message.tool_calls):
        told = {"name": function_of(made).get("name"), "args": arguments_of(made)}
        signature = signature_of(made) or ("" if signed or number else NO_SIGNATURE)
        part: Fields = {"functionCall": told}
        parts.append(part | ({"thoughtSignature": signature} if signature else {}))
    return {"role": "model" if message.role == "assistant" else "user", "parts": parts}


def _joined(turns: Sequence[Fields]) -> list[Fields]:
    """Turns of one role that follow each other as one: results of calls made together belong so."""
    made: list[Fields] = []
    for turn in turns:
        if made and made[-1]["role"] == turn["role"]:
            made[-1]["parts"] += turn["parts"]
        else:
            made.append(turn)
    return made


def as_completion(document: Fields) -> Fields:
    """The same reply with `choices` and the usual usage; an error object is returned as it is.

    A prompt that was blocked has no candidate; it becomes a choice without text that was filtered.
    """
    if document.get("error"):
        return document
    candidates = document.get("candidates")
    candidate = candidates[0] if isinstance(candidates, list) and candidates else None
    feedback = document.get("promptFeedback")
    blocked = feedback.get("blockReason") if isinstance(feedback, dict) else None
    if not isinstance(candidate, dict):
        if not blocked:
            return document
        candidate = {"finishReason": f"PROMPT_BLOCKED:{blocked}"}
    usage = document.get("usageMetadata")
    usage = usage if isinstance(usage, dict) else {}
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    rows = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    message = _message(rows, thought=bool(_count(usage.get("thoughtsTokenCount"))))
    finish = candidate.get("finishReason")
    if isinstance(finish, str):
        finish = FINISH.get(finish, finish.lower())
        finish = "tool_calls" if finish == "stop" and message["tool_calls"] else finish
    return {
        "id": document.get("responseId"),
        "model": document.get("modelVersion"),
        "choices": [{"message": message, "finish_reason": finish}],
        "usage": _usage(usage),
    }


def _message(parts: Sequence[Fields], *, thought: bool) -> Fields:
    content: list[Fields] = []
    calls: list[Fields] = []
    for part in parts:
        text, made = part.get("text"), part.get("functionCall")
        if isinstance(made, dict):
            told = call(made.get("name"), made.get("args") or {}, made.get("id"))
            calls.append(signed_call(told, part.get("thoughtSignature")))
        elif isinstance(text, str):
            kind = "thinking" if part.get("thought") else "text"
            content.append({"type": kind, kind: text})
        elif part.keys() - {"thoughtSignature", "thought"}:
            content.append({"type": "other"})  # marks the trace: something here is not read
    message: Fields = {"content": content, "tool_calls": calls}
    message["signed"] = [
        {"type": "reasoning.encrypted", "data": part["thoughtSignature"], "format": GEMINI}
        for part in parts
        if part.get("thoughtSignature") and not isinstance(part.get("functionCall"), dict)
    ]
    if any(part["type"] == "thinking" for part in content):
        message["reasoning_details"] = [{"type": "reasoning.summary"}]
    elif thought:
        message["reasoning_details"] = [{"type": "reasoning.encrypted"}]
    return message


def _usage(usage: Fields) -> Fields:
    """Thoughts are paid for as output."""
    prompt = [usage.get(name) for name in ("promptTokenCount", "toolUsePromptTokenCount")]
    thoughts = usage.get("thoughtsTokenCount")
    spent = [usage.get("candidatesTokenCount"), thoughts]
    return {
        "prompt_tokens": sum(map(_count, prompt)),
        "completion_tokens": sum(map(_count, spent)),
        "prompt_tokens_details": {"cached_tokens": usage.get("cachedContentTokenCount")},
        "completion_tokens_details": {"reasoning_tokens": thoughts},
    }


def _count(value: Any) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return max(0, int(value)) if whole else 0
