"""Numbers written in a base: the same digits in the same base.

A base left out is the one that the question asks for, where it names one only, and ten otherwise.
"""

from __future__ import annotations

import re

from traces.verify.check import Check, unknown

_BASED = re.compile(r"\(?([0-9A-Fa-f]{1,64})\)?\s?_\s?\{?\s?(?:\\text\{)?(\d{1,2})\}?")
_PLAIN = re.compile(r"[0-9A-Fa-f]{1,64}")
_BASE = re.compile(r"\bbase[\s-]*\$?(\d{1,2}|two|eight|ten|sixteen)\b|\b(binary|octal|hexadecimal)")
_TARGET = re.compile(r"\b(?:to|into|in|as)\s+(?:a number in\s+)?" + _BASE.pattern)
_NAMES = {"two": 2, "eight": 8, "ten": 10, "sixteen": 16, "binary": 2, "octal": 8}


def check_bases(gold: str, answer: str, question: str = "") -> Check | None:
    """The check where one of two cleaned answers has a base; None where neither has."""
    left, right = _BASED.fullmatch(gold), _BASED.fullmatch(answer)
    if left is None and right is None:
        return None
    if left and right:
        return _both((left[1], int(left[2])), (right[1], int(right[2])), question)
    based, plain = (left, answer) if left else (right, gold)
    assert based is not None
    if not _PLAIN.fullmatch(plain.replace(" ", "")):
        return unknown("number base on one side only", "typed")
    same = based[1].lower() == plain.replace(" ", "").lower()
    asked = _asked(question)
    if asked == {int(based[2])} or int(based[2]) == 10:
        return _told(same)
    if left is None and asked and int(based[2]) not in asked:
        return _told(False)
    return unknown("number base on one side only", "typed")


def _both(gold: tuple[str, int], answer: tuple[str, int], question: str) -> Check:
    if gold[1] == answer[1]:
        return _told(gold[0].lower() == answer[0].lower())
    values = [_value(*gold), _value(*answer)]
    if None in values or values[0] != values[1] or _asked(question) == {gold[1]}:
        return _told(False)
    return unknown("another base", "typed")


def _told(same: bool) -> Check:
    return Check("right" if same else "wrong", "typed", "" if same else "base")


def _value(digits: str, base: int) -> int | None:
    try:
        return int(digits, base)
    except ValueError:
        return None


def _asked(question: str) -> set[int]:
    """The bases that the question asks for: after `to` or `in` the last one, else all it names."""
    question = question.lower()
    found = [_number(*names) for names in _BASE.findall(question)]
    if len(set(found)) > 1 and (targets := _TARGET.findall(question)):
        return {_number(*targets[-1])} if len({_number(*t) for t in targets}) == 1 else set(found)
    return set(found)


def _number(digits: str, name: str) -> int:
    word = digits or name
    return int(word) if word.isdigit() else _NAMES.get(word, 16)
