"""Reasoning that a provider signed or encrypted, kept so that it can be sent back as it came.

One form for all, that of OpenRouter's `reasoning_details`: `reasoning.text` with a `signature`,
`reasoning.encrypted` with `data`, `reasoning.summary`; `format` says whose it is, `id` which item.
What is neither signed nor encrypted is in the trace already. A signature of Gemini belongs to a
call and stays in it, as `extra_content`, the form that Google's own chat-completions have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Detail = dict[str, Any]

ANTHROPIC, OPENAI, GEMINI = "anthropic-claude-v1", "openai-responses-v1", "google-gemini-v1"
NO_SIGNATURE = "skip_thought_signature_validator"
"""What Gemini takes for the signature of a call that it did not make itself."""


def kept(details: Iterable[Any]) -> tuple[Detail, ...]:
    """`details`, the pieces of a stream put together; none where nothing is signed."""
    whole: list[Detail] = []
    for detail in details:
        if not isinstance(detail, dict):
            continue
        same = ("type", "index", "id", "format")
        last = whole[-1] if whole else {}
        if (
            last
            and "index" in detail
            and all(detail.get(n) in (None, last.get(n)) for n in same if n in last or n in detail)
        ):
            for name, value in detail.items():
                text = isinstance(value, str) and name in ("text", "summary", "data", "signature")
                last[name] = str(last.get(name) or "") + value if text else last.get(name, value)
        else:
            whole.append(dict(detail))
    return tuple(whole) if any(d.get("signature") or d.get("data") for d in whole) else ()


def of_anthropic(blocks: Iterable[Detail]) -> list[Detail]:
    """The thinking blocks of a turn."""
    made: list[Detail] = []
    for block in blocks:
        if block.get("type") == "thinking" and block.get("signature"):
            told = {"text": block.get("thinking"), "signature": block["signature"]}
            made.append({"type": "reasoning.text", **told, "format": ANTHROPIC})
        elif block.get("type") == "redacted_thinking":
            made.append(
                {"type": "reasoning.encrypted", "data": block.get("data"), "format": ANTHROPIC}
            )
    return made


def to_anthropic(details: Sequence[Detail]) -> list[Detail]:
    """The same as blocks; those of others are left out, as they would be refused."""
    made: list[Detail] = []
    for detail in details:
        if detail.get("format") != ANTHROPIC:
            continue
        if detail.get("signature"):
            told = {"thinking": detail.get("text") or "", "signature": detail["signature"]}
            made.append({"type": "thinking", **told})
        elif detail.get("data"):
            made.append({"type": "redacted_thinking", "data": detail["data"]})
    return made


def of_responses(items: Iterable[Detail]) -> list[Detail]:
    """The reasoning items of a turn that carry encrypted content."""
    made: list[Detail] = []
    for item in items:
        if item.get("type") != "reasoning" or not item.get("encrypted_content"):
            continue
        about = {"id": item.get("id"), "format": OPENAI}
        parts = item.get("summary")
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and part.get("text"):
                made.append({"type": "reasoning.summary", "summary": part["text"], **about})
        made.append({"type": "reasoning.encrypted", "data": item["encrypted_content"], **about})
    return made


def to_responses(details: Sequence[Detail]) -> list[Detail]:
    """The same as items."""
    made: list[Detail] = []
    summary: list[Detail] = []
    for detail in details:
        if detail.get("format") != OPENAI:
            continue
        if detail.get("summary"):
            summary.append({"type": "summary_text", "text": detail["summary"]})
        elif detail.get("data"):
            item = {"type": "reasoning", "summary": summary, "encrypted_content": detail["data"]}
            made.append(item | ({"id": detail["id"]} if detail.get("id") else {}))
            summary = []
    return made


def signed_call(made: Detail, signature: Any) -> Detail:
    """A call with the signature that Gemini gave it."""
    if not isinstance(signature, str) or not signature:
        return made
    return {**made, "extra_content": {"google": {"thought_signature": signature}}}


def signature_of(made: Detail) -> str:
    """The signature that Gemini gave a call, empty where it has none."""
    extra = made.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    found = google.get("thought_signature") if isinstance(google, dict) else None
    return found if isinstance(found, str) else ""


def unsigned(made: Detail) -> Detail:
    """A call as those want it who know no signatures."""
    return {name: value for name, value in made.items() if name != "extra_content"}
