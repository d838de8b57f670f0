"""What the question asks of the form of an answer: precision, exactness, factors, lowest terms."""

from __future__ import annotations

import functools
import re
from collections import Counter
from fractions import Fraction
from math import floor, gcd, log10
from typing import NamedTuple

_COUNT = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "a": 1,
    "1st": 1,
}
_NUMBER = r"(\d{1,2}|one|two|three|four|five|six|a)"
# "A decimal" alone is a kind of number: a decimal approximation to three places.
_PLACES = re.compile(
    rf"\b(?!a\s+decimals?\b(?!\s+place)){_NUMBER}\s+"
    r"(?:decimals?|d\.?p\.?\b|(?:digits? )?after the decimal)",
    re.I,
)
_FIGURES = re.compile(rf"\b{_NUMBER}\s+(?:significant|sig\.?\s?fig|s\.?f\.?\b)", re.I)
_NEAREST = re.compile(
    r"nearest\s+(integer|whole|unit|cent|penny|tenth|hundredth|thousandth|ten|hundred|thousand|"
    r"dollar|degree|percent|year|day|minute|million|0?\.\d+)\b",
    re.I,
)
_PRECISION_HINTS = (
    "nearest", "decimal", "digit", "signif", "sig fig", "sig. fig", "sigfig", "d.p", "dp", "s.f",
    "sf",
)  # fmt: skip
_UNITS = {
    "tenth": 1, "hundredth": 2, "thousandth": 3, "cent": 2, "penny": 2,
    "ten": -1, "hundred": -2, "thousand": -3, "million": -6,
}  # fmt: skip
_FACTOR = re.compile(r"\bfactor(?:i[sz]e|ed|ing)?\b(?! of)", re.I)
_EXPAND = re.compile(r"\bexpand(?:ed)?\b|\bmultiply out\b", re.I)
_ROUND = re.compile(r"\bround(?:ed|ing)?(?: off)?:? \\?\$?-?\d", re.I)
_PRIMES = re.compile(r"\bproduct of (?:its |powers of )?primes?\b|\bprime factori[sz]ation", re.I)
_POWERS = re.compile(r"(\d{1,18})(?:\s?(?:\^|\*\*)\s?\{?\s?(\d{1,3})\s?\}?)?")
_TIMES = re.compile(r"\s*(?:\\cdot|\\times|\*(?!\*)|\u00b7)\s*")
_LOWEST = re.compile(
    r"\b(?:lowest terms|simplest form|(?:simplified|reduced|common) fraction|irreducible)"
    r"\b|\bsimplify\b",
    re.I,
)
_FRACTION = re.compile(
    r"-?(?:\\frac\s?\{(\d{1,30})\}\s?\{(\d{1,30})\}|(\d{1,30})\s*/\s*(\d{1,30}))"
)
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")
_ASKS = re.compile(
    r"\b(?:what|which|by how|how|find|determine|calculate|compute|work out)\b", re.IGNORECASE
)
_POLAR = re.compile(r"\\(?:cos|sin|angle)(?![a-z])|\bcis\b|(?<![A-Za-z\\])e\s?\^")
_RECTANGULAR = re.compile(r"\b(?:rectangular|cartesian) form\b", re.I)
_RADICAND = re.compile(r"\\sqrt\s?\{?\s?(\d{1,9})(?![\d.])")
_SMALL = range(2, 32)
_COMMAND = re.compile(r"\\[A-Za-z]+")
_LETTER = re.compile(r"[a-z]")
_PRODUCT = re.compile(r"[)\w]\s*(?:\\cdot|\*)?\s*\(|\)\s*(?:\^|\w|\()")


class Precision(NamedTuple):
    """Decimal places (negative: tens, hundreds) or significant figures."""

    places: int | None = None
    figures: int | None = None


@functools.lru_cache(maxsize=64)
def precision(question: str) -> Precision | None:
    """The precision that the question asks for."""
    lower = question.lower()
    for hint in _PRECISION_HINTS:
        if hint in lower:
            break
    else:
        return None
    if match := _FIGURES.search(question):
        return Precision(figures=_count(match[1]))
    if match := _PLACES.search(question):
        return Precision(places=_count(match[1]))
    if match := _NEAREST.search(question):
        word = match[1].lower()
        return Precision(places=_UNITS.get(word, len(word.partition(".")[2])))
    return None


def _count(word: str) -> int:
    return int(word) if word.isdigit() else _COUNT[word.lower()]


def asked_part(question: str) -> str:
    """What it asks for: its last sentence that asks, from the word on that does; else all of it."""
    for sentence in reversed(_SENTENCE_END.split(question)):
        if asking := list(_ASKS.finditer(sentence)):
            return sentence[asking[-1].start() :]
    return question


def wants_exact(question: str) -> bool:
    """Whether it asks for an exact value, so that a rounded decimal is wrong."""
    return "exact" in question.lower()


def left_unrounded(answer: Fraction, asked: Precision, question: str) -> bool:
    """Whether the task is to round a number and the answer is not at that precision."""
    if asked.places is None or not _ROUND.search(question):
        return False
    return (answer * Fraction(10) ** asked.places).denominator > 1


def rounded_alike(gold: Fraction, answer: Fraction, asked: Precision) -> bool:
    """Whether both are the same number at the precision asked for (halves go either way)."""
    places = asked.places
    if places is None:
        if gold == 0 or asked.figures is None:
            return gold == answer
        places = asked.figures - 1 - floor(log10(abs(gold)))
    unit = Fraction(10) ** -places
    wanted, given = _roundings(gold, unit), _roundings(answer, unit)
    # An answer on the half, left unrounded, does not say which way it goes.
    return wanted == given if len(given) > 1 else bool(wanted & given)


def _roundings(value: Fraction, unit: Fraction) -> set[int]:
    scaled = value / unit
    below = floor(scaled)
    part = scaled - below
    if part == Fraction(1, 2):
        return {below, below + 1}
    return {below + (part > Fraction(1, 2))}


def wrong_form(gold: str, answer: str, question: str) -> str:
    """Why an answer of the right value is not in the form asked for, or nothing."""
    if not question:
        return ""
    if _POLAR.search(answer) and _RECTANGULAR.search(question) and not _POLAR.search(gold):
        return "not rectangular"
    rooted = "\\sqrt" in answer and "\\sqrt" in question
    if rooted and _LOWEST.search(question) and _reducible(answer, gold):
        return "a root that can be simplified"
    match = _FRACTION.fullmatch(answer.strip())
    if match:
        top, bottom = (int(x) for x in match.groups() if x)
        if gcd(top, bottom) > 1 and _LOWEST.search(question):
            return "not in lowest terms"
    if not _LETTER.search(gold) or not _LETTER.search(_COMMAND.sub("", gold)):
        return ""
    if _FACTOR.search(question) and _PRODUCT.search(gold):
        return "" if _PRODUCT.search(answer) and not _sum_outside(answer) else "not factored"
    if _EXPAND.search(question) and not _PRODUCT.search(gold):
        return "not expanded" if _PRODUCT.search(answer) else ""
    return ""


def _reducible(answer: str, gold: str) -> bool:
    """Whether a square can be taken out of a root of `answer`, and of none of `gold`."""
    found, wanted = (
        any(int(n) % (k * k) == 0 for n in _RADICAND.findall(text) for k in _SMALL)
        for text in (answer, gold)
    )
    return found and not wanted


def wants_lowest(question: str) -> bool:
    """Whether it asks for lowest terms."""
    return bool(_LOWEST.search(question))


def wants_factors(gold: str, question: str) -> bool:
    """Whether it asks to factor an expression, and the reference is a product."""
    return bool(_FACTOR.search(question) and _PRODUCT.search(gold))


def same_primes(gold: str, answer: str, question: str) -> bool | None:
    """Whether both are the same product of powers; None where no prime factorisation is asked for
    or one side is no such product.
    """
    if not _PRIMES.search(question):
        return None
    wanted, given = _powers(gold), _powers(answer)
    return None if wanted is None or given is None else wanted == given


def _powers(text: str) -> Counter[int] | None:
    found: Counter[int] = Counter()
    for factor in _TIMES.split(text.strip()):
        match = _POWERS.fullmatch(factor.strip("() "))
        if match is None:
            return None
        found[int(match[1])] += int(match[2] or 1)
    return found


def _sum_outside(expression: str) -> bool:
    """Whether a plus or minus stands outside all brackets, beyond the first character."""
    depth = 0
    for index, character in enumerate(expression.strip()):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and character in "+-" and index:
            return True
    return False


def restates(answer: str, question: str) -> bool:
    """Whether an unworked expression stands in the question just so."""
    squeezed = re.sub(r"[\s$]", "", answer)
    worked = not re.search(
        r"[+*/^]|\\(?:times|cdot|div|frac|sqrt|int|sum|log|sin|cos)|(?<=.)-", squeezed
    )
    return not worked and len(squeezed) > 2 and squeezed in re.sub(r"[\s$]", "", question)
