"""Logs of conversations as other tools write them, to `traces.talks.Talk` and back.

`openai`: chat messages with `tool_calls`; `sharegpt`: `from`/`value` turns; `anthropic`: content
blocks; `responses`: items of the OpenAI Responses and Agents interfaces; `swe-agent`: trajectories,
of which the `history` is taken; `openhands`: events, from a `history` or `trajectory`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from traces.conversations import parse_messages
from traces.record import Fidelity, Message
from traces.talk_blocks import anthropic_turns, responses_turns, text_of
from traces.talk_openhands import openhands_turns
from traces.talks import Talk

Row = dict[str, Any]


def openai(row: Row) -> Talk:
    """A row with `messages` and perhaps `tools`."""
    turns = row.get("messages")
    if not isinstance(turns, list):
        raise ValueError("no list `messages`")
    return Talk(_turns(map(_modern, turns)), _tools(row), _about(row, "messages"))


def sharegpt(row: Row) -> Talk:
    """A row with `conversations` of `from` and `value`, `function_call` and `observation` too."""
    turns = row.get("conversations")
    if not isinstance(turns, list):
        raise ValueError("no list `conversations`")
    made: list[Row] = []
    if isinstance(row.get("system"), str) and row["system"]:
        made.append({"role": "system", "content": row["system"]})
    for turn in turns:
        name, value = turn.get("from"), turn.get("value")
        if name == "function_call":
            calls = _json(value, "a function_call")
            calls = calls if isinstance(calls, list) else [calls]
            made.append(
                {"role": "assistant", "content": "", "tool_calls": [_call(c) for c in calls]}
            )
        elif name in ("observation", "tool", "function_response"):
            made.append({"role": "tool", "content": value})
        else:
            made.append(turn)
    return Talk(_turns(made), _tools(row), _about(row, "conversations", "system"))


def anthropic(row: Row) -> Talk:
    """A row with `messages` of content blocks and perhaps `system` and `tools`.

    Thinking of these models is a summary since Claude 4, and nothing in a log says which it is, so
    it counts as one.
    """
    made, hidden = anthropic_turns(row)
    messages = _turns(made)
    tools = tuple(
        {"type": "function", "function": {
            "name": tool.get("name"), "description": tool.get("description", ""),
            "parameters": tool.get("input_schema", {})}}
        for tool in row.get("tools") or ()
    )  # fmt: skip
    fidelity: Fidelity = "summary" if any(m.reasoning for m in messages) else "full"
    about = _about(row, "messages", "system")
    return Talk(messages, tools, about, "hidden" if hidden else fidelity)


def responses(row: Row) -> Talk:
    """A row with `items`, or with `input` and `output`, and perhaps `instructions` and `tools`."""
    made, fidelity = responses_turns(row)
    tools = tuple(
        {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}
        if tool.get("type") == "function" and "function" not in tool
        else tool
        for tool in row.get("tools") or ()
    )
    return Talk(
        _turns(made), tools, _about(row, "items", "input", "output", "instructions"), fidelity
    )


def swe_agent(row: Row) -> Talk:
    """A trajectory of SWE-agent: its `history`, and what `info` says of the outcome."""
    turns = row.get("history")
    if not isinstance(turns, list):
        raise ValueError("no list `history`")
    made = []
    for turn in turns:
        kept = {k: turn[k] for k in ("role", "content", "tool_calls") if turn.get(k) is not None}
        ids = turn.get("tool_call_ids") or [turn.get("tool_call_id")]
        if turn.get("role") == "tool" and ids[0]:
            kept["tool_call_id"] = ids[0]
        made.append(kept)
    about: Row = {k: row[k] for k in ("environment", "instance_id") if k in row}
    if isinstance(row.get("info"), dict):
        about |= {k: v for k, v in row["info"].items() if k in ("exit_status", "submission")}
    return Talk(_turns(made), _tools(row), about)


def openhands(row: Row) -> Talk:
    """A run of OpenHands: its events, and what the row says of the outcome."""
    made, tools, fidelity = openhands_turns(row.get("history", row.get("trajectory")))
    known = ("instance_id", "resolved", "error", "report", "test_result")
    return Talk(_turns(made), tuple(tools), {k: row[k] for k in known if k in row}, fidelity)


FORMATS: dict[str, Callable[[Row], Talk]] = {
    "openai": openai,
    "sharegpt": sharegpt,
    "anthropic": anthropic,
    "responses": responses,
    "swe-agent": swe_agent,
    "openhands": openhands,
}


def openai_row(talk: Talk) -> Row:
    """The row that `openai` reads as `talk`."""
    row: Row = {"messages": [message_dict(m) for m in talk.messages]}
    return {**row, **({"tools": list(talk.tools)} if talk.tools else {}), **talk.about}


def message_dict(message: Message) -> Row:
    """A message as chat-completions has it, with `reasoning_content`."""
    fields: Row = {"role": message.role, "content": message.content}
    more = {
        "reasoning_content": message.reasoning,
        "name": message.name,
        "tool_calls": list(message.tool_calls) or None,
        "tool_call_id": message.tool_call_id,
        "reasoning_details": list(message.reasoning_details) or None,
    }
    return fields | {name: value for name, value in more.items() if value is not None}


def _turns(turns: Any) -> tuple[Message, ...]:
    return parse_messages([{**t, "content": text_of(t.get("content", t.get("value")))}
                           if isinstance(t, dict) else t for t in turns])  # fmt: skip


def _modern(turn: Any) -> Any:
    """A turn without the names that functions had before tools."""
    if not isinstance(turn, dict):
        return turn
    turn = dict(turn)
    if isinstance(call := turn.pop("function_call", None), dict):
        turn["tool_calls"] = [{"type": "function", "function": call}]
    if turn.get("role") == "function":
        turn["role"] = "tool"
    return turn


def _call(call: Any) -> Row:
    if not isinstance(call, dict) or "name" not in call:
        raise ValueError("a function_call without a name")
    arguments = call.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"type": "function", "function": {"name": call["name"], "arguments": text}}


def _tools(row: Row) -> tuple[Row, ...]:
    tools = row.get("tools")
    if isinstance(tools, str):
        tools = _json(tools, "`tools`") if tools.strip() else None
    if tools is None:
        return ()
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise ValueError("`tools` is not a list of objects")
    return tuple(tools)


def _json(text: Any, what: str) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError as error:
        raise ValueError(f"{what} is not JSON: {error}") from error


def _about(row: Row, *taken: str) -> Row:
    """What the row holds besides the conversation."""
    return {name: value for name, value in row.items() if name not in (*taken, "tools")}
