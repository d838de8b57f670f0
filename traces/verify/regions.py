r"""Sets of real numbers with plain bounds, compared as sets however they are written.

Unions of intervals and points, inequalities joined by "and" or "or", exclusions
(`\mathbb{R} \setminus \{2\}`, `x \neq 2`, "all real numbers except 2"). Bounds that are no plain
numbers are left to `traces.verify.typed`.

A region is a sorted list of disjoint stretches between two cuts; a cut `(v, 0)` lies just before v,
`(v, 1)` just after it, so a closed end and an open one are different cuts.
"""

from __future__ import annotations

import re
from fractions import Fraction

from traces.verify.check import Check, unknown
from traces.verify.numeric import parse_number
from traces.verify.shape import Interval, bracket_interval, inequality, is_infinite, plain_signs
from traces.verify.shape import split_top as split

Cut = tuple[Fraction | float, int]
Region = list[tuple[Cut, Cut]]

_SHOWN = re.compile(
    r"\\(?:cup|setminus|neq?|mathbb|infty)(?![a-z])|[<>\u2260\u222a\u211d\u221e]|\\[lg]eq?(?![a-z])"
    r"|\breal numbers?\b|\ball reals?\b"
)
_ALL = r"(?:\\mathbb\s?\{?\s?R\s?\}?|\\R(?![a-z])|\u211d|(?:all |the )?real(?: number)?s?)"
_EVERYTHING = re.compile(_ALL)
_EXCEPT = re.compile(
    rf"(?:(?P<name>[a-z]) is )?{_ALL}\s*,?\s*"
    r"(?:\\setminus|\\backslash|-|except(?: for)?|excluding|other than)\s*(?P<points>.+)"
)
_UNEQUAL = re.compile(r"([A-Za-z])\s*(?:\\neq?(?![a-z])|\u2260)\s*(.+)")
_EQUAL = re.compile(r"([A-Za-z])\s*=\s*(.+)")
_MEMBER = re.compile(r"([A-Za-z])\s*(?:\\in(?![a-z])|\u2208)\s*(?=\S)")
_BUILDER = re.compile(
    rf"\\?\{{\s*(?:(?P<name>[A-Za-z])\s*(?:(?:\\in|\u2208)\s*{_ALL}\s*)?)"
    r"(?:\\mid|\\vert|\||:)\s*(?P<rule>.*?)\\?\}",
    re.DOTALL,
)
_APART = re.compile(
    r"\|\s?(?P<name>[A-Za-z])\s?(?:(?P<sign>[-+])\s?(?P<centre>[^|]{1,30}?))?\s?\|\s?"
    r"(?P<relation><=|>=|<|>)\s?(?P<size>[^<>|]{1,30})"
)
_OR = re.compile(r"\\(?:cup|lor|vee)(?![a-z])|\u222a|\bor\b|\bU\b")
_AND = re.compile(r"\\(?:land|wedge|quad|qquad|cap)(?![a-z])|\band\b|[,;]|\u2229")
_COMMA = re.compile(r"[,;]|\band\b")
_LISTED = re.compile(r"[,;]")
_WHOLE: Region = [((float("-inf"), 0), (float("inf"), 0))]


def compare_regions(gold: str, answer: str, question: str) -> Check | None:
    """The check of two cleaned answers that both are sets of reals, at least one of them plainly;
    None where one is not, or the answer stands in the question.
    """
    if not (_SHOWN.search(gold) or _SHOWN.search(answer)) or max(len(gold), len(answer)) > 400:
        return None
    if re.sub(r"[\s$]", "", answer) in re.sub(r"[\s$]", "", question):
        return None
    found = _Reader(), _Reader()
    wanted, given = (reader.read(text) for reader, text in zip(found, (gold, answer), strict=True))
    if wanted is None or given is None:
        return None
    names = [reader.names for reader in found]
    if any(len(some) > 1 for some in names) or (names[0] and names[1] and names[0] != names[1]):
        return unknown("other variable", "typed")
    if not wanted or not given:  # "x < -1 and x > 1" may mean "or"
        return unknown("no number meets it as it is written", "typed")
    same = wanted == given
    return Check("right" if same else "wrong", "typed", "" if same else "another set")


class _Reader:
    """Reads one text; `names` are the variables that it met."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def read(self, text: str) -> Region | None:
        text = plain_signs(text).strip()
        if builder := _BUILDER.fullmatch(text):
            self.names.add(builder["name"])
            text = builder["rule"].strip()
        elif member := _MEMBER.match(text):
            self.names.add(member[1])
            text = text[member.end() :]
        pieces = split(text, _OR)
        if len(pieces) > 1 and any(map(_UNEQUAL.match, pieces)):
            return None  # "x is not 1 or 2" is not meant as it is written
        read = [self._piece(piece) for piece in pieces]
        return None if None in read else union([part for some in read if some for part in some])

    def _piece(self, text: str) -> Region | None:
        if (whole := self._atom(text)) is not None:
            return whole
        if excluded := _UNEQUAL.fullmatch(text):
            self.names.add(excluded[1])
            rest = re.sub(r"(?:^|(?<=[,;])|(?<=and))\s*[A-Za-z]\s*(?:\\neq?(?![a-z])|\u2260)", " ",
                          excluded[2])  # fmt: skip
            return _without(rest)
        parts = [self._atom(part) for part in split(text, _AND)]
        if len(parts) < 2 or not re.search(r"[<>]", text):
            return None
        region, found = _WHOLE, Region()
        for part in parts:
            if part is None:
                return None
            region = intersection(region, part)
            found += part
        # "x < -1, x > 1": no number is both, so the comma means "or".
        return region or (union(found) if len(split(text, _LISTED)) == len(parts) else region)

    def _atom(self, text: str) -> Region | None:
        text = text.strip()
        if _EVERYTHING.fullmatch(text):
            return _WHOLE
        if found := _EXCEPT.fullmatch(text):
            if bracket := bracket_interval(found["points"].strip()):
                return _complement(_stretch(bracket))
            return _without(re.sub(r"^[A-Za-z]\s*=", "", found["points"]))
        if bracket := bracket_interval(text):
            return _stretch(bracket)
        if text.startswith(("\\{", "{")) and text.endswith("}"):
            return _points(text)
        if (equal := _EQUAL.fullmatch(text)) and (point := _value(equal[2])) is not None:
            self.names.add(equal[1])
            return [((point, 0), (point, 1))]
        if excluded := _UNEQUAL.fullmatch(text):
            self.names.add(excluded[1])
            return _without(excluded[2]) if _value(excluded[2]) is not None else None
        if apart := _APART.fullmatch(text):
            self.names.add(apart["name"])
            return _apart(apart)
        if bounded := inequality(text):
            self.names.add(bounded[0])
            return _stretch(bounded[1])
        return None


def union(parts: Region) -> Region:
    """The stretches sorted, those that touch or overlap joined."""
    joined: Region = []
    for low, high in sorted(parts):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return joined


def intersection(left: Region, right: Region) -> Region:
    """What lies in both."""
    pairs = [(max(a[0], b[0]), min(a[1], b[1])) for a in left for b in right]
    return union([(low, high) for low, high in pairs if low < high])


def _without(points: str) -> Region | None:
    excluded = _points(points)
    if excluded is None:
        return None
    return _complement(excluded)


def _complement(excluded: Region | None) -> Region | None:
    region = _WHOLE
    for before, after in excluded or ():
        region = intersection(region, [(_WHOLE[0][0], before), (after, _WHOLE[0][1])])
    return region if excluded else None


def _apart(found: re.Match[str]) -> Region | None:
    """The numbers of `|x - 3| < 2`."""
    centre, size = _value(found["centre"] or "0"), _value(found["size"])
    if not isinstance(centre, Fraction) or not isinstance(size, Fraction) or size <= 0:
        return None
    centre = -centre if found["sign"] == "+" else centre
    # Up to the ends, which belong to the inner part of `<=` and `>`.
    ends = int(found["relation"] in ("<=", ">"))
    inner: Region = [((centre - size, 1 - ends), (centre + size, ends))]
    return inner if found["relation"][0] == "<" else _complement(inner)


def _points(text: str) -> Region | None:
    text = text.strip()
    if text.startswith(("\\{", "{")):
        text = text.lstrip("\\{").rstrip("}").rstrip("\\")
    values = [_value(part) for part in split(text, _COMMA) if part]
    if not values or None in values:
        return None
    return union([((value, 0), (value, 1)) for value in values if value is not None])


def _stretch(interval: Interval) -> Region | None:
    low, high = _value(interval.low), _value(interval.high)
    if low is None or high is None:
        return None
    start, end = (low, int(not interval.closed[0])), (high, int(interval.closed[1]))
    if isinstance(low, float):
        start = (low, 0)
    if isinstance(high, float):
        end = (high, 0)
    return [(start, end)] if start < end else None


def _value(text: str) -> Fraction | float | None:
    text = text.strip()
    if sign := is_infinite(text):
        return float(sign + "inf")
    number = parse_number(text)
    plain = number is not None and not (number.words or number.name or number.percent)
    return number.value if number is not None and plain else None
