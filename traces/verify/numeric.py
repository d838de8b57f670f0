r"""The cheap tier: compare two plain numbers exactly, without a computer algebra system.

Reads integers, decimals, thousands separators, e-notation (`1.2e5`, `1.2 \times 10^{5}`),
fractions (`3/4`, `\frac{3}{4}`), mixed numbers (`2 1/3`), percentages, `x = 5`, and one number in
a few words (`42 apples`). All values are exact rationals. What it cannot read it leaves to the
symbolic tier.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction
from typing import NamedTuple

from traces.verify.asked import left_unrounded, precision, rounded_alike, wants_exact
from traces.verify.check import Check
from traces.verify.markup import PLAIN_DECIMAL
from traces.verify.spellings import respelt
from traces.verify.vocabulary import TELLING, strange

_MAX_CHARS = 400
_MAX_EXPONENT = 400
_INT = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_DECIMAL = rf"(?:{_INT}(?:\.\d*)?|\.\d+)"
_POWER = (
    r"(?:[eE](?P<e>[-+]?\d{1,4})"
    r"|\s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\s*\{?\s*(?P<p>[-+]?\d{1,4})\s*\}?)"
)
_PLAIN = re.compile(rf"(?P<number>{_DECIMAL}){_POWER}?")
_FRACTION = re.compile(
    rf"(?:(?P<whole>{_INT})(?:\s+|\s*(?=\\frac)))?"
    rf"(?:(?P<n>{_INT})\s*/\s*(?P<d>{_INT})"
    rf"|\\frac\s?(?:\{{\s*(?P<sign>-?)\s*(?P<fn>{_DECIMAL})\s*\}}\s?\{{\s*(?P<fd>{_DECIMAL})\s*\}}"
    r"|(?P<sn>\d)\s?(?P<sd>\d)))"
)
_PLAIN_FRACTION = re.compile(
    r"-?(?:(\d{1,30})/(\d{1,30})|\\frac\{(\d{1,30})\}\{(\d{1,30})\})", re.ASCII
)
_CURRENCIES = "\u20ac\u00a3\u00a5"
_NAME = re.compile(r"([A-Za-z]\w{0,12})\s*=\s*(?!=)")
_IN_WORDS = re.compile(rf"[-+]?{_DECIMAL}(?:\s?/\s?{_INT})?(?:\s?%)?")
_WORD = re.compile(
    "[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017e\u0410-\u044f\u0401\u0451]{2,}"
    "|[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3]"
)
_COUNTED = re.compile(rf"({PLAIN_DECIMAL.pattern})((?: +[A-Za-z]{{2,}})+)[ .]*", re.ASCII)
_UNIT_POWER = re.compile(r"(?<=[A-Za-z])\^(?:\{[23]\}|[23])")


class Number(NamedTuple):
    """An exact value and how it was written.

    `decimals` is the number of digits after the point, None for fractions; `name` the left side
    of `x = 5`; `words` the words around it, units mostly; `currency` its sign; `power` the exponent
    of ten it was written with.
    """

    value: Fraction
    percent: bool = False
    decimals: int | None = None
    name: str = ""
    words: frozenset[str] = frozenset()
    currency: str = ""
    power: int = 0

    @property
    def last(self) -> bool:
        """Whether its last digit tells its precision: it has decimals or an exponent."""
        return bool(self.decimals or self.power)

    @property
    def last_place(self) -> Fraction:
        """The value of one in its last digit."""
        return Fraction(10) ** (self.power - (self.decimals or 0))

    @property
    def figures(self) -> int:
        """How many significant figures it was written with; 0 for fractions and zero."""
        if self.decimals is None or not self.value:
            return 0
        return len(str(abs(int(self.value / self.last_place))))


def parse_number(text: str) -> Number | None:
    """The number that `text` (cleaned) is, or None where it is not exactly one plain number."""
    return _parsed(text) if 0 < len(text) <= _MAX_CHARS else None


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> Number | None:
    if name := _NAME.match(text):
        number = _bare_number(text[name.end() :])
        return Number(*number[:3], name.group(1), *number[4:]) if number else None
    number = _counted(text) or _bare_number(text) or _worded_number(text)
    if number is None and (plain := respelt(text)) is not None:
        number = _bare_number(plain) or _worded_number(plain)
    return number


def _bare_number(text: str) -> Number | None:
    text = text.strip()
    if PLAIN_DECIMAL.fullmatch(text):
        return _plain_decimal(text)
    if plain := _PLAIN_FRACTION.fullmatch(text):
        top, bottom = (int(digits) for digits in plain.groups() if digits)
        return Number(Fraction(-top if text[0] == "-" else top, bottom)) if bottom else None
    percent = text.endswith("%")
    text = text.removesuffix("%").strip()
    currency = (
        text[:1] if text[:1] in _CURRENCIES else text[-1:] if text[-1:] in _CURRENCIES else ""
    )
    text = text.strip(_CURRENCIES).strip()
    negative = text.startswith("-")
    text = text[1:].strip() if text[:1] in ("-", "+") else text
    number = _plain(text) or _fraction(text)
    if number is None:
        return None
    if not (negative or percent or currency):
        return number
    value = -number.value if negative else number.value
    value = value / 100 if percent else value
    return Number(value, percent, number.decimals, currency=currency, power=number.power)


def _plain_decimal(text: str, words: frozenset[str] = frozenset()) -> Number:
    whole, _, digits = text.replace(",", "").partition(".")
    value = Fraction(int(whole + digits), 10 ** len(digits)) if digits else Fraction(int(whole))
    return Number(value, False, len(digits), "", words)


def _plain(text: str) -> Number | None:
    match = _PLAIN.fullmatch(text)
    if match is None:
        return None
    digits = match["number"].replace(",", "")
    power = int(match["e"] or match["p"] or 0)
    if abs(power) > _MAX_EXPONENT:
        return None
    decimals = len(digits.partition(".")[2])
    if not (decimals or power):
        return Number(Fraction(int(digits.rstrip("."))), decimals=0)
    value = Fraction(int(digits.replace(".", "")), 10**decimals)
    value = value * Fraction(10) ** power if power else value
    return Number(value, decimals=decimals, power=power)


def _fraction(text: str) -> Number | None:
    match = _FRACTION.fullmatch(text)
    if match is None:
        return None
    top = (match["n"] or match["fn"] or match["sn"]).replace(",", "")
    bottom = (match["d"] or match["fd"] or match["sd"]).replace(",", "")
    if not bottom.strip("0."):
        return None
    whole = top.isdigit() and bottom.isdigit()
    value = Fraction(int(top), int(bottom)) if whole else Fraction(top) / Fraction(bottom)
    if match["whole"] is not None:
        # `2\frac{5}{3}` is a product as likely as a mixed number: left to the symbolic tier.
        if value >= 1 or match["sign"]:
            return None
        value += int(match["whole"].replace(",", ""))
    return Number(-value if match["sign"] else value)


def _counted(text: str) -> Number | None:
    """The number of `42 red apples`, the commonest of those in words."""
    match = _COUNTED.fullmatch(text)
    if match is None:
        return None
    words = frozenset(match[2].lower().split())
    if not TELLING.isdisjoint(words):
        return None
    return _plain_decimal(match[1], words)


def _worded_number(text: str) -> Number | None:
    words = frozenset(word.lower() for word in _WORD.findall(text))
    if not words or not TELLING.isdisjoint(words):
        return None
    rest = _UNIT_POWER.sub("", text)
    found = _IN_WORDS.findall(rest)
    if len(found) != 1:
        return None
    if _WORD.sub("", rest.replace(found[0], "", 1)).strip(" .,:;!'") != "":
        return None
    number = _bare_number(found[0])
    return Number(*number[:4], words, *number[5:]) if number else None


def compare_numbers(gold: Number, answer: Number, question: str = "") -> Check | None:
    """Right where the values are equal, wrong where they differ; None where this tier cannot say.

    A percentage equals the number without the sign only where the question speaks of percent;
    otherwise it is a hundredth. The question decides about rounding: at the precision it asks for
    the two are compared; where it asks for an exact value a rounded one is wrong. Where it is
    silent, an answer that rounds to the reference is right, and one that is the reference rounded
    is wrong up to three decimals of an exact reference, otherwise unknown.
    """
    if gold.name and answer.name and gold.name != answer.name:
        return None
    if gold.currency and answer.currency and gold.currency != answer.currency:
        return Check("wrong", "numeric", f"{answer.currency} is not {gold.currency}")
    if gold.words and answer.words and gold.words != answer.words:
        return Check("unknown", "numeric", f"other words: {' '.join(sorted(answer.words))}")
    check = _compare(gold, answer, question)
    beside = check.outcome == "wrong" and not answer.words and strange(gold.words, question)
    if beside:
        return Check("unknown", "numeric", f"words beside the reference: {beside[0][:60]}")
    if check.outcome != "right" or not answer.words:
        return check
    noise = " ".join(strange(answer.words - gold.words, question))
    return Check("unknown", "numeric", f"words beside the number: {noise[:60]}") if noise else check


def _compare(gold: Number, answer: Number, question: str) -> Check:
    wanted, given = gold.value, answer.value
    if gold.percent != answer.percent and ("percent" in question.lower() or "%" in question):
        wanted, given = (100 * n.value if n.percent else n.value for n in (gold, answer))
    if wanted == given:
        return Check("right", "numeric")
    return _inexact(gold, answer, wanted, given, question)


def _inexact(
    gold: Number, answer: Number, wanted: Fraction, given: Fraction, question: str
) -> Check:
    """Two values that differ: perhaps only by the rounding that the question asks for."""
    if wants_exact(question):
        return Check("wrong", "numeric", "not exact")
    if asked := precision(question):
        percent = gold.percent and answer.percent
        scale = 100 if percent else 1
        alike = rounded_alike(wanted * scale, given * scale, asked)
        if alike and left_unrounded(given * scale, asked, question):
            return Check("wrong", "numeric", "not rounded")
        return Check("right" if alike else "wrong", "numeric", "rounded" if alike else "")
    if _is_rounding(answer, gold):
        if answer.decimals is None or gold.figures >= 3:
            return Check("right", "numeric", "more precise than the reference")
        return Check("unknown", "numeric", "rounded")
    if _is_rounding(gold, answer):
        if gold.decimals is None and (answer.decimals or 0) <= 3:
            return Check("wrong", "numeric", "rounded")
        return Check("unknown", "numeric", "rounded")
    return Check("wrong", "numeric")


def _is_rounding(exact: Number, rounded: Number) -> bool:
    """Whether `rounded` is `exact` to its own (at least two) decimals and `exact` has more."""
    if rounded.decimals is None or rounded.decimals < 2:
        return False
    places = rounded.decimals - rounded.power
    if exact.decimals is not None and exact.decimals - exact.power <= places:
        return False
    places += 2 if rounded.percent else 0
    return abs(exact.value - rounded.value) * 2 <= Fraction(10) ** -places
