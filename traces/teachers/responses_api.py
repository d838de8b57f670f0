"""The OpenAI Responses interface: what is asked, and replies in the terms of a chat completion.

Source: OpenAI API reference, "Responses", in the words of its Python SDK of 2026. The chain of
thought is not given: a reasoning item holds a summary, or an encrypted text alone. Open models
behind other servers do give it, as `reasoning_text`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from traces.record import Message, Sampling
from traces.signed import of_responses, to_responses
from traces.tool_calls import call, function_of

Fields = dict[str, Any]

LEAST_TOKENS = 16
"""`max_output_tokens` below this is refused with a 400."""
CODES = {"rate_limit_exceeded": 429, "invalid_prompt": 400, "server_is_overloaded": 503}
"""What the codes of errors in a reply would be as a status; all others are 500."""
INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}


def request_fields(
    model: str,
    messages: Sequence[Message],
    sampling: Sampling,
    tools: Sequence[Fields],
    *,
    stream: bool,
) -> Fields:
    """The body of a request: turns, calls and results are items; there are no seeds."""
    fields: Fields = {
        "model": model,
        "input": [item for message in messages for item in _items(message)],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_output_tokens": max(LEAST_TOKENS, sampling.max_tokens),
        "stream": stream,
    }
    if tools:
        fields["tools"] = [{"type": "function", "strict": False, **function_of(t)} for t in tools]
    if sampling.top_logprobs:
        fields["top_logprobs"] = sampling.top_logprobs
        fields["include"] = ["message.output_text.logprobs"]
    return fields


def _items(message: Message) -> list[Fields]:
    if message.role == "tool":
        output = {"call_id": message.tool_call_id, "output": message.content}
        return [{"type": "function_call_output", **output}]
    said = [{"role": message.role, "content": message.content}]
    calls = [
        {"type": "function_call", "call_id": made.get("id"), **function_of(made)}
        for made in message.tool_calls
    ]
    before = to_responses(message.reasoning_details) if calls else []
    return before + (said if message.content or not calls else []) + calls


def as_completion(document: Fields) -> Fields:
    """The same reply with `choices` and the usual usage; an error in it as `error`."""
    error = document.get("error")
    if error:
        said = error if isinstance(error, dict) else {"message": str(error)}
        return {"error": {**said, "code": CODES.get(str(said.get("code")), 500)}}
    output = document.get("output")
    if not isinstance(output, list):
        return document
    status = document.get("status", "completed")
    if status not in ("completed", "incomplete"):
        return {"error": {"message": f"the response is {status}, not completed"}}
    details = document.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    message, logprobs = _message([item for item in output if isinstance(item, dict)])
    finish = "tool_calls" if message["tool_calls"] else "stop"
    if status == "incomplete":
        finish = INCOMPLETE.get(str(reason), str(reason or "error"))
    choice: Fields = {"message": message, "finish_reason": finish}
    if logprobs:
        choice["logprobs"] = {"content": logprobs}
    usage = _usage(document.get("usage"))
    who = {name: document.get(name) for name in ("id", "model")}
    return {**who, "choices": [choice], "usage": usage}


def _message(items: Sequence[Fields]) -> tuple[Fields, list[Any]]:
    """The items as one message, and the logprobs of its text."""
    content: list[Fields] = []
    details: list[Fields] = []
    calls: list[Fields] = []
    refusals: list[str] = []
    logprobs: list[Any] = []
    for item in items:
        kind = item.get("type")
        if kind == "reasoning":
            details.append(_reasoning(item))
        elif kind == "function_call":
            calls.append(call(item.get("name"), item.get("arguments", ""), item.get("call_id")))
        elif kind == "message":
            for part in _parts(item.get("content")):
                if part.get("type") == "refusal":
                    refusals.append(str(part.get("refusal", "")))
                    continue
                content.append(part)
                logprobs += given if isinstance(given := part.get("logprobs"), list) else []
        else:
            content.append(item)  # marks the trace: something here is not read
    message: Fields = {"content": content, "refusal": "".join(refusals), "tool_calls": calls}
    if len(texts := [d for d in details if "text" in d]) > 1:
        for detail in texts[:-1]:
            detail["text"] += "\n\n"
    message |= {"signed": signed} if (signed := of_responses(items)) else {}
    return message | ({"reasoning_details": details} if details else {}), logprobs


def _reasoning(item: Fields) -> Fields:
    """One reasoning item: the text itself, a summary of it, or neither."""
    for name, kind in (("content", "text"), ("summary", "summary")):
        texts = [str(part["text"]) for part in _parts(item.get(name)) if part.get("text")]
        if texts:
            return {"type": f"reasoning.{kind}", "text": "\n\n".join(texts)}
    return {"type": "reasoning.encrypted"}


def _parts(value: Any) -> list[Fields]:
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _usage(given: Any) -> Fields:
    usage = given if isinstance(given, dict) else {}
    return {
        "prompt_tokens": usage.get("input_tokens"),
        "completion_tokens": usage.get("output_tokens"),
        "prompt_tokens_details": usage.get("input_tokens_details"),
        "completion_tokens_details": usage.get("output_tokens_details"),
    }
