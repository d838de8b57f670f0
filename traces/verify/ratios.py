"""Ratios: `3:4`, `3 to 4` and, where the question asks for a ratio, `3/4`."""

from __future__ import annotations

import re
from fractions import Fraction
from math import gcd

from traces.verify.asked import wants_lowest
from traces.verify.check import Check, unknown

_NUMBER = r"\d{1,30}(?:\.\d{1,30})?"
_RATIO = re.compile(rf"{_NUMBER}(?:\s*(?:\\?:|\\colon|\bto\b)\s*{_NUMBER}){{1,9}}")
_ASKED = re.compile(
    r"(?i:\b(?:ratios?|proportions?|odds|scale)\b)|\b(?:[A-Z]{1,3}\s?:\s?[A-Z]{1,3}|[a-z]:[a-z])\b"
)
_FRACTION = re.compile(r"(\d{1,30})\s*/\s*(\d{1,30})|\\frac\s?\{(\d{1,30})\}\s?\{(\d{1,30})\}")


def check_ratio(gold: str, answer: str, question: str) -> Check | None:
    """The check where one of two cleaned answers is written as a ratio; None for everything else.

    Ratios are the same up to a factor, unless in lowest terms. Where the question asks for none,
    `3:1` may be a score or a time: other numbers are another answer, or unknown.
    """
    if ":" not in answer + gold and "to" not in answer + gold and "colon" not in answer + gold:
        return None
    written = _RATIO.fullmatch(gold) or _RATIO.fullmatch(answer)
    if not written:
        return None
    if not _ASKED.search(question):
        return _score(gold, answer)
    wanted, given = _parts(gold), _parts(answer)
    if wanted is None or given is None or not all((*wanted, *given)):
        return None
    if len(wanted) != len(given):
        return Check("wrong", "typed", f"{len(given)} parts, not {len(wanted)}")
    if any(a * given[0] != b * wanted[0] for a, b in zip(wanted, given, strict=True)):
        return Check("wrong", "typed")
    whole = all(part.denominator == 1 for part in given)
    if wants_lowest(question) and not (whole and gcd(*map(int, given)) == 1):
        return Check("wrong", "typed", "not in lowest terms")
    return Check("right", "typed")


def _score(gold: str, answer: str) -> Check | None:
    if ":" not in gold or ":" not in answer:
        return None
    wanted, given = _parts(gold), _parts(answer)
    if wanted is None or given is None or len(wanted) != len(given):
        return None
    if wanted == given:
        return Check("right", "typed")
    if all(a * given[0] == b * wanted[0] for a, b in zip(wanted, given, strict=True)):
        return unknown("the same ratio, where none is asked for", "typed")
    return Check("wrong", "typed")


def _parts(text: str) -> list[Fraction] | None:
    if _RATIO.fullmatch(text):
        return [Fraction(number) for number in re.findall(_NUMBER, text)]
    match = _FRACTION.fullmatch(text)
    return [Fraction(number) for number in match.groups() if number] if match else None
