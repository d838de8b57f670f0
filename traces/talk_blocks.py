"""Turns made of typed blocks or items: Anthropic messages and OpenAI responses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from traces.record import Fidelity
from traces.signed import of_anthropic, of_responses
from traces.tool_calls import call

Row = dict[str, Any]
_TEXT = ("text", "input_text", "output_text", "refusal", "reasoning_text", "summary_text")


def text_of(content: Any) -> str:
    """The text of a string or of a list of text parts.

    Raises:
        ValueError: a part is something else, such as an image.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return json.dumps(content, ensure_ascii=False)
    parts = []
    for part in content:
        if isinstance(part, str):
            parts.append(part)
        elif isinstance(part, dict) and part.get("type", "text") in _TEXT:
            parts.append(str(part.get("text", part.get("refusal", ""))))
        else:
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise ValueError(f"a part of type {kind!r}, not text")
    return "".join(parts)


def anthropic_turns(row: Row) -> tuple[list[Row], bool]:
    """Chat turns of a log of Anthropic messages, and whether some thinking was withheld."""
    turns = row.get("messages")
    if not isinstance(turns, list):
        raise ValueError("no list `messages`")
    made: list[Row] = []
    hidden = False
    if row.get("system"):
        made.append({"role": "system", "content": text_of(row["system"])})
    for turn in turns:
        content = turn.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        if turn.get("role") == "assistant":
            signed = {"reasoning_details": of_anthropic(blocks)}
            made.append(_assistant(blocks) | (signed if signed["reasoning_details"] else {}))
            hidden |= any(b.get("type") == "redacted_thinking" for b in blocks)
        else:
            made += _user(blocks)
    return made, hidden


def _assistant(blocks: Iterable[Row]) -> Row:
    text, thinking, calls = "", "", []
    for block in blocks:
        kind = block.get("type")
        if kind == "text":
            text += block.get("text", "")
        elif kind == "thinking":
            thinking += block.get("thinking", "")
        elif kind == "tool_use":
            calls.append(call(block.get("name"), block.get("input", {}), block.get("id")))
        elif kind != "redacted_thinking":
            raise ValueError(f"a block of type {kind!r} in a turn of the assistant")
    turn: Row = {"role": "assistant", "content": text}
    return turn | ({"reasoning": thinking} if thinking else {}) | (
        {"tool_calls": calls} if calls else {}
    )  # fmt: skip


def _user(blocks: Iterable[Row]) -> list[Row]:
    made: list[Row] = []
    rest = []
    for block in blocks:
        if block.get("type") == "tool_result":
            text = text_of(block.get("content"))
            made.append({"role": "tool", "content": text, "tool_call_id": block.get("tool_use_id")})
        else:
            rest.append(block)
    return [*made, {"role": "user", "content": text_of(rest)}] if rest else made


def responses_turns(row: Row) -> tuple[list[Row], Fidelity]:
    """Chat turns of a log of response items, and how whole its reasoning is.

    Reasoning, message and calls that follow each other are one turn of the assistant.
    """
    items = row.get("items")
    if items is None:
        given = row.get("input", [])
        given = [{"role": "user", "content": given}] if isinstance(given, str) else given
        items = [*given, *(row.get("output") or [])]
    if not isinstance(items, list) or not items:
        raise ValueError("no list `items`, and no `input` and `output`")
    made: list[Row] = []
    fidelity: Fidelity = "full"
    if isinstance(row.get("instructions"), str) and row["instructions"]:
        made.append({"role": "system", "content": row["instructions"]})
    for item in items:
        kind = item.get("type", "message")
        if kind == "message" and item.get("role") != "assistant":
            made.append({"role": item.get("role"), "content": text_of(item.get("content"))})
        elif kind == "function_call_output":
            output = text_of(item.get("output"))
            made.append({"role": "tool", "content": output, "tool_call_id": item.get("call_id")})
        elif kind in ("message", "function_call", "reasoning"):
            fidelity = _join(made, item, kind, fidelity)
        else:
            raise ValueError(f"an item of type {kind!r}")
    return made, fidelity


def _join(made: list[Row], item: Row, kind: str, fidelity: Fidelity) -> Fidelity:
    """Add an item to the turn of the assistant that is open; opens one where none is."""
    turn = made[-1] if made and made[-1]["role"] == "assistant" else None
    said = turn is not None and (turn["content"] or turn.get("tool_calls"))
    if turn is None or (kind == "reasoning" and said):
        turn = {"role": "assistant", "content": ""}
        made.append(turn)
    if kind == "message":
        turn["content"] += text_of(item.get("content"))
    elif kind == "function_call":
        made_call = call(item.get("name"), item.get("arguments", ""), item.get("call_id"))
        turn["tool_calls"] = [*turn.get("tool_calls", []), made_call]
    else:
        whole, summary = text_of(item.get("content")), text_of(item.get("summary"))
        if text := whole or summary:
            turn["reasoning"] = turn.get("reasoning", "") + text
        if signed := of_responses([item]):
            turn["reasoning_details"] = [*turn.get("reasoning_details", []), *signed]
        if not whole and fidelity == "full":
            return "summary" if summary else "hidden"
    return fidelity
