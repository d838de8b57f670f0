"""Ratios: `3:4`, `3 to 4` and, where the question asks for a ratio, `3/4`."""

from __future__ import annotations

import re
from fractions import Fraction
from math import gcd

from traces.verify.asked import wants_lowest
from traces.verify.check import Check

_NUMBER = r"\d{1,30}(?:\.\d{1,30})?"
_RATIO = re.compile(rf"{_NUMBER}(?:\s*(?:\\?:|\\colon|\bto\b)\s*{_NUMBER}){{1,9}}")
_ASKED = re.compile(r"\bratios?\b", re.IGNORECASE)
_FRACTION = re.compile(r"(\d{1,30})\s*/\s*(\d{1,30})|\\frac\s?\{(\d{1,30})\}\s?\{(\d{1,30})\}")


def check_ratio(gold: str, answer: str, question: str) -> Check | None:
    """The check where the question asks for a ratio and one of two cleaned answers is written as
    one; None for everything else. Ratios are the same up to a factor, unless in lowest terms.
    """
    if ":" not in answer + gold and "to" not in answer + gold and "colon" not in answer + gold:
        return None
    written = _RATIO.fullmatch(gold) or _RATIO.fullmatch(answer)
    if not written or not _ASKED.search(question):
        return None
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


def _parts(text: str) -> list[Fraction] | None:
    if _RATIO.fullmatch(text):
        return [Fraction(number) for number in re.findall(_NUMBER, text)]
    match = _FRACTION.fullmatch(text)
    return [Fraction(number) for number in match.groups() if number] if match else None
