r"""Amounts of money: `\$2.50` is 250 cents and no euros.

A bare reference is in the unit that the question asks for. What an answer's unit means where the
question names another or none is unknown, not right.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction
from typing import NamedTuple

from traces.verify.check import Check, unknown
from traces.verify.markup import clean
from traces.verify.numeric import Number, compare_numbers, parse_number

_SIGN = re.compile(r"\\\$|^\s*\$(?=\s?\d[^$]*$)|[\u20ac\u00a3\u00a5\u00a2]|\\cent\b")
_WORD = re.compile(
    r"\b(dollars?|usd|bucks?|cents?|euros?|eur|pence|gbp|pounds sterling|yen|jpy|rupees?|inr)\b",
    re.IGNORECASE,
)
# What a text in lower case has where it names money: far cheaper to look for.
_HINT = re.compile(
    "[$\u20ac\u00a3\u00a5\u00a2]|cent|doll|usd|buck|eur|pence|gbp|pounds s|yen|jpy|rupee|inr"
)
_UNITS = {
    "$": ("usd", False), "dollar": ("usd", False), "usd": ("usd", False), "buck": ("usd", False),
    "cent": ("usd", True), "\u00a2": ("usd", True), "euro": ("eur", False), "eur": ("eur", False),
    "\u20ac": ("eur", False), "pence": ("gbp", True), "gbp": ("gbp", False),
    "pounds sterling": ("gbp", False), "\u00a3": ("gbp", False), "yen": ("jpy", False),
    "jpy": ("jpy", False), "\u00a5": ("jpy", False), "rupee": ("inr", False),
    "inr": ("inr", False),
}  # fmt: skip
_IN_QUESTION = re.compile(r"\\\$\s?\d|(?<![$\\])\$\d[\d,.]*(?=[\s?.,;:)]|$)|[\u20ac\u00a3\u00a5]")
_ASKED = re.compile(r"\b(?:how many|in) (dollars|cents|euros|pence|yen|rupees)\b", re.IGNORECASE)

Unit = tuple[str, bool]
"""A currency, and whether its hundredth is meant."""


class Money(NamedTuple):
    """`number` is None where there is a unit but not one plain amount."""

    unit: Unit
    number: Number | None


def read_money(text: str) -> Money | None:
    """The amount that `text`, not yet cleaned, is; None where it names no currency or several."""
    units = {_unit(found) for found in (*_SIGN.findall(text), *_WORD.findall(text))}
    if len(units) != 1:
        return None
    rest = _WORD.sub(" ", _SIGN.sub(" ", text).replace("\\text{ }", " "))
    return Money(units.pop(), parse_number(clean(rest)))


def check_money(gold: str, answer: str, question: str) -> Check | None:
    """The check where the unit of money decides; None where the numbers do."""
    right = read_money(answer) if _HINT.search(answer.lower()) else None
    if right is None:
        return None
    left = read_money(gold)
    named = frozenset((left.unit,)) if left else _named(question)
    if left and left.unit[0] != right.unit[0]:
        return Check("wrong", "numeric", "another currency")
    if right.unit in named or (not named and not right.unit[1]):
        return None
    wanted = left.number if left else parse_number(clean(gold))
    if wanted is None or right.number is None:
        return unknown("another currency", "numeric")
    if len(named) == 1 and (unit := next(iter(named)))[0] == right.unit[0]:
        return compare_numbers(_major(wanted, unit), _major(right.number, right.unit), question)
    check = compare_numbers(wanted, right.number, question)
    return check if check and check.outcome == "wrong" else unknown("another currency", "numeric")


def _unit(found: str) -> Unit:
    name = found.strip().lstrip("\\").lower()
    return _UNITS.get(name) or _UNITS[name.removesuffix("s")]


@functools.lru_cache(maxsize=64)
def _named(question: str) -> frozenset[Unit]:
    if asked := _ASKED.findall(question):
        return frozenset((_unit(asked[-1]),))
    found = (*_WORD.findall(question), *(m.strip("\\")[0] for m in _IN_QUESTION.findall(question)))
    return frozenset(map(_unit, found))


def _major(number: Number, unit: Unit) -> Number:
    bare = number._replace(words=frozenset(), currency="")
    if not unit[1]:
        return bare
    decimals = None if number.decimals is None else number.decimals + 2
    return bare._replace(value=number.value * Fraction(1, 100), decimals=decimals)
