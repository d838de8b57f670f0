"""Conversations that somebody logged, as generations: one trace for each turn of the assistant.

A generation's prompt is all that came before it, tool results included, so a training row has the
turn alone as its target whatever a chat template does with history. The key of a generation names
the conversation and the turn. What follows the last generation is kept with it, so the log can be
put together again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from traces.keys import content_hash, prompt_id, trace_key
from traces.record import (
    Fidelity,
    Message,
    Prompt,
    Sampling,
    Status,
    TeacherRecord,
    Trace,
    Usage,
)
from traces.split import split


class Talk(msgspec.Struct, frozen=True):
    """One conversation. `about` is what the log says of it besides; `source` is `file:line`."""

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    about: dict[str, Any] = {}
    fidelity: Fidelity = "full"
    source: str = ""

    @property
    def id(self) -> str:
        """A hash of what was said; the source and the fidelity are no part of it."""
        return content_hash(["talk", self.messages, self.tools, self.about])


def generations(talk: Talk, teacher: TeacherRecord) -> Iterator[tuple[Prompt, Trace]]:
    """The turns of the assistant, each with its prompt, in order.

    Raises:
        ValueError: no turn of the assistant has something before it.
    """
    places = [i for i, m in enumerate(talk.messages) if m.role == "assistant" and i]
    if not places:
        raise ValueError("no turn of the assistant answers anything")
    for number, place in enumerate(places):
        before = talk.messages[:place]
        prompt = Prompt(
            prompt_id(before, None, talk.tools), before, source=talk.source, tools=talk.tools
        )
        origin: dict[str, Any] = {"conversation": talk.id, "turn": number, "turns": len(places)}
        if number == len(places) - 1:
            origin |= {"about": talk.about, "rest": talk.messages[place + 1 :]}
        yield prompt, _trace(talk, prompt, talk.messages[place], origin, teacher)


def _trace(
    talk: Talk, prompt: Prompt, turn: Message, origin: dict[str, Any], teacher: TeacherRecord
) -> Trace:
    finish = "tool_calls" if turn.tool_calls else "stop"
    parts = split(turn.content, turn.reasoning, "stop")
    blank = not (parts.answer or "").strip() and not turn.tool_calls
    status: Status = "empty" if blank else "ok"
    # How it was sampled is not known; the place in the log makes the key.
    sampling = Sampling(extra={name: origin[name] for name in ("conversation", "turn")})
    text = turn.content + (turn.reasoning or "") + json.dumps(turn.tool_calls)
    return Trace(
        key=trace_key(teacher, prompt.messages, sampling, 0),
        prompt_id=prompt.id,
        sample=0,
        attempt=1,
        status=status,
        teacher=teacher.id,
        sampling=sampling,
        content=turn.content,
        raw_reasoning=turn.reasoning,
        reasoning=parts.reasoning,
        answer=parts.answer,
        split=parts.method,
        flags=parts.flags,
        fidelity=talk.fidelity if parts.reasoning is not None else "full",
        finish_reason=finish,
        tool_calls=turn.tool_calls,
        provider=(
            {"reasoning_details": list(turn.reasoning_details)} if turn.reasoning_details else {}
        ),
        usage=Usage(completion=-(-len(text.encode(errors="replace")) // 4), source="estimated"),
        cost_micro_usd=0,
        returned_model=teacher.model,
        origin=msgspec.to_builtins(origin),
    )


def talks(pairs: Iterable[tuple[Prompt, Trace]]) -> Iterator[Talk]:
    """The conversations that logged traces are of; other traces are passed over.

    Each comes from its last generation, whose prompt holds everything before.
    """
    for prompt, trace in pairs:
        origin = trace.origin
        if "conversation" not in origin or origin["turn"] != origin["turns"] - 1:
            continue
        turn = Message(
            "assistant",
            trace.content,
            trace.raw_reasoning,
            tool_calls=trace.tool_calls,
            reasoning_details=tuple(trace.provider.get("reasoning_details", ())),
        )
        rest = msgspec.convert(origin.get("rest", ()), tuple[Message, ...])
        yield Talk(
            (*prompt.messages, turn, *rest),
            prompt.tools,
            origin.get("about", {}),
            trace.fidelity,
            prompt.source,
        )
