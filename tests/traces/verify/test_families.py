"""Families of solutions are the same set whatever the index is called and where it starts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from traces.verify.check import Check, Pending
from traces.verify.families import check_family
from traces.verify.math import check_math
from traces.verify.pool import Pool

GOLD = r"x = \frac{\pi}{4} + k\pi, k \in \mathbb{Z}"


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(workers=1, timeout_s=2.0) as one:
        yield one


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (r"x = \frac{\pi}{4} + n\pi, n \in \mathbb{Z}", "right"),
        (r"\frac{\pi}{4} + \pi n", "right"),
        (r"x = -\frac{3\pi}{4} + m\pi, \text{ where } m \text{ is an integer}", "right"),
        (r"x = \frac{\pi}{4} - k\pi, k \in \mathbb{Z}", "right"),
        (r"x = \frac{\pi}{4} + 2k\pi, k \in \mathbb{Z}", "wrong"),
        (r"x = -\frac{\pi}{4} + k\pi, k \in \mathbb{Z}", "wrong"),
        (r"x = \frac{\pi}{4}", "wrong"),
        (r"x = \frac{\pi}{4} + k^2\pi, k \in \mathbb{Z}", "unknown"),
        (r"x = \frac{\pi}{4} + a k, k \in \mathbb{Z}", "unknown"),
        (r"45^\circ + 180^\circ k, k \in \mathbb{Z}", "right"),
        (r"x = 225^\circ + 180^\circ n", "right"),
        (r"45^\circ + 90^\circ k, k \in \mathbb{Z}", "wrong"),
    ],
)
def test_a_family_is_a_set_of_values(answer: str, outcome: str, pool: Pool) -> None:
    check = check_math(GOLD, answer, "Solve for all real x.")
    if not isinstance(check, Check):
        check = pool.compare(check)
    assert check.outcome == outcome


def test_degrees_on_one_side_and_no_angle_on_the_other_are_not_compared() -> None:
    check = check_family(r"180^\circ k, k \in \mathbb{Z}", r"180 k, k \in \mathbb{Z}")
    assert isinstance(check, Check)
    assert check.outcome == "unknown"


def test_a_family_in_degrees_is_wrong_where_radians_are_asked_for() -> None:
    check = check_math(GOLD, r"45^\circ + 180^\circ k, k \in \mathbb{Z}", "Solve, in radians.")
    assert isinstance(check, Check)
    assert check.outcome == "wrong"


@pytest.mark.parametrize("answer", [r"2k, 2k + 1", r"2k, k < 5", r"2k \text{ where } k \ne 0"])
def test_what_is_not_one_rule_is_unknown_and_says_so(answer: str, pool: Pool) -> None:
    check = pool.compare(Pending("2k", answer, "family"))
    assert (check.outcome, check.reason) == ("unknown", "not one rule")
