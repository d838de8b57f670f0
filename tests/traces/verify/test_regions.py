from __future__ import annotations

import pytest

from traces.verify.markup import clean
from traces.verify.regions import compare_regions

TWO_GAPS = r"(-\infty,-2)\cup(-2,1)\cup(1,\infty)"


@pytest.mark.parametrize(
    ("gold", "answer", "outcome"),
    [
        (TWO_GAPS, r"\mathbb{R}\setminus\{-2,1\}", "right"),
        (TWO_GAPS, r"\mathbb{R} - \{1, -2\}", "right"),
        (TWO_GAPS, r"x \ne 1 \text{ and } x \ne -2", "right"),
        (TWO_GAPS, r"\{x \in \mathbb{R} \mid x \neq -2, x \neq 1\}", "right"),
        (TWO_GAPS, "all real numbers except -2 and 1", "right"),
        (TWO_GAPS, r"x<-2 \text{ or } -2<x<1 \text{ or } x>1", "right"),
        (TWO_GAPS, r"\mathbb{R}\setminus\{1\}", "wrong"),
        (TWO_GAPS, r"\mathbb{R}", "wrong"),
        (TWO_GAPS, r"x \ne 1 \text{ or } x \ne -2", None),
        (r"\mathbb{R}\setminus\{0\}", r"(-\infty,0)\cup(0,\infty)", "right"),
        (r"\mathbb{R}\setminus\{0\}", r"(-\infty,0)\cup[0,\infty)", "wrong"),
        (r"\mathbb{R}\setminus\{0\}", r"\mathbb{Z}\setminus\{0\}", None),
        ("(1, 3)", r"x > 1 \text{ and } x < 3", "right"),
        ("(1, 3)", r"(1,2)\cup[2,3)", "right"),
        ("(1, 3)", r"(1,2)\cup(2,3)", "wrong"),
        ("(1, 3)", r"(1,2]\cup[1.5,3)", "right"),
        ("(1, 3)", r"1 \le x < 3", "wrong"),
        ("(1, 3)", "(1, 3)", None),
        (r"\{0\}\cup[2,\infty)", r"x = 0 \text{ or } x \ge 2", "right"),
        (r"\{0\}\cup[2,\infty)", r"[0,\infty)", "wrong"),
        (r"[2,\infty)", r"[\sqrt{4},\infty)", None),
        ("x < 3", "y < 3", "unknown"),
        ("x < -1, x > 1", "x < -5, x > 7", "wrong"),
        (r"x < -1 \text{ or } x > 1", "x < -1, x > 1", "right"),
        (r"x < -1 \text{ or } x > 1", r"x < -1 \text{ and } x > 1", "unknown"),
    ],
)
def test_sets_of_reals_are_compared_as_sets(gold: str, answer: str, outcome: str | None) -> None:
    check = compare_regions(clean(gold), clean(answer), "")
    assert (check.outcome if check else None) == outcome


def test_an_answer_that_stands_in_the_question_is_left_to_the_rule_on_that() -> None:
    assert compare_regions(r"[3,\infty)", r"x \ge 3", r"Write $x \ge 3$ as an interval.") is None
