"""Split a reply into reasoning and answer: pure, versioned, re-runnable on the raw text.

Some endpoints give the reasoning a field of its own, others leave it in the text between the
markers of `traces.split_families` or in the channels of `traces.split_harmony`. The rules:

- The last unquoted closing marker ends the thinking; earlier ones are part of it
  (`literal_close_tag`).
- A closing marker without an opening one closes thinking that the prompt opened (`open_missing`).
- Thinking that never closes is all reasoning and no answer (`unclosed`).
- A reply without any marker is all answer. That holds too where a template opens the thinking in
  the prompt and the token limit came before the closing marker: nothing in such a text tells.

The method of a split names its version, as in `inline_think@1`; change `SPLIT_VERSION` with the
rules.
"""

from __future__ import annotations

import re

import msgspec

from traces.split_families import FAMILIES, SPLIT_VERSION, Family
from traces.split_harmony import cut_harmony, cut_harmony_plain
from traces.split_pieces import Cut, Piece, quoted, unquoted, widened

_OPENING = re.compile("|".join(f"(?P<{one.name}>{one.open.pattern})" for one in FAMILIES))

FLAGS = (
    "open_missing",
    "literal_close_tag",
    "quoted_close_tag",
    "unclosed",
    "text_before_open",
    "answer_tags",
    "commentary",
    "also_inline",
    "empty_answer",
)
"""All that a split may say of a reply; `split` explains them."""


class Split(msgspec.Struct, frozen=True):
    """What a reply is made of.

    `reasoning` is None where there is none; `answer` is None where the thinking never closed.
    """

    reasoning: str | None
    answer: str | None
    method: str
    flags: tuple[str, ...] = ()


def split(content: str, raw_reasoning: str | None = None, finish_reason: str = "") -> Split:
    """Reasoning and answer of one reply.

    Args:
        content: The text as received.
        raw_reasoning: The text of the endpoint's own reasoning field, if it has one.
        finish_reason: `length` says that the token limit cut the reply off.

    Flags:
        open_missing: the prompt opened the thinking.
        literal_close_tag: closing tags inside the thinking.
        quoted_close_tag: the closing tag looks quoted, but there is no other and the teacher ended
            its turn by itself.
        unclosed: the thinking never ended, so there is no answer.
        text_before_open: the answer has text before the thinking.
        answer_tags: markers around the answer were taken off.
        commentary: a harmony channel that was counted as reasoning.
        also_inline: the reasoning came in the field and in the text.
        empty_answer: nothing but white space is left for the answer.
    """
    cut = cut_reply(content, finish_reason)
    if raw_reasoning is not None and raw_reasoning.strip():
        return _with_field(raw_reasoning, content, cut, finish_reason)
    answer = cut.joined("answer")
    flags = (*cut.flags, "empty_answer") if answer is not None and _blank(answer) else cut.flags
    return Split(cut.joined("reasoning"), answer, cut.method, flags)


def cut_reply(content: str, finish_reason: str = "") -> Cut:
    """The reply in pieces whose texts joined are `content`."""
    cut = cut_harmony(content) or cut_harmony_plain(content, finish_reason)
    if cut:
        return cut
    start = len(content) - len(content.lstrip())
    first = _OPENING.match(content, start)
    for family in FAMILIES:
        if first and first.lastgroup != family.name:
            continue
        opened = first and family.open.match(content, start)
        if (opened or not family.strict) and (
            cut := _cut_block(family, content, opened, finish_reason)
        ):
            return cut
    return Cut(f"none@{SPLIT_VERSION}", (Piece("answer", content),))


def _with_field(raw: str, content: str, cut: Cut, finish_reason: str) -> Split:
    """The split where the endpoint gave the reasoning apart."""
    method = f"field@{SPLIT_VERSION}"
    if _blank(content) and finish_reason == "length":
        return Split(raw.strip(), None, method, ("unclosed",))
    answer, flags = content, list[str]()
    if cut.method.startswith("inline") and (found := cut.joined("answer")) is not None:
        answer, rest = found, cut.joined("reasoning") or ""
        if "open_missing" in cut.flags and rest:
            # The server cut at a closing tag that the model only mentioned: the rest of the
            # thinking and the real tag are in the content.
            tag = next(piece.text.strip() for piece in cut.pieces if piece.kind == "marker")
            raw, flags = raw + tag + rest, ["literal_close_tag"]
        else:
            flags = ["also_inline"]
    if _blank(answer):
        flags.append("empty_answer")
    return Split(raw.strip(), _without_leading_blanks(answer), method, tuple(flags))


def _cut_block(
    family: Family, content: str, opened: re.Match[str] | None, finish_reason: str
) -> Cut | None:
    """The reply cut at one family's markers, None if it does not use them.

    `opened` is the opening marker where it is the first thing in the reply but white space.
    """
    every = family.closes(content, opened.end() if opened else 0)
    closes = [close for close in every if not quoted(content, *close.span())]
    if not opened and not closes:
        return None
    method, flags = f"inline_{family.name}@{SPLIT_VERSION}", list[str]()
    if not opened:
        opened = _late_opening(family, content, closes)
        flags.append("text_before_open" if opened else "open_missing")
    pieces = _opening_pieces(content, opened)
    at = sum(len(piece.text) for piece in pieces)
    if not closes and finish_reason == "stop":
        # The model ended its turn by itself, so one of the tags that look quoted was real.
        closes = [close for close in every if close.start() >= at][-1:]
        flags += ["quoted_close_tag"] * len(closes)
    if not closes or _reopened(family, content, closes[-1].end(), finish_reason):
        if "text_before_open" in flags:
            pieces, at = [], 0
        pieces.append(Piece("reasoning", content[at:]))
        return Cut(method, tuple(pieces), (*flags, "unclosed"))
    last = closes[-1]
    if any(at <= close.start() < last.start() for close in every):
        flags.append("literal_close_tag")
    start, end = widened(content, *last.span(), low=at)
    pieces += [Piece("reasoning", content[at:start]), Piece("marker", content[start:end])]
    answer = _unwrapped(family, content[end:])
    if len(answer) > 1:
        flags.append("answer_tags")
    return Cut(method, (*pieces, *answer), tuple(flags))


def _late_opening(
    family: Family, content: str, closes: list[re.Match[str]]
) -> re.Match[str] | None:
    """The opening marker of thinking that has text before it, None where the prompt opened it.

    A closing marker that comes first closes what the prompt opened; the opening one after it is
    only mentioned.
    """
    first = next(unquoted(family.open, content), None)
    return first if first and first.end() <= closes[0].start() else None


def _opening_pieces(content: str, opened: re.Match[str] | None) -> list[Piece]:
    """What stands before the thinking: text that counts as answer, and the opening marker."""
    if not opened:
        return []
    start, end = widened(content, *opened.span())
    before = [Piece("answer", content[:start])] if start else []
    return [*before, Piece("marker", content[start:end])]


def _reopened(family: Family, content: str, at: int, finish_reason: str) -> bool:
    """Whether a second block was being written when the token limit came."""
    return finish_reason == "length" and any(unquoted(family.open, content, at))


def _unwrapped(family: Family, answer: str) -> list[Piece]:
    """The answer, with the markers that fence it taken off if they do so whole."""
    if family.wrap is None:
        return [Piece("answer", answer)]
    opening, closing = family.wrap
    body = answer.rstrip()
    if not answer.lstrip().startswith(opening) or body.count(closing) > 1:
        return [Piece("answer", answer)]
    at = widened(answer, 0, answer.index(opening) + len(opening))[1]
    if not body.endswith(closing):
        if closing in body:
            return [Piece("answer", answer)]
        return [Piece("marker", answer[:at]), Piece("answer", answer[at:])]
    end = max(at, widened(answer, len(body) - len(closing), len(body), low=at)[0])
    return [
        Piece("marker", answer[:at]),
        Piece("answer", answer[at:end]),
        Piece("marker", answer[end:]),
    ]


def _without_leading_blanks(text: str) -> str:
    """`text` from its first line that is not blank."""
    return re.sub(r"\A(?:[ \t]*\r?\n)+", "", text) if text.strip() else ""


def _blank(text: str) -> bool:
    return not text.strip()
