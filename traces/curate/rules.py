"""Rules that look at one trace: its status, its structure, its length, its loops."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from traces.curate.tokens import Vocabulary
from traces.record import Trace

LOOP_NGRAM = 10
_TAIL_KEY = 64  # characters of the tail that must recur before a period is measured
_TAIL_TRIES = 64
_TAIL_REPEATS = 3


class Finding(NamedTuple):
    """A rule that a trace breaks, the value measured and the threshold it broke."""

    rule: str
    value: float | str | None = None
    threshold: float | str | None = None


def trace_text(trace: Trace) -> str:
    """Reasoning, answer and tool calls, one after the other."""
    calls = [str(call.get("function", call)) for call in trace.tool_calls]
    return "\n".join(part for part in (trace.reasoning, trace.answer, *calls) if part)


def status(trace: Trace) -> Finding | None:
    """The teacher did not answer."""
    if trace.status in ("ok", "truncated"):
        return None
    return Finding("status", trace.status, "ok")


def truncated(trace: Trace) -> Finding | None:
    """The teacher ran into its token limit."""
    if trace.status == "truncated" or trace.finish_reason == "length":
        return Finding("truncated", trace.finish_reason or trace.status)
    return None


def unclosed_thinking(trace: Trace) -> Finding | None:
    """The thinking began and never ended, so there is no answer part."""
    return Finding("unclosed_thinking") if trace.answer is None else None


def empty(trace: Trace) -> Finding | None:
    """The answer part is blank, and no tool is called."""
    if trace.answer is not None and not trace.answer.strip() and not trace.tool_calls:
        return Finding("empty", 0.0, 1.0)
    return None


def missing_reasoning(trace: Trace) -> Finding | None:
    """There is no reasoning apart from the answer."""
    return None if (trace.reasoning or "").strip() else Finding("missing_reasoning")


def length(count: int, min_tokens: int, max_tokens: int | None) -> Finding | None:
    """The trace has fewer or more canonical tokens than allowed."""
    if count < min_tokens:
        return Finding("too_short", float(count), float(min_tokens))
    if max_tokens is not None and count > max_tokens:
        return Finding("too_long", float(count), float(max_tokens))
    return None


def periodic_tail(text: str) -> int:
    """Length in characters of the longest ending that is one unit, three times or more over.

    White space at the very end is not counted. 0 where there is none. Endings under 96 characters
    are not seen: the unit is looked for by where the last 64 characters stood before.
    """
    text = text.rstrip()
    size = len(text)
    key = text[-_TAIL_KEY:]
    characters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    longest, before = 0, size - len(key)
    for _ in range(_TAIL_TRIES):
        before = text.rfind(key, 0, before + len(key) - 1) if before else -1
        if before < 0:
            break
        period = size - len(key) - before
        differs = (characters[period:] != characters[: size - period])[::-1]
        same = int(differs.argmax()) if differs.any() else size - period
        if same + period >= _TAIL_REPEATS * period:
            longest = max(longest, same + period)
    return longest


def loop_tail(text: str, limit: int) -> Finding | None:
    """The text ends in a loop of at least `limit` characters."""
    found = periodic_tail(text)
    return Finding("loop_tail", float(found), float(limit)) if found >= limit else None


def repeated_share(found: list[str], n: int = LOOP_NGRAM) -> float:
    """Share of the n-grams that repeat an earlier one: 0 for a text without any, or under n."""
    hashes = Vocabulary().ngrams(found, n)
    return 1.0 - len(np.unique(hashes)) / len(hashes) if len(hashes) else 0.0


def loop_ngrams(found: list[str], limit: float) -> Finding | None:
    """Too many of the text's 10-grams repeat an earlier one."""
    share = repeated_share(found)
    return Finding("loop_ngrams", round(share, 4), limit) if share >= limit else None
