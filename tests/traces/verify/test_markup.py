from __future__ import annotations

import pytest

from traces.record import Reference
from traces.verify.markup import clean
from traces.verify.run import begin_check

RUN = 6_000


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("1   000", "1 000"),
        ("a \t b", "a b"),
        ("a \n\n  b", "a\nb"),
        ("a \\text{ or }  b", "a or b"),
        ("5 $ 6", "5 6"),
    ],
)
def test_a_run_of_white_space_is_one(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    "reference",
    [
        Reference("math", r"k\pi, k \in \mathbb{Z}"),
        Reference("math", r"\frac{\pi}{2}"),
        Reference("math", "(1, 2)"),
        Reference("science", "5 m"),
        Reference("choice", "A", choices={"A": "one", "B": "two"}),
    ],
    ids=lambda reference: f"{reference.kind} {reference.answer}",
)
@pytest.mark.parametrize("blank", [" ", "\n", "\u00a0", "\t "])
def test_a_run_of_white_space_is_not_right_and_ends(reference: Reference, blank: str) -> None:
    """Where a pattern takes cubic time over it this takes hours."""
    for text in (f"a{blank * RUN}!", f"x{blank * RUN}=", f"5{blank * RUN}degrees{blank * RUN}"):
        begun = begin_check(reference, f"\\boxed{{{text}}}", question="")
        assert getattr(begun, "outcome", "unknown") != "right"
