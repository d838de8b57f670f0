from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.verify.extract import (
    Extraction,
    _box_spans,
    _scanned_spans,
    answer_part,
    before_answer,
    boxes,
    extract,
)

PIECES = ["\\boxed{", "\\boxed", "\\fbox{", "{", "}", "\\{", "\\}", "\\", "\\\\", "5", " ", "x"]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (r"so \boxed{5}", Extraction("5", "boxed")),
        (r"\boxed{1} then \boxed{2}.", Extraction("2", "boxed")),
        (r"\boxed{\frac{1}{2}}", Extraction(r"\frac{1}{2}", "boxed")),
        (r"\fbox{7}", Extraction("7", "boxed")),
        (r"\boxed{\boxed{3}}", Extraction(r"\boxed{3}", "boxed")),
        (r"\boxed{\{1, 2\}}", Extraction(r"\{1, 2\}", "boxed")),
        (r"\boxed{4} and then \boxed{5", Extraction("4", "boxed")),
        (r"\boxed{}", Extraction("", "boxed")),
        (r"Answer: 3 but \boxed{4}", Extraction("4", "boxed")),
        ("Answer: 42", Extraction("42", "answer_line")),
        ("**Answer:** 42", Extraction("42", "answer_line")),
        ("**Final Answer**: 42\n", Extraction("42", "answer_line")),
        ("Answer:\n\n42\nbye", Extraction("42", "answer_line")),
        ("The answer is 1/2.\nThe answer is: 3/4", Extraction("3/4", "answer_line")),
        ("so 6 * 7\n#### 42", Extraction("42", "answer_line")),
        ("there are 5 apples", None),
        ("the answers are several", None),
        ("", None),
    ],
)
def test_strict_rules_fire_in_their_order(text: str, want: Extraction | None) -> None:
    assert extract(text) == want


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("there are 5 apples", "5"),
        ("costs $1,234.50.", "1,234.50"),
        ("from 3 to -4", "-4"),
        ("it is 3/4 of 10%", "10%"),
        (r"that is \frac{3}{4}", r"\frac{3}{4}"),
        ("x = 12, y = 30.", "30"),
        ("H2O", None),
    ],
)
def test_lenient_takes_the_last_number_and_says_so(text: str, want: str | None) -> None:
    found = extract(text, lenient=True)
    assert found == (Extraction(want, "last_number") if want else None)


def test_a_marked_answer_wins_over_a_later_number_even_when_lenient() -> None:
    assert extract("Answer: 5\nchecked 17 times", lenient=True) == Extraction("5", "answer_line")


@pytest.mark.parametrize("text", ["B", "I think\n(B)", "**b**", "so\nB.\n"])
def test_a_line_that_is_only_a_label_counts_for_choices_alone(text: str) -> None:
    assert extract(text, labels=True) == Extraction("B", "label")
    assert extract(text) is None


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("<think>a</think>b", "b"),
        ("a</think>b", "b"),
        ("<think>x</think>y</think>z", "z"),
        ("<think>never closed \\boxed{5}", ""),
        ("no thinking", "no thinking"),
    ],
)
def test_only_what_follows_the_last_closing_tag_is_the_answer(text: str, want: str) -> None:
    assert answer_part(text) == want


@given(st.text(alphabet="{}\\boxed 12", max_size=80))
def test_every_box_found_is_balanced_text_of_the_input(text: str) -> None:
    for box in boxes(text):
        assert box in text
        bare = box.replace("\\\\", "").replace("\\{", "").replace("\\}", "")
        assert bare.count("{") == bare.count("}")


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("1 < 2\n2 < 3\nAnswer: 3", "1 < 2\n2 < 3\n"),
        ("1 < 2\nThe answer is 2, of course.\nBye", "1 < 2\n"),
        ("Answer: 3", ""),
        ("1 < 2", "1 < 2"),
    ],
)
def test_the_work_in_the_open_ends_where_the_answer_line_begins(text: str, want: str) -> None:
    assert before_answer(text) == want


@pytest.mark.parametrize("unit", ["\\boxed{", "answer ", "{", "1,", "\\boxed{1}", "#### \n", "1 "])
def test_a_hostile_megabyte_takes_linear_time(unit: str) -> None:
    def seconds(count: int) -> float:
        start = time.process_time()
        extract(unit * count, labels=True, lenient=True)
        return time.process_time() - start

    # 16 times the text: quadratic work would take 256 times as long.
    short, long = max(seconds(10_000), 0.01), seconds(160_000)
    assert long < 64 * short


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_the_short_ways_to_a_box_find_what_the_scan_of_the_whole_text_finds(text: str) -> None:
    assert _box_spans(text) == _scanned_spans(text)


@pytest.mark.parametrize(
    ("rest", "taken_back"),
    [
        ("Let me double-check: 6 * 7 = 42. \u2713", False),
        ("Let me double-check: 6 * 7 = 42.", False),
        ("Let me recheck: 42 / 7 = 6. Correct.", False),
        ("Let me double-check. All of it is correct.", False),
        ("Let me recheck: 48 / 8 = 6. Correct.", True),
        ("Let me double-check: 6 * 7 = 48.", True),
        ("Let me double-check: 6 * 7 = 42, which is not right.", True),
        ("Let me double-check.", True),
        ("? No.", True),
        (", give or take one.", True),
        ("Hope this helps!", False),
    ],
)
def test_a_check_after_the_answer_counts_only_where_it_confirms(
    rest: str, taken_back: bool
) -> None:
    found = extract(f"\\boxed{{42}}{rest}")
    assert found is not None
    assert found.text == "42"
    assert found.retracted == taken_back


@pytest.mark.parametrize(
    ("before", "denied"),
    [
        ("It cannot be ", True),
        ("It isn't $", True),
        ("A common wrong answer is ", True),
        ("x cannot be negative, so the answer is ", False),
        ("It must be ", False),
        ("This is not prime: ", False),
    ],
)
def test_a_box_that_its_sentence_denies_is_taken_back(before: str, denied: bool) -> None:
    found = extract(f"{before}\\boxed{{42}}.")
    assert found is not None
    assert found.retracted == denied


def test_a_denied_box_gives_way_to_the_answer_named_after_it() -> None:
    text = "\\boxed{42} is what many say; the true answer is 45."
    assert extract(text) == Extraction("45.", "answer_line")


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("La respuesta es 42.", "42."),
        ("**Respuesta:** 42", "42"),
        ("La r\u00e9ponse est 37,5.", "37,5."),
        ("Die Antwort lautet 70.", "70."),
        ("\u041e\u0442\u0432\u0435\u0442: 144", "144"),
        ("\u7b54\u6848\u662f42\u3002", "42"),
        ("\u7b54\u3048\u306f6\u3067\u3059\u3002", "6"),
        ("**Final Answer**\n\n42", "42"),
        ("## The final answer\n$42$", "$42$"),
        ("<answer> 42 </answer>", "42"),
    ],
)
def test_other_ways_to_mark_an_answer(text: str, want: str) -> None:
    found = extract(text)
    assert found is not None
    assert found.text == want


@pytest.mark.parametrize(
    "text",
    [
        "La respuesta no es 42.", "\u7b54\u6848\u4e0d\u662f42", "Notes on the answer\n42",
        "</answer>42<answer>", "<answer>42",
    ],
)  # fmt: skip
def test_what_marks_no_answer(text: str) -> None:
    assert extract(text) is None
