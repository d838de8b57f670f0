r"""Numbers in less usual spellings, rewritten so that `traces.verify.numeric` reads them.

Repeating decimals (`0.\overline{3}`, `0.(3)`, `0.333...`), number words (`twelve`), scale words
(`5 million`), thousands by spaces (`12 345`), European separators (`1.234,56`).
"""

from __future__ import annotations

import re
from fractions import Fraction

_REPEATING = re.compile(
    r"([-+]?)(\d{0,30})\.(\d{0,30})"
    r"(?:\\overline\s?\{(\d{1,30})\}|\\bar\s?\{?(\d{1,30})\}?|\\dot\s?\{?(\d)\}?|\((\d{1,30})\))"
)
_TRAILING = re.compile(r"([-+]?)(\d{0,30})\.(\d{2,60})\s?(?:\.{3}|\\l?dots|\\cdots|\u2026)")
_SCALED = re.compile(
    r"(.{1,60}?)\s*\b(hundred|thousand|million|billion|trillion)\b(.{0,40})", re.IGNORECASE
)
_NEGATIVE = re.compile(r"(?:minus|negative)\s+([^-\s].{0,60})", re.IGNORECASE)
_SPACED = re.compile("[-+]?\\d{1,3}(?:[ '\u2019]\\d{3})+(?:\\.\\d+)?")
_EUROPEAN = re.compile(r"([-+]?\d{1,3}(?:\.\d{3})*|[-+]?\d+),(\d{1,2}|\d{4,30})")
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
fifteen sixteen seventeen eighteen nineteen""".split()  # noqa: SIM905
_TENS = """twenty thirty forty fifty sixty seventy eighty ninety""".split()  # noqa: SIM905
_WORDS = {word: n for n, word in enumerate(_SMALL)} | {w: 20 + 10 * n for n, w in enumerate(_TENS)}
_WORDS |= {f"{t}{s}{o}": _WORDS[t] + _WORDS[o] for t in _TENS for o in _SMALL[1:10] for s in "- "}


def respelt(text: str) -> str | None:
    """`text` (cleaned) in plain digits, or None where it is none of these spellings."""
    text = text.strip()
    if text.lower() in _WORDS:
        return str(_WORDS[text.lower()])
    if len(text) > 200:
        return None
    if negative := _NEGATIVE.fullmatch(text):
        return f"-{respelt(negative[1]) or negative[1]}"
    if match := _REPEATING.fullmatch(text):
        sign, whole, fixed, *loops = match.groups()
        return _fraction(sign, whole, fixed, next(loop for loop in loops if loop))
    if match := _TRAILING.fullmatch(text):
        return _trailing(*match.groups())
    if _SPACED.fullmatch(text):
        return re.sub("[ '\u2019]", "", text)
    return _scaled(text)


def decimal_comma(text: str) -> str | None:
    """A number with a decimal comma, written with a point. `3,141` has none: it is thousands."""
    match = _EUROPEAN.fullmatch(text.strip())
    return f"{match[1].replace('.', '')}.{match[2]}" if match else None


def _fraction(sign: str, whole: str, fixed: str, loop: str) -> str:
    value = Fraction(int(loop), (10 ** len(loop) - 1) * 10 ** len(fixed))
    value += Fraction(int((whole or "0") + fixed), 10 ** len(fixed))
    return f"{sign}{value.numerator}/{value.denominator}"


def _trailing(sign: str, whole: str, digits: str) -> str | None:
    """The shortest period that the digits show at least twice (a single digit: at the end)."""
    size = len(digits)
    for period in range(1, size // 2 + 1):
        for start in range(size - 2 * period + 1):
            tail = digits[start:]
            if all(tail[i] == tail[i % period] for i in range(len(tail))):
                return _fraction(sign, whole, digits[:start], tail[:period])
    return None


def _scaled(text: str) -> str | None:
    match = _SCALED.fullmatch(text)
    if match is None:
        return None
    power = _SCALES[match[2].lower()]
    count = match[1].strip().lstrip("$\u20ac\u00a3 ")
    count = str(_WORDS.get(count.lower(), count)).replace(",", "")
    if not re.fullmatch(r"[-+]?\d{1,30}(?:\.\d{1,30})?", count):
        return None
    value = Fraction(count) * 10**power
    rest = match[3].strip()
    shown = (
        str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
    )
    return f"{shown} {rest}".strip()
