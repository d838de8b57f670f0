"""Families of solutions are the same set whatever the index is called and where it starts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from traces.verify.check import Check
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
    ],
)
def test_a_family_is_a_set_of_values(answer: str, outcome: str, pool: Pool) -> None:
    check = check_math(GOLD, answer, "Solve for all real x.")
    if not isinstance(check, Check):
        check = pool.compare(check)
    assert check.outcome == outcome
