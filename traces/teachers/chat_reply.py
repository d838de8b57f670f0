"""Read the reply of a chat-completions endpoint, whatever it looks like.

Nothing in here raises on what an endpoint sends: a reply is a `Reply`, or a `Failure` that says
what is wrong with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from traces.record import Fidelity, Status, TopLogprobs, Usage
from traces.signed import kept
from traces.teachers import gemini_api, messages_api, responses_api
from traces.teachers.chat_json import decode, error_text, sentence_of
from traces.teachers.chat_logprobs import read_tokens
from traces.teachers.rate_headers import Rate
from traces.teachers.retry import Failure, kind_of, retry_after_s
from traces.tool_calls import read_calls

REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
TRUNCATED = frozenset({"length", "max_tokens", "model_length", "max_output_tokens"})
FILTERED = frozenset(
    {
        "content_filter",
        "refusal",
        "safety",
        "recitation",
        "blocklist",
        "prohibited_content",
        "spii",
        "image_safety",
        "prompt_blocked",
    }
)
BROKEN = frozenset({"error", "abort", "insufficient_system_resource"})

AS_COMPLETION = {
    "messages": messages_api.as_completion,
    "responses": responses_api.as_completion,
    "gemini": gemini_api.as_completion,
}
"""Interfaces of their own, whose replies are rewritten before they are read."""

Fields = dict[str, Any]


class Reply(msgspec.Struct, frozen=True):
    """What came back, in the terms of `traces.record.Trace`."""

    status: Status
    content: str
    raw_reasoning: str | None
    finish_reason: str
    returned_model: str
    usage: Usage
    token_ids: tuple[int, ...] | None = None
    logprobs: TopLogprobs | None = None
    fidelity: Fidelity = "full"
    flags: tuple[str, ...] = ()
    error: str = ""
    tool_calls: tuple[Fields, ...] = ()
    reasoning_field: str = ""
    fingerprint: str = ""
    rate: Rate | None = None
    provider: Fields = {}


def read_reply(
    http_status: int,
    headers: Mapping[str, str],
    body: bytes,
    top_logprobs: int,
    api: str = "chat",
) -> Reply | Failure:
    """The answer in one HTTP reply, or why it is none.

    `headers` has lower-case names or ignores case; `top_logprobs` is how many were asked for; `api`
    is that of the profile.
    """
    if http_status != 200:
        return _failure(http_status, headers, error_text(body))
    try:
        document, flags = decode(body)
    except ValueError as error:
        return _malformed(f"the reply is not JSON ({error}): {error_text(body)}", body)
    if not isinstance(document, dict):
        return _malformed(f"the reply is no object: {error_text(body)}", body)
    if api in AS_COMPLETION:
        document = AS_COMPLETION[api](document)
    return read_document(document, headers, top_logprobs, body, flags)


def read_document(
    document: Fields,
    headers: Mapping[str, str],
    top_logprobs: int,
    body: bytes,
    flags: tuple[str, ...] = (),
) -> Reply | Failure:
    """The answer in a decoded reply; `body` is what it was decoded from, `flags` what that took."""
    choices = document.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    for holder in (document, choice):
        if isinstance(holder, dict) and holder.get("error"):
            return _failure_inside(holder["error"], headers)
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return _malformed(f"the reply has no message: {error_text(body)}", body)
    finish_reason = _text(choice.get("finish_reason"))
    if finish_reason in BROKEN:
        error = f"the endpoint gave up: {finish_reason}"
        raw = body.decode(errors="replace")
        return Failure("broken", "http_error", error, 200, raw=raw, billable=True)
    return _read_choice(document, choice, message, top_logprobs, flags)


def _read_choice(
    document: Fields, choice: Fields, message: Fields, top_logprobs: int, flags: tuple[str, ...]
) -> Reply:
    content, inner, part_flags = _content(message.get("content"))
    raw_reasoning, field = _reasoning(message)
    raw_reasoning = inner if raw_reasoning is None else raw_reasoning
    finish = _text(choice.get("finish_reason"))
    usage = _usage(document.get("usage"), content + (raw_reasoning or ""))
    ended = finish == "stop" and not isinstance(choice.get("stop_reason"), str)
    tokens = read_tokens(
        choice,
        k=top_logprobs,
        completion=usage.completion if usage.source == "server" else 0,
        text=content or raw_reasoning or "",
        ended=ended,
    )
    refusal = _text(message.get("refusal"))
    calls, call_flags = read_calls(message.get("tool_calls"))
    status = _status(content, finish, refusal, called=bool(calls))
    flags += part_flags + tokens.flags + call_flags
    if not finish:
        flags += ("finish_reason_missing",)
    if tokens.missing and status != "ok":
        flags += ("logprobs_missing",)
    elif tokens.missing:
        status = "logprobs_missing"
    return Reply(
        status=status,
        content=content or refusal,
        raw_reasoning=raw_reasoning,
        finish_reason=finish,
        returned_model=_text(document.get("model")),
        usage=usage,
        token_ids=tokens.token_ids,
        logprobs=tokens.logprobs,
        fidelity=_fidelity(message),
        flags=flags,
        error=tokens.missing,
        tool_calls=calls,
        reasoning_field=field or ("content" if inner is not None else ""),
        fingerprint=_text(document.get("system_fingerprint")),
        provider=_provider(document, message),
    )


def _provider(document: Fields, message: Fields) -> Fields:
    """What is kept of a reply besides its text; `signed` is what an interface of its own gave."""
    names = ("id", "system_fingerprint")
    found: Fields = {name: text for name in names if (text := _text(document.get(name)))}
    if details := kept(message.get("signed") or _details(message)):
        found["reasoning_details"] = list(details)
    return found


def _status(content: str, finish_reason: str, refusal: str, *, called: bool) -> Status:
    if refusal or finish_reason.partition(":")[0] in FILTERED:
        return "refused"
    if finish_reason in TRUNCATED:
        return "truncated"
    return "ok" if content.strip() or called else "empty"


def _content(value: Any) -> tuple[str, str | None, tuple[str, ...]]:
    """Text, thinking and flags of a message's content: a string, or a list of typed parts."""
    if value is None or isinstance(value, str):
        return value or "", None, ()
    if not isinstance(value, list):
        return "", None, ("parts_ignored",)
    text: list[str] = []
    thinking: list[str] = []
    ignored = False
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "output_text") and isinstance(part.get("text"), str):
            text.append(part["text"])
        elif kind in ("thinking", "reasoning"):
            thinking.append(_nested_text(part.get("thinking", part.get("text"))))
        else:
            ignored = True
    flags = ("parts_ignored",) if ignored else ()
    return "".join(text), "".join(thinking) if thinking else None, flags


def _nested_text(value: Any) -> str:
    if isinstance(value, list):
        return "".join(_text(part.get("text")) for part in value if isinstance(part, dict))
    return _text(value)


def _reasoning(message: Fields) -> tuple[str | None, str]:
    """The reasoning that came in a field of its own, and the field's name."""
    for name in REASONING_FIELDS:
        value = message.get(name)
        if isinstance(value, str) and value:
            return value, name
    texts = [part["text"] for part in _details(message) if isinstance(part.get("text"), str)]
    if texts:
        return "".join(texts), "reasoning_details"
    return None, next((name for name in REASONING_FIELDS if name in message), "")


def _fidelity(message: Fields) -> Fidelity:
    """Whether the reply itself says that its reasoning is a summary, or kept from us."""
    kinds = {_text(part.get("type")).rpartition(".")[2] for part in _details(message)}
    if "text" in kinds:
        return "full"
    return "summary" if "summary" in kinds else "hidden" if "encrypted" in kinds else "full"


def _details(message: Fields) -> list[Fields]:
    details = message.get("reasoning_details")
    return [d for d in details if isinstance(d, dict)] if isinstance(details, list) else []


def _usage(value: Any, text: str) -> Usage:
    """What the server counted; where it did not, four bytes of UTF-8 are taken for a token."""
    usage = _fields(value)
    completion = _count(usage.get("completion_tokens"))
    if not completion and text:
        estimate = math.ceil(len(text.encode(errors="replace")) / 4)
        return Usage(_count(usage.get("prompt_tokens")) or 0, estimate, source="estimated")
    spent = _fields(usage.get("completion_tokens_details"))
    read = _fields(usage.get("prompt_tokens_details"))
    reasoning = spent.get("reasoning_tokens", usage.get("reasoning_tokens"))
    cached = read.get("cached_tokens", usage.get("prompt_cache_hit_tokens"))
    return Usage(
        _count(usage.get("prompt_tokens")) or 0, completion or 0, _count(reasoning), _count(cached)
    )


def _count(value: Any) -> int | None:
    """A token count, None if it is not one (absent, negative, not a whole number)."""
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
    return int(value) if whole and 0 <= value < 2**53 else None


def _failure(http_status: int, headers: Mapping[str, str], error: str) -> Failure:
    kind = kind_of(http_status, headers)
    asked = retry_after_s(headers) if kind == "busy" else None
    return Failure(kind, "http_error", f"HTTP {http_status}: {error}", http_status, asked)


def _failure_inside(error: Any, headers: Mapping[str, str]) -> Failure:
    """The failure that a reply with status 200 carries in its body."""
    code = error.get("code") if isinstance(error, dict) else None
    status = int(code) if isinstance(code, int) and 400 <= code < 600 else 500
    inside = _failure(status, headers, sentence_of(error) or "an error without a text")
    error_line = inside.error if status == code else inside.error.partition(": ")[2]
    return msgspec.structs.replace(inside, error=f"error in a reply: {error_line}", http_status=200)


def _malformed(error: str, body: bytes) -> Failure:
    raw = body.decode(errors="replace")
    return Failure("broken", "malformed", error, 200, raw=raw, billable=True)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _fields(value: Any) -> Fields:
    return value if isinstance(value, dict) else {}
