"""Labelled solutions of school mathematics, and hostile answers, made from a seed.

`solutions` imitates two kinds of problem set: word problems with one number as the answer (60 %)
and competition problems (40 %) whose answers are integers, fractions, roots, multiples of pi,
expressions, tuples and intervals in shares like those of public sets, as we judge them. About three
in ten are wrong. The label follows from how an answer was made, never from a verifier.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

THINGS = ("apples", "tickets", "students", "pages", "marbles", "dollars", "minutes", "miles")
FILLER = (
    "First, note that {a} and {b} are given, so {a} + {b} = {c}.",
    "Each of the {a} groups has {b} members; that makes {a} * {b} of them in all.",
    "We subtract {b} from {a} and keep track of the sign.",
    "Let x be the unknown. Then {a}x = {c}, which we solve step by step.",
    "Checking: {a} times {b} leaves a remainder, so this case is excluded.",
    "That is about {a}.5 percent, or {b} out of {c}.",
)


class Solution(NamedTuple):
    """A question, its reference, a response and whether that is right."""

    question: str
    gold: str
    response: str
    right: bool


def solutions(count: int, seed: int = 0) -> Iterator[Solution]:
    """`count` labelled solutions."""
    chosen = random.Random(seed)
    for _ in range(count):
        yield _word_problem(chosen) if chosen.random() < 0.6 else _competition(chosen)


def _thoughts(chosen: random.Random) -> str:
    parts = []
    for _ in range(chosen.randrange(3, 12)):
        a, b = chosen.randrange(2, 90), chosen.randrange(2, 90)
        parts.append(chosen.choice(FILLER).format(a=a, b=b, c=a + b))
    return " ".join(parts)


def _word_problem(chosen: random.Random) -> Solution:
    thing = chosen.choice(THINGS)
    value = Fraction(chosen.choice([chosen.randrange(1, 100), chosen.randrange(100, 20000)]))
    if chosen.random() < 0.15:
        value += Fraction(chosen.choice([1, 2, 3]), 4)
    right = chosen.random() < 0.7
    said = value if right else _other(value, chosen)
    ending = chosen.choice(
        ["#### {}", "The answer is {}.", "\\boxed{{{}}}", "So the answer is \\boxed{{{}}}.",
         "Answer: {}", "**Answer:** {}", "The final answer is $\\boxed{{{}}}$."]
    ).format(_written(said, thing, chosen))  # fmt: skip
    gold = f"{_thoughts(chosen)}\n#### {_plain(value)}" if chosen.random() < 0.5 else _plain(value)
    question = f"A shop has many {thing}. {_thoughts(chosen)} How many {thing} are there now?"
    return Solution(question, gold, f"{_thoughts(chosen)}\n\n{ending}", right)


def _plain(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else str(float(value))


def _written(value: Fraction, thing: str, chosen: random.Random) -> str:
    plain = _plain(value)
    ways = [plain, plain, plain, f"{plain} {thing}", f"{plain} \\text{{ {thing}}}", f"{plain}.0"]
    if value.denominator == 1:
        ways += [f"{value.numerator:,}", f"{value.numerator:,}"]
    else:
        ways[5] = f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
    if thing == "dollars":
        ways += [f"\\${plain}"] * 2
    return chosen.choice(ways)


def _other(value: Fraction, chosen: random.Random) -> Fraction:
    return chosen.choice([value + 1, value - 1, 2 * value, value * 10, value + 10, -value])


def _competition(chosen: random.Random) -> Solution:
    right = chosen.random() < 0.7
    kinds = ["integer"] * 57 + ["fraction"] * 15 + ["root"] * 9 + ["pi"] * 4
    kinds += ["expression"] * 7 + ["tuple"] * 4 + ["interval"] * 4
    gold, same, other = _MAKERS[chosen.choice(kinds)](chosen)
    said = chosen.choice(same) if right else chosen.choice(other)
    response = f"{_thoughts(chosen)} Thus we get $\\boxed{{{said}}}$."
    return Solution(f"Problem: {_thoughts(chosen)} Find the value.", gold, response, right)


Made = tuple[str, list[str], list[str]]


def _integer(chosen: random.Random) -> Made:
    n = chosen.randrange(-200, 3000)
    return str(n), [str(n), f"{n}", f"x = {n}", f"{n}.0"], [str(n + 1), str(-n - 1), f"{2 * n + 1}"]


def _ratio(chosen: random.Random) -> Made:
    bottom = chosen.choice([2, 3, 4, 5, 7, 8, 9, 11, 12])
    top = chosen.randrange(1, 60)
    value = Fraction(top, bottom)
    a, b = value.numerator, value.denominator
    same = [f"\\frac{{{a}}}{{{b}}}", f"{a}/{b}", f"\\dfrac{{{a}}}{{{b}}}"]
    if b in (2, 4, 5, 8):
        same.append(str(float(value)))
    other = [f"\\frac{{{a + 1}}}{{{b}}}", f"\\frac{{{a}}}{{{b + 1}}}", f"-\\frac{{{a}}}{{{b}}}"]
    return f"\\frac{{{a}}}{{{b}}}", same, other


def _root(chosen: random.Random) -> Made:
    k, n = chosen.randrange(2, 12), chosen.choice([2, 3, 5, 6, 7, 10, 11])
    same = [f"{k}\\sqrt{{{n}}}", f"\\sqrt{{{n}}} \\cdot {k}", f"\\sqrt{{{k * k * n}}}"]
    return same[0], same, [f"{k + 1}\\sqrt{{{n}}}", f"{k}\\sqrt{{{n + 1}}}", f"\\sqrt{{{k * n}}}"]


def _pi(chosen: random.Random) -> Made:
    a, b = chosen.randrange(1, 12), chosen.choice([5, 7, 13])
    same = [f"\\frac{{{a}\\pi}}{{{b}}}", f"\\frac{{{a}}}{{{b}}}\\pi", f"{a}\\pi/{b}"]
    return same[0], same, [f"\\frac{{{a + 1}\\pi}}{{{b}}}", f"\\frac{{{a}}}{{{b}}}", f"{a}\\pi"]


def _expression(chosen: random.Random) -> Made:
    a, b = chosen.randrange(2, 9), chosen.randrange(2, 9)
    same = [f"x^2 + {a + b}x + {a * b}", f"(x+{a})(x+{b})", f"{a * b} + {a + b}x + x^2"]
    other = [f"x^2 + {a + b + 1}x + {a * b}", f"(x-{a})(x+{b})", f"x^2 + {a * b}"]
    return same[0], same, other


def _tuple(chosen: random.Random) -> Made:
    a = chosen.randrange(-9, 9)
    b = a + chosen.randrange(1, 9)
    same = [f"({a}, {b})", f"({a},{b})", f"\\left({a}, {b}\\right)"]
    return same[0], same, [f"({b}, {a})", f"({a}, {b + 1})", f"{a}"]


def _interval(chosen: random.Random) -> Made:
    a = chosen.randrange(-9, 9)
    b = a + chosen.randrange(1, 9)
    same = [f"[{a}, {b})", f"[{a},{b})", f"{a} \\le x < {b}"]
    return same[0], same, [f"({a}, {b})", f"[{a}, {b}]", f"[{a}, {b + 1})"]


_MAKERS = {
    "integer": _integer, "fraction": _ratio, "root": _root, "pi": _pi,
    "expression": _expression, "tuple": _tuple, "interval": _interval,
}  # fmt: skip

_SOUP = r"""
    \frac{ }{ } \sqrt{ ^{ _{ ( ) [ ] \{ \} x y 9 0 1 + - * / ! = < , \sin \log \int
    \sum_{i=1}^{9} \pi \infty \cup \begin{pmatrix} \end{pmatrix} \\ & e i % $ \text{ or </think>
    <think> \boxed{ # ` ' " \left \right | \lim_{x\to0} \mod \circ 10^{ ...
"""
_PIECES = (*_SOUP.split(), " and ", "\x00", "\ud800", "\u202e", "\u0663", "\n", " ")


def hostile(count: int, seed: int = 0) -> Iterator[str]:
    """`count` responses made to hang, crash or fool a verifier."""
    chosen = random.Random(seed)
    for _ in range(count):
        yield _hostile(chosen)


def _hostile(chosen: random.Random) -> str:
    n = chosen.choice([1, 3, 10, 60, 300, 5000])
    kind = chosen.random()
    if kind < 0.5:
        soup = "".join(chosen.choice(_PIECES) for _ in range(chosen.randrange(1, 40)))
        return f"\\boxed{{{soup}}}"
    if kind < 0.997:
        return chosen.choice([_brackets, _digits, _tags, _towers, _long, _blanks])(chosen, n)
    return "\\boxed{" + chosen.choice(BURNERS) + "}"


BURNERS = (
    "9^{9^{9}}", "\\int_0^1 \\sin(x^{x^x}) e^{-x^2} dx", "\\sum_{n=1}^{99999} \\frac{1}{n^3+n+1}",
    "(x+y+z+1)^{300}", "\\sqrt[99]{123456789^{999}+1}", "\\prod_{k=1}^{9999} (1+\\frac{1}{k^2})",
    "\\begin{pmatrix}" + "\\\\".join("&".join(["x+y"] * 9) for _ in range(9)) + "\\end{pmatrix}",
)  # fmt: skip


def _brackets(chosen: random.Random, n: int) -> str:
    opening, closing = chosen.choice([("(", ")"), ("{", "}"), ("\\sqrt{", "}"), ("\\boxed{", "}")])
    return "\\boxed{" + opening * n + "5" + closing * chosen.choice([n, n - 1, 0]) + "}"


def _digits(chosen: random.Random, n: int) -> str:
    text = "".join(chosen.choice("0123456789,.e-/ ") for _ in range(n))
    return chosen.choice(["Answer: ", "\\boxed{"]) + text + "}"


def _blanks(chosen: random.Random, n: int) -> str:
    run = chosen.choice([" ", "\n", "\t ", "\u00a0"]) * n
    return (
        "\\boxed{" + chosen.choice(["a", "1", "x", "5 m"]) + run + chosen.choice("!=k") + run + "}"
    )


def _tags(chosen: random.Random, n: int) -> str:
    tags = ["<think>", "</think>", "\\boxed{5}", "\\boxed{", "Answer: 5", "answer is ", "5", "\n"]
    return "".join(chosen.choice(tags) for _ in range(min(n, 2000)))


def _towers(chosen: random.Random, n: int) -> str:
    base = chosen.choice(["9", "x", "10", "(9!)"])
    return "\\boxed{" + f"{base}^{{" * min(n, 300) + "9" + "}" * min(n, 300) + "!" * (n % 4) + "}"


def _long(chosen: random.Random, n: int) -> str:
    piece = chosen.choice(["x+", "1 ", "a,", "\\frac{1}{", "5 or ", "not ", "(1,2),", "\x00"])
    return "\\boxed{" + piece * n + "1}"
