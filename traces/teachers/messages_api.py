"""The Anthropic messages interface: what is asked, and replies in the terms of a chat completion.

Source: Anthropic API reference, "Messages".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from traces.record import Message, Sampling
from traces.signed import of_anthropic, to_anthropic
from traces.tool_calls import arguments_of, call, function_of

Fields = dict[str, Any]

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}


def request_fields(
    model: str,
    messages: Sequence[Message],
    sampling: Sampling,
    tools: Sequence[Fields],
    *,
    stream: bool,
) -> Fields:
    """The body of a request: the system message is apart, tool results are in turns of the user."""
    system = "\n\n".join(m.content for m in messages if m.role == "system")
    turns: list[Fields] = []
    for message in messages:
        if message.role == "system":
            continue
        turn = _turn(message)
        both = turns and message.role == "tool" and isinstance(turns[-1]["content"], list)
        if both and turns[-1]["role"] == "user":
            turns[-1]["content"] += turn["content"]  # results of calls that were made together
        else:
            turns.append(turn)
    return {
        "model": model,
        "system": system or None,
        "messages": turns,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "stream": stream,
        "tools": [_declared(tool) for tool in tools] or None,
    }


def _turn(message: Message) -> Fields:
    if message.role == "tool":
        result = {"tool_use_id": message.tool_call_id, "content": message.content}
        return {"role": "user", "content": [{"type": "tool_result", **result}]}
    if not message.tool_calls:
        return {"role": message.role, "content": message.content}
    blocks = to_anthropic(message.reasoning_details)  # which calls are refused without
    blocks += [{"type": "text", "text": message.content}] if message.content else []
    for made in message.tool_calls:
        use = {"id": made.get("id"), "name": function_of(made).get("name")}
        blocks.append({"type": "tool_use", **use, "input": arguments_of(made)})
    return {"role": message.role, "content": blocks}


def _declared(tool: Fields) -> Fields:
    function = function_of(tool)
    schema = function.pop("parameters", None) or {"type": "object", "properties": {}}
    kept: Fields = {k: function[k] for k in ("name", "description") if k in function}
    return {**kept, "input_schema": schema}


def as_completion(document: Fields) -> Fields:
    """The same reply with `choices` and the usual usage; an error object is returned as it is.

    Thinking blocks become the reasoning, redacted ones mark it as hidden.
    """
    blocks = document.get("content")
    if not isinstance(blocks, list):
        return document
    blocks = [block for block in blocks if isinstance(block, dict)]
    message: Fields = {
        "content": [block for block in blocks if block.get("type") in ("text", "thinking")],
        "tool_calls": [
            call(block.get("name"), block.get("input", {}), block.get("id"))
            for block in blocks
            if block.get("type") == "tool_use"
        ],
    }
    if signed := of_anthropic(blocks):
        message["signed"] = signed
    if any(block.get("type") == "redacted_thinking" for block in blocks):
        message["reasoning_details"] = [{"type": "reasoning.encrypted"}]
    stop = document.get("stop_reason")
    finish = FINISH.get(stop, stop) if isinstance(stop, str) else None
    return {
        "id": document.get("id"),
        "model": document.get("model"),
        "choices": [{"message": message, "finish_reason": finish}],
        "usage": _usage(document.get("usage")),
    }


def _usage(given: Any) -> Fields:
    usage = given if isinstance(given, dict) else {}
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    counts = [usage.get(name) for name in names]
    known = [n for n in counts if isinstance(n, int) and not isinstance(n, bool) and n >= 0]
    return {
        "prompt_tokens": sum(known),
        "completion_tokens": usage.get("output_tokens"),
        "prompt_tokens_details": {"cached_tokens": usage.get("cache_read_input_tokens")},
    }
