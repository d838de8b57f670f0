"""What is sent to a chat-completions endpoint, or to one with an API of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from traces.record import Message, Sampling
from traces.signed import unsigned
from traces.teachers import gemini_api, messages_api, responses_api
from traces.teachers.profile import Profile

GENERIC = Profile(title="any chat-completions server", as_of="")

Fields = dict[str, Any]


def chat_body(
    model: str,
    messages: Sequence[Message],
    sampling: Sampling,
    extra_body: Mapping[str, Any],
    profile: Profile = GENERIC,
    tools: Sequence[Fields] = (),
) -> bytes:
    """The JSON body of one request, as `profile` wants it.

    `tools` may be called; they are left out where the profile knows none. `sampling.extra` and then
    `extra_body` overrule what is built here, fields of an object one by one; a null in them takes a
    field out, as `{"seed": null}` does for an endpoint that does not know seeds.
    """
    body = _fields(model, messages, sampling, profile, tools if profile.tools else ())
    body |= dict.fromkeys(profile.omit)
    for more in (profile.body, sampling.extra, extra_body):
        _overrule(body, more)
    return msgspec.json.encode({name: value for name, value in body.items() if value is not None})


def _fields(
    model: str,
    messages: Sequence[Message],
    sampling: Sampling,
    profile: Profile,
    tools: Sequence[Fields],
) -> Fields:
    if profile.api == "gemini":
        return gemini_api.request_fields(messages, sampling, tools)
    if profile.api == "chat":
        return _chat_fields(model, messages, sampling, profile, tools)
    if profile.api == "messages":
        write = messages_api.request_fields
    else:
        write = responses_api.request_fields
    return write(model, messages, sampling, tools, stream=profile.stream)


def _chat_fields(
    model: str,
    messages: Sequence[Message],
    sampling: Sampling,
    profile: Profile,
    tools: Sequence[Fields],
) -> Fields:
    body: Fields = {
        "model": model,
        "messages": [_message(message, profile) for message in messages],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        profile.max_tokens_field: sampling.max_tokens,
        "seed": sampling.seed,
        "stream": profile.stream,
    }
    if profile.stream and profile.stream_usage:
        body["stream_options"] = {"include_usage": True}
    if tools:
        body["tools"] = list(tools)
    if sampling.top_logprobs:
        body |= {"logprobs": True, "top_logprobs": sampling.top_logprobs, **profile.logprobs_body}
    return body


def _overrule(body: Fields, more: Mapping[str, Any]) -> None:
    """Put `more` over `body`, in objects that both have field by field."""
    for name, value in more.items():
        known = body.get(name)
        if isinstance(known, dict) and isinstance(value, Mapping):
            body[name] = known = dict(known)
            _overrule(known, value)
            body[name] = {key: inner for key, inner in known.items() if inner is not None}
        else:
            body[name] = value


def _message(message: Message, profile: Profile) -> Fields:
    fields: Fields = {"role": message.role, "content": message.content}
    if message.name is not None:
        fields["name"] = message.name
    if message.reasoning is not None and profile.reasoning_history:
        fields[profile.reasoning_history] = message.reasoning
    if message.reasoning_details and profile.signatures:
        fields["reasoning_details"] = message.reasoning_details
    if message.tool_calls:
        calls = message.tool_calls
        fields["tool_calls"] = calls if profile.signatures else [unsigned(one) for one in calls]
    if message.tool_call_id is not None:
        fields["tool_call_id"] = message.tool_call_id
    return fields
