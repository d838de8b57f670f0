"""Questions about passages, written by a teacher, each with the place that answers it.

The teacher's replies are ordinary traces in a store of their own, so an interrupted generation goes
on where it was, and what was asked is never paid for twice. Questions are read from the store by
pure functions: the same store always gives the same prompts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from traces.documents import Passage
from traces.keys import prompt_id
from traces.prompts import looks_mathematical
from traces.record import Message, Prompt, Reference, Trace

VERSION = "questions@1"
REQUEST = """\
Below is a passage from a document. Write {count} questions about it for a specialist's exam.

Each question must be answerable from the passage alone, must make sense to somebody who does not \
see the passage (name what it is about; never write "the passage" or "the text"), and must ask for \
something different from the others. Prefer questions that need a step of reasoning.

Reply with a JSON list and nothing else. Each item is an object with three strings:
"question"; "answer", as short as it can be; "quote", the words of the passage that prove the \
answer, copied exactly.

Passage:
{passage}"""
HIDDEN = "Answer from this passage of {document}, without mentioning it:\n\n{passage}"
SHOWN = "{passage}\n\n{question}"
TALKS_OF_PASSAGE = re.compile(r"\b(?:the|this) (?:passage|text|excerpt|document above)\b", re.I)


class Question(NamedTuple):
    """One question; `quote` is the span of the words that answer it, in the document."""

    text: str
    answer: str
    quote: tuple[int, int]


class QuestionCounts(msgspec.Struct, omit_defaults=True):
    """What became of the replies: `written` = questions + the dropped ones."""

    passages: int = 0
    unanswered: int = 0  # passages without a usable reply
    unreadable: int = 0  # replies that are no list of questions
    written: int = 0
    incomplete: int = 0  # no text of the question, its answer or the quote
    without_quote: int = 0  # the quote is not in the passage
    about_passage: int = 0  # speaks of the passage, which the student does not see
    duplicates: int = 0
    questions: int = 0


def request_prompts(passages: Iterable[Passage], per_passage: int) -> list[Prompt]:
    """What the teacher is asked: one prompt for each passage, equal passages once."""
    found: dict[str, Prompt] = {}
    for passage in passages:
        text = REQUEST.format(count=per_passage, passage=passage.text)
        messages = (Message("user", text),)
        where = {"document": passage.document, "document_sha": passage.document_sha}
        prompt = Prompt(
            prompt_id(messages, None),
            messages,
            source=f"{passage.document}:{passage.start}-{passage.end}",
            metadata={**where, "span": [passage.start, passage.end], "by": VERSION},
        )
        found.setdefault(prompt.id, prompt)
    return list(found.values())


def read_questions(
    replies: Iterable[tuple[Passage, Trace | None]],
    *,
    passage: Literal["hidden", "shown", "none"],
    verifier: Literal["none", "auto", "text"],
    near_duplicate: float,
    instruction: str = "",
    domain: str = "",
    limit: int | None = None,
) -> tuple[list[Prompt], QuestionCounts]:
    """The prompts that the teacher's replies to `request_prompts` hold, and what became of all.

    Args:
        replies: Each passage with the trace that answers it, None where there is none.
        passage: Who sees the passage with the question.
        verifier: `none` makes prompts without a reference.
        near_duplicate: Of questions this similar only the first stays.
        instruction: Added after each question.
        domain: Kept with each prompt.
        limit: How many at most.
    """
    counts = QuestionCounts()
    found: list[tuple[Passage, Trace, Question]] = []
    for where, trace in replies:
        counts.passages += 1
        if trace is None or trace.status not in ("ok", "truncated"):
            counts.unanswered += 1
            continue
        items = parse_reply(trace.answer or "")
        counts.unreadable += items is None
        for item in items or ():
            counts.written += 1
            if not all(item.values()):
                counts.incomplete += 1
                continue
            span = find_quote(where, item["quote"])
            if span is None:
                counts.without_quote += 1
            elif passage != "shown" and TALKS_OF_PASSAGE.search(item["question"]):
                counts.about_passage += 1
            else:
                found.append((where, trace, Question(item["question"], item["answer"], span)))
    kept = _distinct([question.text for _, _, question in found], near_duplicate)
    counts.duplicates = len(found) - len(kept)
    prompts: dict[str, Prompt] = {}
    for index in kept:
        where, trace, question = found[index]
        prompt = _prompt(where, trace, question, passage, verifier, instruction, domain)
        prompts.setdefault(prompt.id, prompt)
    counts.duplicates += len(kept) - len(prompts)
    counts.questions = len(prompts)
    return list(prompts.values())[:limit], counts


def parse_reply(text: str) -> list[Mapping[str, str]] | None:
    """The items of a reply, None where it holds no list; what an item lacks is empty."""
    start = text.find("[")
    while start >= 0:
        try:
            value, _ = json.JSONDecoder().raw_decode(text[start:])
        except ValueError:
            value = None
        if isinstance(value, list) and any(isinstance(item, dict) for item in value):
            return [_stripped(item) for item in value if isinstance(item, dict)]
        start = text.find("[", start + 1)
    return None


def _stripped(item: dict[str, Any]) -> dict[str, str]:
    return {name: str(item.get(name) or "").strip() for name in ("question", "answer", "quote")}


def find_quote(passage: Passage, quote: str) -> tuple[int, int] | None:
    """Where in the document the words of `quote` stand; white space and quote marks are free."""
    words = re.sub(r"^[\s\"'“”]+|[\s\"'“”.…]+$", "", quote).split()
    if not words:
        return None
    pattern = r"\s+".join(map(re.escape, words))
    match = re.search(pattern, passage.text) or re.search(pattern, passage.text, re.IGNORECASE)
    return (passage.start + match.start(), passage.start + match.end()) if match else None


def _distinct(texts: Sequence[str], threshold: float) -> list[int]:
    from traces.curate.dedup import distinct_texts

    return distinct_texts(texts, threshold)


def _prompt(
    passage: Passage,
    trace: Trace,
    question: Question,
    who: str,
    verifier: str,
    instruction: str,
    domain: str,
) -> Prompt:
    text = question.text
    if who == "shown":
        text = SHOWN.format(passage=passage.text, question=text)
    if instruction:
        text = f"{text}\n\n{instruction}"
    messages = (Message("user", text),)
    reference = None
    if verifier != "none":
        mathematical = verifier == "auto" and looks_mathematical(question.answer)
        reference = Reference("math" if mathematical else "text", question.answer)
    shown = HIDDEN.format(document=passage.document, passage=passage.text)
    return Prompt(
        prompt_id(messages, reference),
        messages,
        reference,
        domain,
        f"{passage.document}:{question.quote[0]}-{question.quote[1]}",
        hidden=(Message("system", shown),) if who == "hidden" else (),
        metadata={
            "document": passage.document,
            "document_sha": passage.document_sha,
            "span": [passage.start, passage.end],
            "quote": list(question.quote),
            "answer": question.answer,
            "written_by": trace.key,
            "by": VERSION,
        },
    )
