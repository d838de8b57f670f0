r"""What kind of thing an answer is: one value, a tuple, a set, a list, intervals, or nothing.

`(1, 2)` alone may be a point or an open interval: it is a `pair`, and what it is compared with
decides. Inequalities with one variable alone on a side are intervals; `]0, 1[` is `(0, 1)`; a
matrix of one row or column is a tuple; `a \pm b` is the list of its two values.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from traces.verify.numeric import parse_number

Kind = Literal["empty", "single", "pair", "tuple", "set", "list", "intervals"]
MAX_PARTS = 12

_NOTHING = re.compile(
    r"\\emptyset|\\varnothing|\u2205|\\\{\s*\\\}|\{\s*\}|(?:the |an )?empty set|none|nothing"
    r"|(?:there (?:is|are) |(?:(?:the|this) (?:equation|inequality|system)|it) has )?"
    r"no (?:real |possible |integer |such )?"
    r"(?:solutions?|roots?|values?|answers?)(?: exists?)?",
    re.IGNORECASE,
)
_MATRIX = re.compile(
    r"\\begin\s?\{([pbvB]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\s?\{\1\}", re.DOTALL
)
_MEMBER = re.compile(
    r"^(?:[A-Za-z]|\(\s?[A-Za-z](?:\s?,\s?[A-Za-z]){1,4}\s?\))\s*(?:\\in(?![a-z])|\u2208)\s*"
)
_BUILDER = re.compile(r"^\\?\{\s*[A-Za-z]\s*(?:\\mid|\\vert|\||:)\s*(.*?)\\?\}$", re.DOTALL)
_UNION = re.compile(r"\\cup(?![a-z])|\u222a|\bor\b|\bU\b")
_AND = re.compile(r"\b(?:and|or)\b|\\(?:land|lor|wedge|vee|quad|qquad)(?![a-z])")
_SIGNS = (
    (re.compile(r"\\leqslant|\\leq|\\le(?![a-z])|\u2264"), "<="),
    (re.compile(r"\\geqslant|\\geq|\\ge(?![a-z])|\u2265"), ">="),
    (re.compile(r"\\lt(?![a-z])"), "<"),
    (re.compile(r"\\gt(?![a-z])"), ">"),
    (re.compile(r"\\lbrace"), r"\\{"),
    (re.compile(r"\\rbrace"), r"\\}"),
    (re.compile(r"\\langle"), "("),
    (re.compile(r"\\rangle"), ")"),
    (re.compile(r"\u221e|\binfinity\b"), r"\\infty"),
)
_RELATION = re.compile(r"(<=|>=|<|>)")
_ASSIGNED = re.compile(r"^([A-Za-z](?:_\{?\w\}?)?)\s*=\s*(?!=)")
_VECTOR = re.compile(r"^\\(?:vec|overrightarrow)\s?\{\s?\w{1,3}\s?\}\s*=\s*(?=[(\\])")
_UNIT_VECTOR = re.compile(
    r"\s*([-+]?)\s*([^-+ijk]{0,30}?)\s*(?:\\(?:hat|vec)\s?\{?\s?)?(?:\\[ij]math|([ijk]))(?![a-z])\}?\s*"
)
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_INFINITE = re.compile(r"([-+]?)\s*\\infty")


_DOTS = re.compile(r"\\(?:dots|ldots|cdots|dotsc)|\.{3}|\u2026")
_INTEGER = re.compile(r"-?\d{1,9}", re.ASCII)


class Interval(NamedTuple):
    """From `low` to `high`; `closed` says which ends belong to it."""

    low: str
    high: str
    closed: tuple[bool, bool]


class Shape(NamedTuple):
    """`parts` are expressions; `names` their variables where written `x = 5`, else empty.

    `intervals` is filled for pairs too. `name` is the variable of an inequality.
    """

    kind: Kind
    parts: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    intervals: tuple[Interval, ...] = ()
    name: str = ""


def shape_of(text: str) -> Shape:
    """The shape of a cleaned answer (`traces.verify.numeric.clean`)."""
    text = plain_signs(text).strip()
    if _NOTHING.fullmatch(text.rstrip(".")):
        return Shape("empty")
    if matrix := _MATRIX.fullmatch(text):
        return _vector(matrix[2]) or Shape("single", (text,))
    if builder := _BUILDER.match(text):
        text = builder[1].strip()
    text = _MEMBER.sub("", _VECTOR.sub("", text))
    return _intervals(text) or _bracketed(text) or _listed(text) or _single(text)


def plain_signs(text: str) -> str:
    """`text` with plain relations, brackets and infinities for their commands."""
    for pattern, plain in _SIGNS:
        text = pattern.sub(plain, text)
    return text


def is_infinite(part: str) -> str:
    """`-` or `+` for an infinite bound, empty for any other."""
    match = _INFINITE.fullmatch(part.strip())
    return (match[1] or "+") if match else ""


def split_top(text: str, separator: re.Pattern[str]) -> list[str]:
    """The parts between the separators that stand outside all brackets."""
    parts, depth, start, index = [], 0, 0, 0
    while index < len(text):
        character = text[index]
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and (match := separator.match(text, index)) and match.end() > index:
            parts.append(text[start:index])
            start = index = match.end()
            continue
        index += 1
    return [part.strip() for part in [*parts, text[start:]]]


_COMMA = re.compile(r"[,;]")
_LIST = re.compile(r"[,;]?\s*\b(?:and|or)\b\s*(?:(?:maybe|perhaps|possibly)\b\s*)?|[,;]")


def _vector(body: str) -> Shape | None:
    rows = [row.strip() for row in re.split(r"\\\\", body) if row.strip()]
    cells = [[cell.strip() for cell in row.split("&")] for row in rows]
    if len(cells) == 1 or all(len(row) == 1 for row in cells):
        return Shape("tuple", tuple(cell for row in cells for cell in row))
    return None


def unit_vectors(text: str, size: int) -> Shape | None:
    """`3i - j + 2k` as the tuple of its `size` (2 or 3) parts; None where it is no such sum."""
    parts = dict.fromkeys("ijk"[:size], "0")
    position = 0
    while position < len(text):
        term = _UNIT_VECTOR.match(text, position)
        if term is None or parts.get(term[3], "") != "0" or (position and not term[1]):
            return None
        count = term[2].strip("* ") or "1"
        parts[term[3]] = f"-{count}" if term[1] == "-" else count
        position = term.end()
    return Shape("tuple", tuple(parts.values())) if size in (2, 3) and position else None


def _intervals(text: str) -> Shape | None:
    pieces = split_top(text, _UNION)
    found: list[Interval] = []
    name = ""
    for piece in pieces:
        bound = bracket_interval(piece)
        if bound is None:
            read = inequality(piece)
            if read is None:
                return None
            name, bound = read
        found.append(bound)
    if len(found) == 1 and not name and found[0].closed == (False, False):
        low, high = found[0].low, found[0].high
        if text[0] == "(" and not is_infinite(low) and not is_infinite(high):
            return Shape("pair", (low, high), intervals=(found[0],))
    return Shape("intervals", intervals=tuple(sorted(found, key=_position)), name=name)


def _position(interval: Interval) -> float:
    """Where an interval begins, 0 where its bound is no plain number."""
    if sign := is_infinite(interval.low):
        return float(sign + "inf")
    number = parse_number(interval.low)
    return float(number.value) if number else 0.0


def bracket_interval(text: str) -> Interval | None:
    """The interval that two bounds in brackets are; None for anything else."""
    if len(text) < 5 or text[0] not in "([]" or text[-1] not in ")][":
        return None
    inner = split_top(text[1:-1], _COMMA)
    if len(inner) != 2 or not all(inner) or any("(" in x and ")" not in x for x in inner):
        return None
    return Interval(inner[0], inner[1], (text[0] == "[", text[-1] == "]"))


def inequality(text: str) -> tuple[str, Interval] | None:
    """A variable and where it lies, of `x < 3` or `1 < x < 3` in plain signs; None for others."""
    pieces = [piece.strip() for piece in _RELATION.split(text)]
    if len(pieces) == 3:
        left, sign, right = pieces
        if left.isalpha() and len(left) == 1 and right:
            return left, _bounded(sign, right)
        if right.isalpha() and len(right) == 1 and left:
            return right, _bounded(sign.translate(_FLIP), left)
    if len(pieces) == 5:
        low, first, name, second, high = pieces
        if not (name.isalpha() and len(name) == 1) or first[0] != second[0]:
            return None
        if first[0] == ">":
            low, first, second, high = high, second, first, low
        return name, Interval(low, high, (first[1:] == "=", second[1:] == "="))
    return None


_FLIP = str.maketrans("<>", "><")


def _bounded(sign: str, bound: str) -> Interval:
    """The interval of `x sign bound`."""
    closed = sign[1:] == "="
    if sign[0] == "<":
        return Interval("-\\infty", bound, (False, closed))
    return Interval(bound, "\\infty", (closed, False))


def _bracketed(text: str) -> Shape | None:
    for opening, closing, kind in (("\\{", "\\}", "set"), ("(", ")", "tuple"), ("{", "}", "set")):
        if not (text.startswith(opening) and text.endswith(closing)):
            continue
        inner = text[len(opening) : -len(closing)]
        if not _balanced(inner):
            return None
        parts = split_top(_plain_groups(inner), _COMMA)
        if kind == "set":
            parts = [value for part in parts for value in (_plus_minus(part) or [part])]
        parts = _filled(parts)
        if len(parts) > 1 or (opening == "\\{" and parts[0]):
            named = [_named(part) for part in parts]
            return Shape(kind, tuple(p for p, _ in named), tuple(n for _, n in named))  # type: ignore[arg-type]
    return None


def _filled(parts: list[str]) -> list[str]:
    r"""`-2, -1, \dots, 2` with the integers that the dots stand for, where they are few."""
    dots = [place for place, part in enumerate(parts) if _DOTS.fullmatch(part)]
    if len(dots) != 1 or dots[0] + 2 != len(parts) or not dots[0]:
        return parts
    shown = [*parts[: dots[0]][-2:], parts[-1]]
    if not all(_INTEGER.fullmatch(part) for part in shown):
        return parts
    *before, first, last = map(int, shown)
    step = first - before[0] if before else 1
    if not step or (last - first) % step or not 0 < (last - first) // step <= 100:
        return parts
    return [*parts[: dots[0]], *map(str, range(first + step, last, step)), parts[-1]]


def _balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if depth < 0:
            return False
    return depth == 0


def _listed(text: str) -> Shape | None:
    text = _AND.sub(lambda found: " , " if found[0][0] == "\\" else found[0], text)
    parts = [part for part in split_top(_plain_groups(text), _LIST) if part]
    parts = [value for part in parts for value in (_plus_minus(part) or [part])]
    parts = _filled(parts)
    if len(parts) < 2 or (re.search(r"[<>]", text) and len(parts) > 1):
        return None
    named = [_named(part) for part in parts]
    return Shape("list", tuple(p for p, _ in named), tuple(n for _, n in named))


def _plus_minus(text: str) -> list[str]:
    text, name = _named(text)
    if text.count("\\pm") + text.count("\u00b1") != 1:
        return []
    low, _, high = text.replace("\u00b1", "\\pm").partition("\\pm")
    prefix = f"{name} = " if name else ""
    plus = f"{low}+{high}" if low.strip() else high.strip()
    return [prefix + plus, f"{prefix}{low}-{high}"]


def _plain_groups(text: str) -> str:
    """Without thousands separators, where a comma before a space shows what separates."""
    return _GROUPED.sub("", text) if re.search(r",\s", text) else text


def _named(part: str) -> tuple[str, str]:
    match = _ASSIGNED.match(part)
    return (part[match.end() :].strip(), match[1]) if match else (part, "")


def _single(text: str) -> Shape:
    part, name = _named(text)
    return Shape("single", (part,), (name,))
