from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from traces.errors import DataError
from traces.jsonio import write_jsonl
from traces.prompts import load_prompts, looks_mathematical
from traces.record import Message, Prompt, Reference


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "p.jsonl"


def load(path: Path, *rows: dict[str, Any], **options: Any) -> list[Prompt]:
    write_jsonl(path, rows)
    return load_prompts(path, **options)


def asked(prompt: Prompt) -> str:
    return prompt.messages[-1].content


def test_a_plain_file_needs_no_settings(path: Path) -> None:
    (prompt,) = load(path, {"question": "2 + 2?", "answer": "4"}, domain="sums")
    assert prompt.messages == (Message("user", "2 + 2?"),)
    assert prompt.reference == Reference("math", "4")
    assert (prompt.domain, prompt.source) == ("sums", f"{path}:1")


@pytest.mark.parametrize(
    ("row", "question", "reference"),
    [
        # Rows in the shape of GSM8K, MATH, OpenR1-Math, MMLU, ARC, MedQA and RL sets.
        (
            {"question": "How many?", "answer": "6 * 12 = 72\n#### 72"},
            "How many?",
            Reference("math", "72"),
        ),
        (
            {"problem": "Find x.", "level": "5", "solution": "So $x = \\boxed{\\frac{1}{2}}$."},
            "Find x.",
            Reference("math", "\\frac{1}{2}"),
        ),
        (
            {
                "problem": "q",
                "solution": "long",
                "answer": "3",
                "messages": [],
                "source": "olympiad",
            },
            "q",
            Reference("math", "3"),
        ),
        (
            {"question": "Which?", "choices": ["x", "y", "z", "w"], "answer": 2},
            "Which?\n\nA. x\nB. y\nC. z\nD. w",
            Reference("choice", "C", {"A": "x", "B": "y", "C": "z", "D": "w"}),
        ),
        (
            {
                "question": "Which?",
                "choices": {"label": ["1", "2"], "text": ["x", "y"]},
                "answerKey": "2",
            },
            "Which?\n\nA. x\nB. y",
            Reference("choice", "B", {"A": "x", "B": "y"}),
        ),
        (
            {"question": "Which, x or y?", "options": {"A": "x", "B": "y"}, "answer": "y"},
            "Which, x or y?\n\nA. x\nB. y",
            Reference("choice", "B", {"A": "x", "B": "y"}),
        ),
        (
            {"instruction": "Add.", "input": "2 and 2", "answer": 4},
            "Add.\n\n2 and 2",
            Reference("math", "4"),
        ),
        ({"query": "Who?", "target": "Ada Lovelace"}, "Who?", Reference("text", "Ada Lovelace")),
    ],
)
def test_columns_and_references_are_found_in_known_shapes(
    path: Path, row: dict[str, Any], question: str, reference: Reference
) -> None:
    (prompt,) = load(path, row)
    assert asked(prompt) == question
    assert prompt.reference == reference


def test_a_conversation_is_taken_up_to_the_last_turn_of_the_user(path: Path) -> None:
    turns = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "Hi"},
        {"from": "gpt", "value": "Hello"},
        {"from": "human", "value": "2 + 2?"},
        {"from": "gpt", "value": "4"},
    ]
    (prompt,) = load(path, {"conversations": turns, "answer": "4"})
    assert [m.role for m in prompt.messages] == ["system", "user", "assistant", "user"]
    (prompt,) = load(
        path, {"conversations": turns, "answer": "4"}, system="Think.", instruction="!"
    )
    assert prompt.messages[0] == Message("system", "Think.")
    assert [m.role for m in prompt.messages].count("system") == 1
    assert asked(prompt) == "2 + 2?\n\n!"


def test_named_columns_win_and_reach_into_objects(path: Path) -> None:
    row = {"q": "2 + 2?", "answer": "wrong", "reward_model": {"ground_truth": "4"}}
    (prompt,) = load(path, row, question="q", answer="reward_model.ground_truth", verifier="text")
    assert (asked(prompt), prompt.reference) == ("2 + 2?", Reference("text", "4"))


def test_without_a_verifier_no_reference_is_wanted(path: Path) -> None:
    (prompt,) = load(path, {"prompt": "Tell a story.", "answer": "x"}, verifier="none")
    assert prompt.reference is None


def test_repeated_prompts_are_left_out_and_reported(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"question": q, "answer": "1"} for q in ("a", "b", "a", "a")]
    with caplog.at_level(logging.WARNING):
        prompts = load(path, *rows)
    assert [asked(prompt) for prompt in prompts] == ["a", "b"]
    assert f"2 repeated prompts are left out: {path}:3 repeats {path}:1" in caplog.text


def test_one_question_with_two_references_is_two_prompts_and_reported(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        first, second = load(path, *({"question": "a", "answer": a} for a in "121"))
    assert first.id != second.id
    assert f"1 prompts ask the same with another reference: {path}:2 and {path}:1" in caplog.text


def test_limit_takes_the_first_different_prompts(path: Path) -> None:
    rows = [{"question": q, "answer": "1"} for q in "aabcd"]
    assert [asked(prompt) for prompt in load(path, *rows, limit=2)] == ["a", "b"]


def test_parquet_gives_the_same_prompts_as_json_lines(path: Path) -> None:
    rows = [{"question": f"q{i}", "choices": ["x", "y"], "answer": i % 2} for i in range(300)]
    table = path.with_suffix(".parquet")
    parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    assert [p.id for p in load_prompts(table)] == [p.id for p in load(path, *rows)]


@pytest.mark.parametrize(
    ("row", "options", "message", "hint"),
    [
        (
            {"question": "a", "problem": "b", "answer": "1"},
            {},
            "the question could be in 'question' or 'problem'",
            "set `question:`",
        ),
        (
            {"question": "a", "gold": "1", "answer": "1"},
            {},
            "the answer could be in 'answer' or 'gold'",
            "set `answer:`",
        ),
        ({"q": "a", "answer": "1"}, {}, "no column .* the question", "the columns are: q, answer"),
        ({"question": "a", "note": "x"}, {}, "no column .* reference answer", "verifier: none"),
        (
            {"question": "a", "note": "x"},
            {"answer": "notes"},
            "no column 'notes' for the answer; did you mean 'note'",
            "the columns are: question, note",
        ),
    ],
)
def test_missing_and_ambiguous_columns_name_what_there_is(
    path: Path, row: dict[str, Any], options: dict[str, str], message: str, hint: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load(path, row, **options)
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message


def test_rows_without_reference_are_three_named_and_all_counted(path: Path) -> None:
    rows = [{"question": f"q{i}", "answer": "" if i % 2 else "1"} for i in range(12)]
    with pytest.raises(DataError) as caught:
        load(path, *rows, verifier="math")
    lines = caught.value.message.splitlines()
    assert lines[:3] == [f"{path}:{i}: no reference answer in column 'answer'" for i in (2, 4, 6)]
    assert lines[3] == "and 3 more rows like that"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": " ", "answer": "1"}, "the question is empty"),
        ({"question": 5, "answer": "1"}, "the question is of type int"),
        ({"question": None, "answer": "1"}, "no question in column 'question'"),
        ({"question": [], "answer": "1"}, "the conversation is empty"),
        (
            {"question": [{"role": "assistant", "content": "x"}], "answer": "1"},
            "no turn of the user",
        ),
        (
            {"question": [{"role": "wizard", "content": "x"}], "answer": "1"},
            "has the role 'wizard'",
        ),
        (
            {"question": [{"role": "user", "content": [{"type": "image"}]}], "answer": "1"},
            "than text",
        ),
        ({"question": "q", "answer": ["1", "2"]}, "is not one answer but a list"),
        (
            {"question": "q", "answer": "E", "choices": ["x", "y"]},
            "'E' is none of the choices A, B",
        ),
    ],
)
def test_a_row_that_cannot_be_asked_is_named(path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"p\.jsonl:2: .*{message}"):
        load(path, {"question": "fine", "answer": "1"}, row)


FORMULAS = (
    "4 -1,234.5 50% $3.20 1/2 \\frac{1}{2} 2\\sqrt{3} (3,4) 3π x^2+1 sqrt(2) \\pi [0,1) \\infty x=5"
)


@pytest.mark.parametrize("answer", [*FORMULAS.split(), "12 apples", "x = 5", "(3, 4)"])
def test_numbers_and_formulas_are_mathematical(answer: str) -> None:
    assert looks_mathematical(answer)


@pytest.mark.parametrize(
    "answer", ["Paris", "yes", "Ada Lovelace", "July 4", "\\text{no solution}", "B", "World War 2"]
)
def test_words_are_not_mathematical(answer: str) -> None:
    assert not looks_mathematical(answer)


def test_a_row_may_name_its_own_kind_and_hold_its_reference_as_an_object(path: Path) -> None:
    tests = {"entry": "f", "tests": [[[1], 1]]}
    rows: list[dict[str, Any]] = [
        {"question": "a", "answer": tests, "kind": "code"},
        {"question": "b", "answer": '{"must_cite": ["42 U.S.C. 1983"]}', "kind": "legal"},
        {"question": "c", "answer": "5 m/s", "kind": "science"},
        {"question": "d", "answer": "B", "kind": "mcq", "choices": {"A": "x", "B": "y"}},
        {"question": "e", "answer": "12", "kind": "algebra"},
    ]
    references = [p.reference for p in load(path, *rows)]
    assert [r.kind if r else None for r in references] == [
        "code", "legal", "science", "choice", "math",
    ]  # fmt: skip
    assert references[0] is not None
    assert json.loads(references[0].answer) == tests
    (prompt,) = load(path, rows[0], verifier="code")
    assert prompt.reference == references[0]
