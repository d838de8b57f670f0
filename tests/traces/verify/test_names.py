"""Names left of a value, and letters that are there in both cases."""

from __future__ import annotations

import pytest

from traces.verify.check import Check
from traces.verify.math import check_math
from traces.verify.names import letters_apart, without_name


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (r"\lambda = 5.5", "5.5"),
        (r"\Delta E \approx 3", "3"),
        (r"m\angle ABC = 36", "36"),
        (r"\vec{a}\times\vec{b}=(1, 2, 3)", "(1, 2, 3)"),
        ("[NaCl] = 0.1", "0.1"),
        ("|AB| = 4", "4"),
        (r"\sqrt{x} = 9", r"\sqrt{x} = 9"),
        ("2AB = 8", "2AB = 8"),
        (r"\lambda + 1 = 8", r"\lambda + 1 = 8"),
    ],
)
def test_a_name_is_taken_off_its_value_and_an_equation_is_left(answer: str, value: str) -> None:
    assert without_name("5", answer) == value
    assert without_name("x = 5", answer) == answer


def test_letters_in_both_cases_are_sent_to_algebra_as_different_letters() -> None:
    assert letters_apart("mg/(M+m)", "Mg/(M+m)") == ("mg/(q+m)", "qg/(q+m)")
    assert letters_apart("M + 1", "1 + M") == ("M + 1", "1 + M")
    assert letters_apart(r"a\Delta + A", "A") == (r"a\Delta + q", "q")


@pytest.mark.parametrize(
    ("gold", "answer", "question", "outcome"),
    [
        ("(3,2)", "y=2, x=3", "Solve for (x, y).", "right"),
        ("(2,3)", "y=2, x=3", "Give (y, x).", "right"),
        (r"(-\infty,1)\cup(5,\infty)", "|x-3|>2", "", "right"),
        ("[1,5]", r"|x-3| \le 2", "", "right"),
        ("(1,5)", r"|x-3| \le 2", "", "wrong"),
        (r"(-\infty,1]\cup[5,\infty)", r"\mathbb{R}\setminus(1,5)", "", "right"),
        ("1,2,3,4,5", r"1, 2, \ldots, 5", "", "right"),
        ("1,3,5,7", r"1, 3, \ldots, 9", "", "wrong"),
        ("1.414", "1.415", "Give a decimal approximation to three decimal places.", "wrong"),
        ("36", r"36\text{ rad}", "Find the angle in degrees.", "wrong"),
        (r"6\sqrt{2}", r"3\sqrt{8}", r"Simplify $\sqrt{72}$.", "wrong"),
        ("see figure 3", "5", "", "unknown"),
    ],
)
def test_the_general_causes_of_the_fourth_set(
    gold: str, answer: str, question: str, outcome: str
) -> None:
    check = check_math(gold, answer, question)
    assert isinstance(check, Check)
    assert check.outcome == outcome
