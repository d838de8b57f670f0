"""Answers in words: yes and no, true and false, dates, phrases."""

from __future__ import annotations

import re

from traces.verify.check import Check, unknown
from traces.verify.text import canonical

_TRUTH = {
    "yes": True, "true": True, "t": True, "correct": True, "y": True,
    "no": False, "false": False, "f": False, "incorrect": False, "n": False,
}  # fmt: skip
_CLAUSE = re.compile(r"[,;.:]\s+|\s+(?:\u2014|\u2013|-)\s+|\s+(?=because\b|since\b|as\b)")
_WAVERS = re.compile(
    r"\b(?:yes|no|true|false|correct|incorrect|maybe|perhaps|or|wait|actually|but|unsure|not sure|"
    r"although|however|wrong|unless|if|only)\b"
)
_LIMITS = dict.fromkeys(("infty", "infinity", "\u221e", "+infty", "+infinity", "+\u221e"), "+")
_LIMITS |= {"positive infinity": "+", "plus infinity": "+", "dne": "none", "undefined": "none"}
_LIMITS |= dict.fromkeys(("-infty", "-infinity", "-\u221e"), "-") | {"minus infinity": "-"}
_LIMITS |= {"negative infinity": "-", "does not exist": "none", "the limit does not exist": "none"}
_MONTHS = "january february march april may june july august september october november december"
_MONTH = {name: n for n, name in enumerate(_MONTHS.split(), 1)}
_MONTH |= {name[:3]: n for name, n in _MONTH.items()} | {"sept": 9}
_ISO = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})")
_DAY_FIRST = re.compile(r"(?:the )?(\d{1,2})(?:st|nd|rd|th)?(?: of)? ([a-z]{3,9})\.?,? ?(\d{4})?")
_MONTH_FIRST = re.compile(r"([a-z]{3,9})\.? (?:the )?(\d{1,2})(?:st|nd|rd|th)?,? ?(\d{4})?")
_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2}))?\s?(?:([ap])\.?m\.?)?")


def check_words(gold: str, answer: str) -> Check | None:
    """The check where truth values, dates or times of day are compared; None for other words."""
    for read in (_truth, _date, _time, _limit):
        wanted, given = read(gold), read(answer)
        if wanted is not None and given is not None:
            return Check("right" if wanted == given else "wrong", "words")
    return None


def phrases(gold: str, answer: str) -> Check:
    """Two phrases: right where they are the same, unknown where not but for single words."""
    left, right = canonical(gold), canonical(answer)
    if left == right:
        return Check("right", "words")
    # Two phrasings of one fact are beyond this tier, two single words are not.
    if len(left.split()) == 1 and len(right.split()) == 1:
        return Check("wrong", "words")
    return unknown("words", "words")


def _truth(text: str) -> bool | None:
    """The truth value that `text` is, or begins with where nothing after it takes it back."""
    text = canonical(text)
    first, *rest = _CLAUSE.split(text, maxsplit=1)
    return None if rest and _WAVERS.search(rest[0]) else _TRUTH.get(first)


def _limit(text: str) -> str | None:
    text = canonical(text).removeprefix("\\").replace("-\\", "-").replace("+\\", "+")
    return _LIMITS.get(" ".join(text.split()))


def _date(text: str) -> tuple[int | None, int, int] | None:
    text = canonical(text)
    if match := _ISO.fullmatch(text):
        year, month, day = (int(x) for x in match.groups())
        return year, month, day
    if match := _DAY_FIRST.fullmatch(text):
        shown, name, written = match.groups()
    elif match := _MONTH_FIRST.fullmatch(text):
        name, shown, written = match.groups()
    else:
        return None
    if name not in _MONTH:
        return None
    return int(written) if written else None, _MONTH[name], int(shown)


def _time(text: str) -> tuple[int, int] | None:
    match = _CLOCK.fullmatch(canonical(text))
    if match is None or not (match[2] or match[3]):
        return None
    hour, minute = int(match[1]), int(match[2] or 0)
    if match[3]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if match[3] == "p" else 0)
    return (hour, minute) if hour < 24 and minute < 60 else None
