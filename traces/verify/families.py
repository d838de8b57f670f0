r"""Families of solutions, one for each integer: `\frac{\pi}{4} + k\pi, k \in \mathbb{Z}`.

The index may have any name and start anywhere. What the two rules are is left to the symbolic tier,
which compares the sets of their values.
"""

from __future__ import annotations

import re

from traces.verify.angles import has_pi, in_degrees, in_radians
from traces.verify.check import Check, Pending, unknown

_FAMILY = re.compile(
    r"(?:[A-Za-z]\s*=\s*)?(?P<rule>[^=]+?)\s*[,;(]?\s*(?:(?:where|for|with)\s)?(?:all\s|any\s)?\s*"
    r"(?P<index>[a-z])\s*(?:(?:\\in|\u2208)\s*(?:\\mathbb\s?\{?\s?Z\s?\}?|Z|\u2124)"
    r"|is an(?:y)? integer|an(?:y)? integer)\s*\)?\.?"
)
_NAMED = re.compile(r"^[A-Za-z]\s*=\s*(?!=)")
_LETTER = re.compile(r"(?<![A-Za-z\\])[a-z](?![A-Za-z])")
_COMMAND = re.compile(r"\\[A-Za-z]+")


def is_family(text: str) -> bool:
    r"""Whether a cleaned text is a rule with its index: `k\pi, k \in \mathbb{Z}`."""
    return _FAMILY.fullmatch(text) is not None


def check_family(gold: str, answer: str) -> Check | Pending | None:
    """What is to be compared where `gold` is a family, both cleaned; None where it is none.

    An answer without a condition has the one letter that it holds for its index; one without a
    letter is a single solution, hence wrong.
    """
    wanted = _FAMILY.fullmatch(gold)
    if wanted is None or "\\pm" in gold + answer:
        return None
    given = _FAMILY.fullmatch(answer)
    rule = given["rule"] if given else _NAMED.sub("", answer)
    index = given["index"] if given else ""
    if not index:
        letters = set(_LETTER.findall(_COMMAND.sub(" ", rule)))
        if not letters and not re.search(r"[,;]|\bor\b|\band\b", rule):
            return Check("wrong", "typed", "one solution of many")
        if len(letters) != 1:
            return None
        (index,) = letters
    golds, answers = _renamed(wanted["rule"], wanted["index"]), _renamed(rule, index)
    if in_degrees(golds) != in_degrees(answers):
        if not has_pi(answers if in_degrees(golds) else golds):
            return unknown("degrees on one side only", "typed")
        golds, answers = in_radians(golds), in_radians(answers)
    return Pending(golds, answers, "family")


def _renamed(rule: str, index: str) -> str:
    return re.sub(rf"(?<![A-Za-z\\]){index}(?![A-Za-z])", "k", rule)
