"""Other characters, other ways to write a ratio, and amounts in several units."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.verify.characters import plain_characters
from traces.verify.markup import clean
from traces.verify.math import check_math
from traces.verify.numeric import parse_number
from traces.verify.ratios import check_ratio


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("\uff0d\uff14\uff12", "-42"),
        ("\uff11\uff0c\uff12\uff13\uff14\uff0e\uff15", "1,234.5"),
        ("\u200b7\ufeff", "7"),
        ("1¾", "1 3/4"),
        ("½", "1/2"),
        ("2√2π²", r"2\sqrt{2}\pi ^{2}"),
        ("√(x+1)", r"\sqrt{x+1}"),
        ("10⁻³", "10^{-3}"),
        ("x ⩽ ٣", "x \u2264 3"),
        ("\u2013 5", "- 5"),
    ],
)
def test_other_characters_become_plain_ones(text: str, want: str) -> None:
    assert plain_characters(text) == want


@given(st.text(max_size=40))
def test_any_text_is_rewritten_and_again_stays_the_same(text: str) -> None:
    once = plain_characters(text)
    assert plain_characters(once) == once


@pytest.mark.parametrize("text", ["1'234'567", "1\u2019234\u2019567", "1\u2009234\u2009567"])
def test_groups_of_thousands_are_read(text: str) -> None:
    number = parse_number(clean(text))
    assert number is not None
    assert number.value == 1234567


@pytest.mark.parametrize(
    ("gold", "answer", "question", "outcome"),
    [
        ("3:4", "3 to 4", "What is the ratio?", "right"),
        ("3:4", "6:8", "What is the ratio?", "right"),
        ("3:4", "6:8", "What is the ratio in simplest form?", "wrong"),
        ("3:4", "4:3", "What is the ratio?", "wrong"),
        ("3:4", "3:4:5", "What is the ratio?", "wrong"),
        ("3:4", r"\frac{3}{4}", "What is the ratio?", "right"),
        ("1:2:3", "2:4:6", "What is the ratio?", "right"),
        ("3:4", "3:0", "What is the ratio?", None),
        ("3:45", "1:15", "When does it end?", "unknown"),
        ("1:30", "2:60", "When does the operation end?", "unknown"),
        ("1:30", "1:45", "When does the operation end?", "wrong"),
        ("3:1", "3 : 1", "What was the final score of the federation's cup?", "right"),
        ("2:3", "4:6", "Find AD:DB.", "right"),
        ("3:4", "0.75", "What was the score?", None),
    ],
)
def test_ratios(gold: str, answer: str, question: str, outcome: str | None) -> None:
    check = check_ratio(gold, answer, question)
    assert (check.outcome if check else None) == outcome


BESIDE = "The temperature difference of the sides is 20 K. What is the outer temperature?"


@pytest.mark.parametrize(
    ("gold", "answer", "question", "outcome"),
    [
        ("150", "2 hours and 30 minutes", "How many minutes is that?", "right"),
        ("150", "2 hours and 50 minutes", "How many minutes is that?", "wrong"),
        ("150", "2.5 hours", "How many minutes is that?", "right"),
        ("150", "150 hours", "How many minutes is that?", "wrong"),
        ("63", "5 feet, 3 inches", "How many inches tall is he?", "right"),
        ("15 °C", "15 K", "By how much does the temperature rise?", "right"),
        ("15 °C", "288 K", "By how much does the temperature rise?", "wrong"),
        ("15 °C", "288 K", "What is the temperature?", "right"),
        ("280 K", "280 °C", BESIDE, "wrong"),
        ("280 K", "6.85 °C", BESIDE, "right"),
        ("280 K", "6.85 °C", "After a temperature drop of 5 K, how warm is it?", "right"),
        ("5 K", "5 °C", "It cools. Find the temperature change. Answer in kelvin.", "right"),
        ("600 rpm", "62.8 rad/s", "How fast does it turn?", "right"),
        ("600 rpm", "10 Hz", "How fast does it turn?", "unknown"),
        ("42", r"\le 42", "How many?", "unknown"),
        ("42", r"42 \approx 40", "How many?", "unknown"),
        ("2700", "2718", "Round 2718.28 to the nearest hundred.", "wrong"),
        ("1200", "1234", "Round your answer to the nearest hundred.", "right"),
        ("42", "Ann has 42 marbles", "Tom gave Ann 8 marbles. How many has Tom?", "unknown"),
        ("42", "Tom has 42 marbles", "Tom gave Ann 8 marbles. How many has Tom?", "right"),
        ("42", "42棵", "一共有多少棵\uff1f", "right"),
        ("42", "不是42", "一共有多少棵\uff1f", "unknown"),
        ("42", "42, 42", "How many?", "unknown"),
        (r"\{-1, 0, 1\}", r"\{0, \pm 1\}", "Find all roots.", "right"),
        ("2.5 m/s^2", r"\SI{2.5}{m/s^2}", "How fast?", "right"),
    ],
)
def test_an_amount_is_judged_by_what_the_question_asks_for(
    gold: str, answer: str, question: str, outcome: str
) -> None:
    check = check_math(gold, answer, question)
    assert getattr(check, "outcome", "unknown") == outcome
