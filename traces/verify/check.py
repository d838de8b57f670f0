"""What a verifier says of one answer, before it is tied to a trace."""

from __future__ import annotations

from typing import NamedTuple

from traces.record import Outcome

NO_ANSWER = "no answer"
"""Reason of an unknown verdict where the text gives no answer at all."""


class Check(NamedTuple):
    """One judgement. `tier` is the cheapest test that decided, `rule` how the answer was found.

    `rule` is empty where nothing was extracted; `extracted` is cut to 500 characters and is always
    valid UTF-8, so a check can be stored whatever the model wrote.
    """

    outcome: Outcome
    tier: str
    reason: str = ""
    extracted: str | None = None
    rule: str = ""
    verifier: str = ""


class Pending(NamedTuple):
    """Expressions, cleaned, that only the symbolic tier can compare.

    `how`: `same`, one with one; `in order` and `any order`, one a line on both sides, pairwise;
    `up to a constant`, functions whose difference must not depend on a variable; `factored`, one
    with one, and the answer must be factored as far as the gold; `family`, rules in the integer k
    whose values are compared as sets.
    """

    gold: str
    answer: str
    how: str = "same"


def unknown(reason: str, tier: str = "") -> Check:
    """An abstention."""
    return Check("unknown", tier, reason)


def printable(text: str, limit: int = 500) -> str:
    """`text` cut to `limit` characters, lone surrogates replaced."""
    text = text[:limit]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
