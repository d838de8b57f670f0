from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.tiny_traces import make_trace
from traces.documents import Document, Passage, cut
from traces.plan import Plan
from traces.questions import find_quote, parse_reply, read_questions, request_prompts
from traces.record import Sampling, TeacherRecord, Trace

TEXT = "Basalt cools fast.  Its crystals are small.\n\nGranite cools slowly, at 700 degrees."
ASKED = {"question": "How fast does basalt cool?", "answer": "fast", "quote": "Basalt cools fast."}


def passage(text: str = TEXT) -> Passage:
    return next(cut(Document("rocks.md", "sha", text), 100))


def reply(*items: dict[str, Any], text: str = "") -> Trace:
    prompt = request_prompts([passage()], 3)[0]
    return make_trace(prompt, text or json.dumps(items))


def read(*replies: Trace | None, **options: Any) -> Any:
    given = {"passage": "hidden", "verifier": "none", "near_duplicate": 0.8, **options}
    return read_questions([(passage(), each) for each in replies], **given)


def test_a_question_keeps_document_passage_and_words() -> None:
    item = {**ASKED, "quote": "its crystals  are\nsmall"}
    (prompt,), counts = read(reply(item))
    kept = prompt.metadata
    assert prompt.messages[0].content == ASKED["question"]
    assert (kept["document"], kept["span"], kept["answer"]) == ("rocks.md", [0, len(TEXT)], "fast")
    assert TEXT[slice(*kept["quote"])] == "Its crystals are small"
    assert counts.questions == counts.written == 1


@pytest.mark.parametrize(
    ("who", "student", "teacher"),
    [("hidden", False, True), ("shown", True, True), ("none", False, False)],
)
def test_who_sees_the_passage(who: str, student: bool, teacher: bool) -> None:
    (prompt,), _ = read(reply(ASKED), passage=who)
    record = TeacherRecord("t", "endpoint", "m")
    request = Plan([prompt], record, 1, Sampling(), 0).request(0, 1)
    assert ("Granite" in prompt.messages[-1].content) == student
    assert any("Granite" in message.content for message in request.messages) == teacher


def test_what_is_not_grounded_or_new_is_dropped_and_counted() -> None:
    items = [
        ASKED,
        {**ASKED, "question": "How fast does basalt  cool?"},
        {**ASKED, "question": "What of marble?", "quote": "Marble is metamorphic."},
        {**ASKED, "question": "What does the passage say of granite?"},
        {"question": "No answer?", "quote": "Basalt"},
    ]
    truncated = msgspec.structs.replace(reply(ASKED), status="http_error")
    prompts, counts = read(reply(*items), reply(text="I would rather not."), None, truncated)
    assert len(prompts) == 1
    assert msgspec.structs.asdict(counts) == {
        "passages": 4, "unanswered": 2, "unreadable": 1, "written": 5, "incomplete": 1,
        "without_quote": 1, "about_passage": 1, "duplicates": 1, "questions": 1,
    }  # fmt: skip


def test_the_answer_that_was_written_along_can_be_the_reference() -> None:
    items = [ASKED, {"question": "At how many degrees?", "answer": "700", "quote": "700 degrees"}]
    prompts, _ = read(reply(*items), verifier="auto")
    assert {(p.reference.kind, p.reference.answer) for p in prompts} == {
        ("text", "fast"), ("math", "700"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([ASKED]),
        f"Here they are [three]:\n```json\n{json.dumps([ASKED], indent=1)}\n```\nDone.",
        json.dumps([ASKED, "stray", {"question": "?"}]),
    ],
)
def test_a_list_is_found_in_what_surrounds_it(text: str) -> None:
    found = parse_reply(text)
    assert found is not None
    assert [item for item in found if all(item.values())] == [ASKED]


@pytest.mark.parametrize("text", ["", "no", "[1, 2]", '[{"question": "cut of'])
def test_no_list_is_none(text: str) -> None:
    assert parse_reply(text) is None


def test_a_quote_of_nothing_is_nowhere() -> None:
    assert find_quote(passage(), ' "" ') is None
    assert find_quote(passage(), "“BASALT cools”…") == (0, 12)


def test_equal_passages_are_asked_once_and_names_do_not_matter() -> None:
    other = msgspec.structs.replace(passage(), document="copy.md")
    assert len(request_prompts([passage(), other], 3)) == 1
