"""The symbolic comparison itself: runs inside a worker process, never in the caller's.

math-verify stops runaway work by SIGALRM, which fails in threads, cancels the caller's own alarm
and turns a time limit into "wrong". Its limits are switched off here; the worker has its own.
"""

from __future__ import annotations

import logging
import re
from fractions import Fraction
from typing import Any

from math_verify import parse, verify

from traces.verify.numeric import parse_number

_NOISE = re.compile(r"[#@?`\"]")  # the parser drops what follows them
_BRACKET = re.compile(r"\(([^()]{3,200})\)")
logging.getLogger("math_verify").setLevel(logging.CRITICAL)
logging.getLogger("latex2sympy2_extended").setLevel(logging.CRITICAL)


def compare(gold: str, answer: str, how: str = "same") -> tuple[str, str]:
    """Outcome and reason (`how`: see `traces.verify.check.Pending`).

    Unknown where a side does not parse.
    """
    if how == "up to a constant":
        return up_to_a_constant(gold, answer)
    if how == "same":
        return _one(gold, answer)
    if how == "factored":
        return _factored(gold, answer)
    if how == "family":
        return _family(gold, answer)
    golds, answers = gold.split("\n"), answer.split("\n")
    if how == "in order":
        outcomes = [_one(g, a) for g, a in zip(golds, answers, strict=True)]
        return next((x for x in outcomes if x[0] == "wrong"), None) or next(
            (x for x in outcomes if x[0] == "unknown"), ("right", "")
        )
    return _any_order(golds, answers)


def _family(gold: str, answer: str) -> tuple[str, str]:
    """Two rules in k as sets of values: `a + b k` for all integers k is the same set where b is the
    same but for its sign and the two a are a multiple of b apart.
    """
    import sympy

    read = [_read(gold), _read(answer)]
    if not all(read):
        return "unknown", "does not parse"
    k = sympy.Symbol("k")
    starts, steps = [], []
    for rule, *_ in read:
        rule = sympy.sympify(rule)
        if not isinstance(rule, sympy.Expr):
            return "unknown", "not one rule"
        rule = rule.subs({symbol: k for symbol in rule.free_symbols if symbol.name == "k"})
        step = sympy.simplify(rule.subs(k, 1) - rule.subs(k, 0))
        if rule.free_symbols - {k} or step == 0 or sympy.simplify(rule.diff(k) - step) != 0:
            return "unknown", "no steps of one size"
        starts.append(rule.subs(k, 0))
        steps.append(step)
    if sympy.simplify(abs(steps[0]) - abs(steps[1])) != 0:
        return "wrong", ""
    apart = sympy.simplify((starts[0] - starts[1]) / steps[0])
    return ("right", "") if apart.is_integer else ("wrong", "")


def _any_order(golds: list[str], answers: list[str]) -> tuple[str, str]:
    doubt = ""
    for gold in golds:
        outcomes = [_one(gold, answer) for answer in answers]
        match = next((i for i, x in enumerate(outcomes) if x[0] == "right"), None)
        if match is not None:
            del answers[match]
        elif all(x[0] == "wrong" for x in outcomes):
            return "wrong", ""
        else:
            doubt = next(reason for outcome, reason in outcomes if outcome == "unknown")
    return ("unknown", doubt) if doubt else ("right", "")


def _factored(gold: str, answer: str) -> tuple[str, str]:
    """As `_one`, and no bracket of the answer may be a product itself, if none of the gold is."""
    found = _one(gold, answer)
    if found[0] != "right" or _unfactored(gold):
        return found
    left = _unfactored(answer)
    return (left, "not factored completely") if left else found


def _unfactored(product: str) -> str:
    """`wrong` where a bracket is reducible, `unknown` where a number can be taken out of one."""
    import sympy

    worst = ""
    for inner in _BRACKET.findall(product):
        read = _read(inner)
        if not read or not isinstance(read[0], sympy.Expr) or not read[0].is_polynomial():
            continue
        content, factors = sympy.factor_list(read[0])
        if sum(count for _, count in factors) > 1:
            return "wrong"
        worst = "unknown" if factors and abs(content) != 1 else worst
    return worst


def _one(gold: str, answer: str) -> tuple[str, str]:
    wanted = _read(gold)
    if not wanted:
        return "unknown", "reference does not parse"
    given = _read(answer)
    if not given:
        return "unknown", "answer does not parse"
    if verify(wanted, given, timeout_seconds=None) or _same_complex(wanted[0], given[0]):
        noise = _NOISE.search(answer)
        return ("unknown", "signs that mean nothing in a formula") if noise else ("right", "")
    return _rounded(gold, given[0]) or ("wrong", "")


def _rounded(gold: str, given: Any) -> tuple[str, str] | None:
    """The outcome where the gold is a decimal and the answer an exact number that rounds to it."""
    import sympy

    number = parse_number(gold)
    if number is None or not number.decimals or number.percent:
        return None
    if not isinstance(given, sympy.Expr) or not given.is_number or given.atoms(sympy.Float):
        return None
    value = sympy.N(given, 40)
    if not value.is_real or abs(Fraction(str(value)) - number.value) * 2 > number.last_place:
        return None
    return ("right", "") if number.figures >= 3 else ("unknown", "rounded")


def _same_complex(wanted: Any, given: Any) -> bool:
    """Whether both are numbers once `i` is the imaginary unit, which the parser leaves a symbol."""
    import sympy

    if not all(isinstance(side, sympy.Expr) for side in (wanted, given)):
        return False
    names = {symbol.name for symbol in wanted.free_symbols | given.free_symbols}
    if names != {"i"}:
        return False
    unit = sympy.Symbol("i")
    gap = sympy.N((wanted - given).subs(dict.fromkeys((unit, *wanted.free_symbols), sympy.I)), 20)
    return bool(gap.is_number and abs(gap) < 1e-12)


def up_to_a_constant(gold: str, answer: str) -> tuple[str, str]:
    """Whether two antiderivatives differ by a number: their difference at eight points is one.

    Both sides of zero may have a constant of their own, as `ln|x|` allows.
    """
    import sympy

    read = [_read(gold), _read(answer)]
    if not all(read):
        return "unknown", "does not parse"
    left, right = (sympy.sympify(found[0]) for found in read)
    names = left.free_symbols | right.free_symbols
    if len(names) != 1 or left.free_symbols - right.free_symbols:
        return _one(gold, answer)
    (name,) = names
    gaps = []
    for point in ("0.31", "0.47", "0.83", "1.27", "1.91", "2.63", "3.37", "5.11"):
        value = sympy.N((left - right).subs(name, sympy.Rational(point)), 30)
        if value.is_number and value.is_finite:
            gaps.append(complex(value))
    if len(gaps) < 3:
        return "unknown", "no values to compare"
    spread = max(abs(gap - gaps[0]) for gap in gaps)
    if spread < 1e-9 * (1 + abs(gaps[0])):
        return "right", ""
    # Beyond a branch point the constant may change, which eight points cannot tell from a mistake.
    return ("unknown", "branches") if any(abs(g.imag) > 1e-9 for g in gaps) else ("wrong", "")


def _read(expression: str) -> list[Any]:
    boxed = "\\boxed{" + expression + "}"
    found: list[Any] = parse(boxed, parsing_timeout=None, fallback_mode="no_fallback")
    return found
