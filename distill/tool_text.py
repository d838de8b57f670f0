"""Tool calls as the student's own chat template writes them, with proof that it does."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from traces.errors import DataError
from traces.models.load import render_turns
from traces.record import Message, Prompt, Trace

MARK = "\u241fhere\u241f"
"""Stands for a turn's content, so that what the template writes behind it can be found."""


class Written(NamedTuple):
    """The text of the calls, or the reason why there is none that could be trained."""

    text: str
    reason: str = ""


def call_text(tokenizer: Any, prompt: Prompt, trace: Trace, end_of_turn: int) -> Written:
    """What the template writes for the tool calls of a trace, behind its content.

    Reasons: `tools_not_rendered`, the template does not show the tools of the prompt;
    `calls_not_rendered`, it does not write the calls, or not with all their arguments;
    `calls_end_otherwise`, it ends such a turn with another token than the student's turns.
    """
    if prompt.tools and not _shows_tools(tokenizer, prompt):
        return Written("", "tools_not_rendered")
    if not trace.tool_calls:
        return Written("")
    content = trace.answer or ""
    turn = Message("assistant", MARK if content.strip() else "", tool_calls=trace.tool_calls)
    try:
        before = render_turns(tokenizer, prompt.messages, prompt.tools, add_generation_prompt=True)
        whole = render_turns(tokenizer, (*prompt.messages, turn), prompt.tools)
    except DataError:
        return Written("", "calls_not_rendered")
    start = before if not content.strip() else whole[: whole.rfind(MARK) + len(MARK)]
    behind = whole[len(start) :]
    if not whole.startswith(start) or (content.strip() and MARK not in whole):
        return Written("", "calls_not_rendered")
    text, ended, _ = behind.rpartition(tokenizer.decode([end_of_turn]))
    if not ended:
        return Written("", "calls_end_otherwise")
    if not all(_carries(text, call) for call in trace.tool_calls):
        return Written("", "calls_not_rendered")
    return Written(text)


def arguments_of(trace: Trace) -> str:
    """The arguments of all calls, as the model wrote them."""
    functions = [call.get("function", call) for call in trace.tool_calls]
    return "\n".join(str(function.get("arguments", "")) for function in functions)


def _shows_tools(tokenizer: Any, prompt: Prompt) -> bool:
    """Whether the rendered prompt names every tool, and does so because it was given them."""
    given = render_turns(tokenizer, prompt.messages, prompt.tools)
    if given == render_turns(tokenizer, prompt.messages):
        return False
    names = [tool.get("function", tool).get("name") for tool in prompt.tools]
    return all(str(name) in given for name in names)


def _carries(text: str, call: dict[str, Any]) -> bool:
    """Whether the text of calls holds the name and every argument of one."""
    function = call.get("function", call)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return False
    return str(function.get("name")) in text and all(_in(text, leaf) for leaf in _leaves(arguments))


def _in(text: str, leaf: Any) -> bool:
    if isinstance(leaf, str):
        forms = (leaf, json.dumps(leaf)[1:-1], json.dumps(leaf, ensure_ascii=False)[1:-1])
        return any(form in text for form in forms)
    return json.dumps(leaf) in text or str(leaf) in text


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in (key, *_leaves(item))]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]
