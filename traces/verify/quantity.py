"""Numbers with a unit of measure: converted exactly, then compared at the reference's precision.

Another dimension is wrong. A bare number is taken in the unit that the question names, otherwise in
the reference's. Temperatures in degrees Celsius and Fahrenheit have their offset.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction
from typing import NamedTuple

from traces.verify.angles import has_pi, in_degrees, in_radians, says_radians
from traces.verify.asked import asked_part, precision, rounded_alike
from traces.verify.check import Check, Pending, unknown
from traces.verify.families import is_family
from traces.verify.numeric import Number, parse_number
from traces.verify.units import BASE, Unit, read_unit

_LETTER = re.compile(r"[A-Za-z\u00b0\u00b5\u03bc\u03a9\u2126\u00c5]")
_VALUE = re.compile(
    r"(?:[A-Za-z]\w{0,3}\s*(?:=|\\approx|\u2248)\s*)?(?:\\approx|\u2248|~)?\s*"
    r"([-+]?\s?(?:\\frac\s?\{\d{1,30}\}\s?\{\d{1,30}\}|(?:\d[\d,]{0,60}(?:\.\d{0,60})?|\.\d{1,60})(?:/\d{1,30})?)"
    r"(?:[eE][-+]?\d{1,3}(?![\d.])|\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*(?:\{\s*[-+]?\d{1,3}\s*\}|[-+]?\d{1,3}))?)"
)
_ASKED = re.compile(r"\b(?:in|into|to|as|[Hh]ow many)\s+(?:units of\s+)?(.{1,30})")
_ASKED_END = re.compile(r"[?.,;:!]\s|[?.,;:!]$|\bof\b|\bis\b|\bdoes\b")
_UNWRAPPED = re.compile(r"\\(?:text|mathrm)\s?\{([^{}]*)\}|\$")
_AND = re.compile(r"\s*(?:,|\band\b)\s*|\s+(?=\d)")
_SECOND = re.compile(r",|and|\s\d")
_DIFFERENCE = re.compile(
    r"\bby how (?:much|many)\b|\\Delta\s?T|\u0394\s?T"
    r"|\btemperature (?:change|difference|rise|drop|increase|decrease|interval)"
    r"|\b(?:change|difference|rise|drop|increase|decrease|fall)s? (?:in|of|between) (?:the )?temp",
    re.IGNORECASE,
)


class Quantity(NamedTuple):
    """A number and its unit, None where bare."""

    number: Number
    unit: Unit | None


def read_quantity(text: str) -> Quantity | None:
    """The quantity that `text` (cleaned) is, or None where it is not exactly one."""
    match = _VALUE.match(text)
    if match is None:
        return None
    number = parse_number(match[1].replace(" ", "") if "\\" not in match[1] else match[1])
    rest = text[match.end() :].strip()
    if number is None:
        return None
    if not rest:
        return Quantity(number, None)
    unit = read_unit(rest)
    return Quantity(number, unit) if unit else None


def _summed(text: str) -> Quantity | None:
    """`2 hours and 30 minutes` in its last unit; None where the units do not go down in size."""
    if len(text) >= 80 or not _SECOND.search(text):
        return None
    parts = [read_quantity(part) for part in _AND.split(text) if part]
    total, last = Fraction(0), None
    for part in parts:
        if part is None or part.unit is None or part.unit.offset or part.number.value < 0:
            return None
        if last and (part.unit.dimension != last.dimension or part.unit.factor >= last.factor):
            return None
        total, last = total + part.number.value * part.unit.factor, part.unit
    if last is None or len(parts) < 2:
        return None
    return Quantity(Number(total / last.factor, decimals=0), last)


def check_quantity(
    gold: str, answer: str, question: str = "", *, need_unit: bool = False
) -> Check | Pending | None:
    """The check where one of both has a unit of measure; None for everything else.

    `need_unit` makes a bare number unknown where the question does not name the unit.
    """
    if not (_LETTER.search(gold) or _LETTER.search(answer)):
        return None
    if (angle := _angle(gold, answer, question)) is not None:
        return angle
    given = read_quantity(answer) or _summed(answer)
    wanted = read_quantity(gold) if given else None
    if wanted is None or given is None or (wanted.unit is None and given.unit is None):
        return None
    asked = asked_unit(question)
    if need_unit and given.unit is None and asked is None:
        return unknown("no unit", "units")
    left = wanted.unit or asked or given.unit
    right = given.unit or asked or wanted.unit
    assert left is not None
    assert right is not None
    if left.dimension != right.dimension:
        if _but_radians(left) == _but_radians(right):
            return unknown("radians on one side only", "units")
        return Check("wrong", "units", "another kind of quantity")
    value = given.number.value * right.factor / left.factor
    if (right.offset or left.offset) and not _DIFFERENCE.search(asked_part(question)):
        value += (right.offset - left.offset) / left.factor
    return _close(wanted.number, value, given.number, left is not right, question)


def _but_radians(unit: Unit) -> list[int]:
    return [power for name, power in zip(BASE, unit.dimension, strict=True) if name != "rad"]


def _close(gold: Number, value: Fraction, answer: Number, converted: bool, question: str) -> Check:
    """Whether `value`, in the reference's unit, is the reference at its own precision."""
    gap = abs(gold.value - value)
    if gap <= abs(gold.value) * Fraction(1, 10**9):
        return Check("right", "units")
    if (asked := precision(question)) and rounded_alike(gold.value, value, asked):
        return Check("right", "units", "rounded")
    if gold.decimals is not None and (gold.last or converted) and 2 * gap <= gold.last_place:
        return Check("right", "units", "at the reference's precision")
    if answer.decimals is not None and value and answer.figures >= 2:
        scale = value / answer.value if answer.value else Fraction(1)
        if 2 * gap <= abs(scale) * answer.last_place:
            return unknown("rounded", "units")
    return Check("wrong", "units")


@functools.lru_cache(maxsize=64)
def asked_unit(question: str) -> Unit | None:
    """The unit that the question asks for: `in m/s`, `in metres per second`."""
    for match in reversed(list(_ASKED.finditer(question))):
        words = _UNWRAPPED.sub(r"\1", _ASKED_END.split(match[1], maxsplit=1)[0]).split()
        for count in range(min(len(words), 5), 0, -1):
            candidate = " ".join(words[:count]).strip("()")
            if candidate not in ("a", "A", "the", "in", "h") and (unit := read_unit(candidate)):
                return unit
    return None


def _angle(gold: str, answer: str, question: str) -> Check | Pending | None:
    """Degrees against radians that are no plain number; families are left to `check_family`."""
    if says_radians(answer) and not says_radians(gold) and "in degrees" in question.lower():
        return Check("wrong", "units", "another unit of angle than asked for")
    if not (has_pi(gold) or has_pi(answer)):
        return None
    in_gold = in_degrees(gold)
    if in_gold == in_degrees(answer) or not has_pi(answer if in_gold else gold):
        return None
    question = question.lower()
    if ("in degrees" if in_gold else "in radians") in question:
        return Check("wrong", "units", "another unit of angle than asked for")
    return None if is_family(gold) else Pending(in_radians(gold), in_radians(answer))
