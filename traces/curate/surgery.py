r"""Edits of traces: each recorded with what it replaced, so that it can be undone.

The stored trace is never changed. An edited one is a new record without the teacher's token ids
and logprobs, which are of other tokens, and with the flag `edited`.

secrets       provider tokens and private keys are masked
personal      e-mail addresses and phone numbers with a country code are masked
loops         of a periodic ending of 400 characters or more one unit stays
after_answer  what follows the sentence with the last \boxed is cut
boilerplate   openings such as "Sure!" and closings such as "I hope this helps" are cut
identity      sentences in which the teacher says who made it are cut
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import msgspec

from traces.curate.secrets import personal, secrets
from traces.record import Trace

FLAG = "edited"
_LOOP_CHARS = 400

Span = tuple[int, int, str]

_OPENING = re.compile(
    r"\A\s*(?:Sure|Certainly|Of course|Absolutely|Great question)\b[^\n.!:]{0,80}[.!:]\s+"
)
_CLOSING = re.compile(
    r"\s*(?:I hope (?:this|that) helps|Let me know if you|Feel free to ask|"
    r"If you have any (?:other |more |further )?questions)[^\n]{0,160}\s*\Z"
)
_IDENTITY = re.compile(
    r"(?:(?<=[.!?\n])|\A)[^.!?\n]*\b(?:"
    r"[Aa]s an AI(?: language)? model|I(?:'m| am) (?:ChatGPT|Claude|Gemini|DeepSeek|Qwen|Llama|"
    r"an AI (?:assistant|language model))|(?:trained|developed|created|made) by (?:OpenAI|"
    r"Anthropic|Google|Meta|Alibaba|DeepSeek|Mistral)|[Mm]y knowledge cut-?off)\b"
    r"[^.!?\n]*[.!?]?"
)


class Edit(msgspec.Struct, frozen=True, omit_defaults=True):
    """In `part` (reasoning or answer) `original` stood at `start`; `replacement` stands there now.

    `start` counts characters of the original part.
    """

    key: str
    part: str
    start: int
    rule: str
    original: str
    replacement: str = ""


def edit(trace: Trace, rules: Sequence[str]) -> tuple[Trace, list[Edit]]:
    """The trace after the surgery of `rules`, and what was done; itself where nothing was."""
    parts = {"reasoning": trace.reasoning or "", "answer": trace.answer or ""}
    edits: list[Edit] = []
    for name, text in parts.items():
        edits += _edits(trace.key, name, text, rules)
    if not edits:
        return trace, []
    changed = {name: apply(text, _of(edits, name)) for name, text in parts.items()}
    reasoning = None if trace.reasoning is None else changed["reasoning"]
    answer = None if trace.answer is None else changed["answer"]
    content, raw = _whole(trace, edits, reasoning, answer)
    return msgspec.structs.replace(
        trace,
        content=content,
        raw_reasoning=raw,
        reasoning=reasoning,
        answer=answer,
        token_ids=None,
        logprobs=None,
        flags=(*trace.flags, FLAG),
    ), edits


def apply(text: str, edits: Sequence[Edit]) -> str:
    """`text` with `edits`, which are in order and do not overlap."""
    for one in reversed(edits):
        text = text[: one.start] + one.replacement + text[one.start + len(one.original) :]
    return text


def undo(text: str, edits: Sequence[Edit]) -> str:
    """What `apply` was given."""
    for one in edits:
        text = text[: one.start] + one.original + text[one.start + len(one.replacement) :]
    return text


def _of(edits: Sequence[Edit], part: str) -> list[Edit]:
    return [one for one in edits if one.part == part]


def _whole(
    trace: Trace, edits: list[Edit], reasoning: str | None, answer: str | None
) -> tuple[str, str | None]:
    """Content and reasoning field: as received but for the edits where their parts are found."""
    if trace.raw_reasoning is not None:
        return answer or "", reasoning
    content = trace.content
    for name, old, new in (
        ("answer", trace.answer, answer),
        ("reasoning", trace.reasoning, reasoning),
    ):
        if old and _of(edits, name):
            at = content.rfind(old) if name == "answer" else content.find(old)
            if at < 0:  # the parts were cleaned when they were split: the markers come anew
                return answer or "", reasoning
            content = content[:at] + (new or "") + content[at + len(old) :]
    return content, None


def _edits(key: str, part: str, text: str, rules: Sequence[str]) -> list[Edit]:
    found: list[tuple[int, int, str, str]] = []
    for rule in rules:
        if part == "reasoning" and rule in _ANSWER_ONLY:
            continue
        found += [(start, end, mask, rule) for start, end, mask in RULES[rule](text)]
    edits, last = [], 0
    for start, end, mask, rule in sorted(found, key=lambda span: (span[0], -span[1])):
        if start >= last and end > start:
            edits.append(Edit(key, part, start, rule, text[start:end], mask))
            last = end
    return edits


def _loops(text: str) -> Iterator[Span]:
    from traces.curate.scan import measure

    tail = measure(text).tail
    if tail < _LOOP_CHARS:
        return
    end = len(text.rstrip())
    looped = text[end - tail : end]
    unit = looped.find(looped[: tail // 2], 1)
    if unit > 0:
        yield end - tail + unit, len(text), ""


def _after_answer(text: str) -> Iterator[Span]:
    at = text.rfind("\\boxed{")
    if at < 0:
        return
    depth, end = 0, at + len("\\boxed")
    while end < len(text):
        depth += (text[end] == "{") - (text[end] == "}")
        end += 1
        if depth == 0:
            break
    stop = re.compile(r"[.!]?(?:\\\]|\\\)|\$\$?)?[.!]?").match(text, end)
    end = stop.end() if stop else end
    if depth == 0 and text[end:].strip():
        yield end, len(text), ""


def _boilerplate(text: str) -> Iterator[Span]:
    for pattern in (_OPENING, _CLOSING):
        if (match := pattern.search(text)) and match.end() - match.start() < len(text):
            yield match.start(), match.end(), ""


def _identity(text: str) -> Iterator[Span]:
    for match in _IDENTITY.finditer(text):
        yield match.start(), match.end(), ""


RULES: dict[str, Callable[[str], Iterator[Span]]] = {
    "secrets": secrets,
    "personal": personal,
    "loops": _loops,
    "after_answer": _after_answer,
    "boilerplate": _boilerplate,
    "identity": _identity,
}
_ANSWER_ONLY = frozenset(("after_answer", "boilerplate"))
