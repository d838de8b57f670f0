"""Tool calls and tools in the one form that traces keep: that of chat-completions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Fields = dict[str, Any]


def call(name: Any, arguments: Any, id_: Any = None) -> Fields:
    """A call; `arguments` is the text that the model wrote, or what that text says."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    made: Fields = {"type": "function", "function": {"name": str(name), "arguments": text}}
    return made if id_ is None else {"id": str(id_), **made}


def function_of(tool: Mapping[str, Any]) -> Fields:
    """Name, description and parameters of a tool."""
    inner = tool.get("function")
    return dict(inner) if isinstance(inner, dict) else {k: tool[k] for k in tool if k != "type"}


def arguments_of(made: Mapping[str, Any]) -> Fields:
    """A call's arguments as an object, for interfaces that want one.

    What is no object is sent under the name `arguments`, so that nothing of history is lost.
    """
    text = function_of(made).get("arguments")
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        value = text
    if isinstance(value, dict):
        return value
    return {} if value in (None, "") else {"arguments": value}


def read_calls(given: Any) -> tuple[tuple[Fields, ...], tuple[str, ...]]:
    """The calls of a message, and flags: `tool_calls`, and what is wrong with them.

    A call's arguments stay as they came: `tool_arguments_broken` marks those that are no JSON
    object. What is no call of a function by name is left out, and marked `tool_calls_ignored`.
    """
    if not given:
        return (), ()
    rows = given if isinstance(given, list) else [given]
    calls = tuple(row for row in rows if _named(row))
    flags = ["tool_calls"]
    if len(calls) < len(rows):
        flags.append("tool_calls_ignored")
    if not all(_sound(made["function"].get("arguments")) for made in calls):
        flags.append("tool_arguments_broken")
    return calls, tuple(flags)


def names_by_id(messages: Sequence[Any]) -> dict[str, str]:
    """What was called under which id in a conversation's messages."""
    return {
        str(made["id"]): str(function_of(made).get("name"))
        for message in messages
        for made in message.tool_calls
        if made.get("id") is not None
    }


def _named(row: Any) -> bool:
    function = row.get("function") if isinstance(row, dict) else None
    return isinstance(function, dict) and bool(function.get("name"))


def _sound(arguments: Any) -> bool:
    try:
        value = json.loads(arguments) if isinstance(arguments, str) and arguments else {}
    except ValueError:
        return False
    return isinstance(value, dict)
