"""Conversations as datasets write them: OpenAI messages or ShareGPT turns, to our messages."""

from __future__ import annotations

from typing import Any

from traces.record import Message
from traces.signed import kept

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "tool": "tool",
}
_REASONING = ("reasoning_content", "reasoning", "thinking")


def parse_messages(value: Any) -> tuple[Message, ...]:
    """The messages of a question: a text, or a list of `role`/`content` or `from`/`value` turns.

    Raises:
        ValueError: it is neither, or a turn is of a kind that has no text.
    """
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("the question is empty")
        return (Message("user", value),)
    if not isinstance(value, list):
        raise ValueError(f"the question is of type {type(value).__name__}, not a text")
    if not value:
        raise ValueError("the conversation is empty")
    return tuple(_message(turn, number) for number, turn in enumerate(value, 1))


def before_reply(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """`messages` up to the last turn of the user: what a model is to answer.

    Raises:
        ValueError: the user says nothing.
    """
    last = max((i for i, m in enumerate(messages) if m.role == "user"), default=None)
    if last is None:
        raise ValueError("the conversation has no turn of the user")
    return messages[: last + 1]


def _message(turn: Any, number: int) -> Message:
    if not isinstance(turn, dict):
        raise ValueError(f"turn {number} is not an object with role and content")
    named = turn.get("role", turn.get("from"))
    role = _ROLES.get(str(named).lower())
    if role is None:
        raise ValueError(f"turn {number} has the role {named!r}, not one of {', '.join(_ROLES)}")
    content = _text(turn.get("content", turn.get("value")), number)
    reasoning = next((turn[name] for name in _REASONING if isinstance(turn.get(name), str)), None)
    calls = turn.get("tool_calls") or ()
    if not content and reasoning is None and not calls and role != "tool":
        raise ValueError(f"turn {number} ({role}) is empty")
    given = turn.get("reasoning_details")
    return Message(
        role,
        content,
        reasoning,
        turn.get("name"),
        tuple(calls),
        turn.get("tool_call_id"),
        kept(given) if isinstance(given, list) else (),
    )


def _text(content: Any, number: int) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" for part in content
    ):
        return "".join(str(part.get("text", "")) for part in content)
    raise ValueError(f"turn {number} holds something other than text")
