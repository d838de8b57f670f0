"""Compare answers of which at least one is more than one value: decided by their shapes.

A tuple is no set and no interval. What each is comes from the reference and the question; the
order of a list counts only where the question asks for it. Values that are no plain numbers are
left to the symbolic tier, pairwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from traces.verify.check import Check, Pending, unknown
from traces.verify.families import check_family
from traces.verify.markup import clean
from traces.verify.numeric import compare_numbers, parse_number
from traces.verify.regions import compare_regions
from traces.verify.shape import MAX_PARTS, Shape, is_infinite, shape_of, unit_vectors

_WORDS = re.compile(r"(?<![\\a-z])(?!(?:sqrt|sin|cos|tan|log)\b)[a-z]{3,}", re.IGNORECASE)
# What the shapes do not read: exclusions, number sets, congruences, ratios.
_NOTATION = re.compile(
    r"\\(?:neq?|setminus|mathbb|pmod|bmod|equiv)(?![a-z])|\u2260|^\s*\d+\s*:\s*\d+\s*$"
)
_ORDERED = re.compile(
    r"\b(?:respectively|in order|ordered (?:pair|triple|tuple|list)|(?:as|des)cending|"
    r"coordinates?)\b"
)
_POINT = re.compile(
    r"\b(?:ordered (?:pair|triple)|points?|coordinates?|vectors?|vertex|midpoint)\b"
)
_TUPLE = re.compile(r"\(\s?[a-z](?:\s?,\s?[a-z]){1,5}\s?\)")
_INTERVAL = re.compile(r"\b(?:intervals?|inequalit(?:y|ies)|domain|range|interval notation)\b")


def check_typed(gold: str, answer: str, question: str = "") -> Check | Pending | None:
    """The check of two cleaned answers; None where both are single values."""
    if regions := compare_regions(gold, answer, question):
        return regions
    if family := check_family(gold, answer):
        return family
    if bool(_NOTATION.search(gold)) != bool(_NOTATION.search(answer)):
        return unknown("notation on one side only", "typed")
    wanted, given = shape_of(gold), shape_of(answer)
    if wanted.kind == given.kind == "single":
        return None
    if given.kind == "single" and wanted.kind in ("pair", "tuple"):
        given = unit_vectors(given.parts[0], len(wanted.parts)) or given
    elif wanted.kind == "single" and given.kind in ("pair", "tuple"):
        wanted = unit_vectors(wanted.parts[0], len(given.parts)) or wanted
    if "empty" in (wanted.kind, given.kind):
        return Check("right" if wanted.kind == given.kind else "wrong", "typed", "empty set")
    question = question.lower()
    if "intervals" in (wanted.kind, given.kind) or _both_pairs_as(question, wanted, given):
        return _intervals(wanted, given, answer, question)
    if wanted.kind == "single":
        return _one(wanted, given)
    return _several(wanted, given, question)


def _both_pairs_as(question: str, *shapes: Shape) -> bool:
    return all(s.kind == "pair" for s in shapes) and bool(_INTERVAL.search(question))


def _differ(wanted: Shape, given: Shape) -> Check:
    return Check("wrong", "typed", f"{given.kind} is not {wanted.kind}")


def _intervals(wanted: Shape, given: Shape, answer: str, question: str) -> Check | Pending:
    if not wanted.intervals or not given.intervals:
        return _differ(wanted, given)
    if "pair" in (wanted.kind, given.kind) and _POINT.search(question):
        return _differ(wanted, given)
    if wanted.name and given.name and wanted.name != given.name:
        return unknown("other variable", "typed")
    if wanted.name != given.name and _squeezed(answer) in _squeezed(question):
        if "interval notation" in question:
            return Check("wrong", "typed", "restates the question")
        return unknown("restates the question", "typed")
    if [i.closed for i in wanted.intervals] != [i.closed for i in given.intervals]:
        return Check("wrong", "typed", "other ends")
    golds = [end for i in wanted.intervals for end in (i.low, i.high)]
    answers = [end for i in given.intervals for end in (i.low, i.high)]
    return in_order(golds, answers)


def _squeezed(text: str) -> str:
    return re.sub(r"[\s$\\]|left|right", "", text).lower().replace("leq", "<=").replace("geq", ">=")


def _one(wanted: Shape, given: Shape) -> Check | Pending | None:
    if given.kind == "set" and len(given.parts) == 1:
        return in_order(wanted.parts, given.parts)
    if given.kind in ("list", "set"):
        if len({_squeezed(part) for part in given.parts}) == 1:
            once = in_order(wanted.parts, given.parts[:1])
            twice = given.kind == "list" and getattr(once, "outcome", "right") == "right"
            return unknown("the same value twice", "typed") if twice else once
        if any(_WORDS.search(part) for part in given.parts):
            return None
        return Check("wrong", "typed", "hedge: several values for one")
    return _differ(wanted, given)


def _several(wanted: Shape, given: Shape, question: str) -> Check | Pending | None:
    sequence = ("pair", "tuple")
    if given.kind == "single":
        if wanted.kind == "set" and len(wanted.parts) == 1:
            return in_order(wanted.parts, given.parts)
        return Check("wrong", "typed", "one value for several")
    if wanted.kind in sequence and given.kind in sequence:
        return in_order(wanted.parts, given.parts)
    if (wanted.kind == "set" and given.kind in sequence) or (
        wanted.kind in sequence and given.kind == "set"
    ):
        return _differ(wanted, given)
    if all(wanted.names) and all(given.names) and wanted.names and given.names:
        if sorted(wanted.names) != sorted(given.names):
            return unknown("other variables", "typed")
        if len(set(wanted.names)) == len(wanted.names):
            pairs = dict(zip(given.names, given.parts, strict=True))
            return in_order(wanted.parts, [pairs[name] for name in wanted.names])
    if wanted.kind in sequence and given.kind == "list" and (ordered := _by_name(given, question)):
        return in_order(wanted.parts, ordered)
    if wanted.kind in sequence or given.kind in sequence or _ORDERED.search(question):
        return in_order(wanted.parts, given.parts)
    return in_any_order(wanted.parts, given.parts)


def _by_name(shape: Shape, question: str) -> list[str]:
    """The values of `y = 2, x = 3` in the order of a tuple of the question that has the names, else
    of the alphabet; nothing where not all have a letter of their own.
    """
    names = [name.lower() for name in shape.names]
    if not all(names) or len(set(names)) != len(names) or any(len(name) > 1 for name in names):
        return []
    tuples = (re.findall(r"[a-z]", found) for found in _TUPLE.findall(question))
    order = next((found for found in tuples if sorted(found) == sorted(names)), sorted(names))
    pairs = dict(zip(names, shape.parts, strict=True))
    return [pairs[name] for name in order]


def in_order(golds: Sequence[str], answers: Sequence[str]) -> Check | Pending:
    """Whether each answer is the gold in its place."""
    if len(golds) != len(answers):
        return Check("wrong", "typed", f"{len(answers)} values, not {len(golds)}")
    open_pairs = []
    for gold, answer in zip(golds, answers, strict=True):
        same = _same(gold, answer)
        if same is False:
            return Check("wrong", "typed")
        if same is None:
            open_pairs.append((gold, answer))
    return _left([g for g, _ in open_pairs], [a for _, a in open_pairs], "in order")


def in_any_order(golds: Sequence[str], answers: Sequence[str]) -> Check | Pending:
    """Whether the answers are the golds, each once; the same expression twice counts once."""
    left = list({_squeezed(gold): gold for gold in golds}.values())
    others = list({_squeezed(answer): answer for answer in answers}.values())
    if len(left) != len(others):
        return Check("wrong", "typed", f"{len(others)} values, not {len(left)}")
    for gold in list(left):
        match = next((answer for answer in others if _same(gold, answer)), None)
        if match is not None:
            left.remove(gold)
            others.remove(match)
    if any(all(_same(gold, answer) is False for answer in others) for gold in left):
        return Check("wrong", "typed")
    return _left(left, others, "any order")


def _left(golds: list[str], answers: list[str], how: str) -> Check | Pending:
    if not golds:
        return Check("right", "typed")
    if len(golds) > MAX_PARTS:
        return unknown(f"{len(golds)} formulas > {MAX_PARTS}", "guard")
    gold, answer = ("\n".join(" ".join(p.split()) for p in parts) for parts in (golds, answers))
    return Pending(gold, answer, how)


def _same(gold: str, answer: str) -> bool | None:
    """Whether two values are the same; None where only algebra can tell."""
    gold, answer = clean(gold), clean(answer)
    if is_infinite(gold) or is_infinite(answer):
        return is_infinite(gold) == is_infinite(answer)
    if "".join(gold.split()) == "".join(answer.split()):
        return True
    if gold[:1] in ("(", "[", "\\") or answer[:1] in ("(", "["):
        check = check_typed(gold, answer)
        if isinstance(check, Check):
            return check.outcome == "right"
    left, right = parse_number(gold), parse_number(answer)
    if left is None or right is None:
        return None
    compared = compare_numbers(left, right)
    return None if compared is None else compared.outcome == "right"
