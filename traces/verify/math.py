"""Compare two mathematical answers, cheapest test first.

text       the same characters but for spacing
numeric    two plain numbers (`traces.verify.numeric`)
words      truth values, dates, times, phrases: compared as text (`traces.verify.words`)
units      a number with a unit of measure (`traces.verify.quantity`)
typed      tuples, sets, lists, intervals (`traces.verify.typed`); letter case, number base, and
           the form that the question asks for: decided without algebra where all is numbers
symbolic   math-verify in a worker process (`traces.verify.pool`), after the input guard
"""

from __future__ import annotations

import functools
import re

from traces.verify.asked import (
    precision,
    restates,
    same_primes,
    wants_exact,
    wants_factors,
    wrong_form,
)
from traces.verify.bases import check_bases
from traces.verify.check import Check, Pending, unknown
from traces.verify.extract import boxes
from traces.verify.guard import refuse
from traces.verify.markup import PLAIN_DECIMAL, clean, same_decimal
from traces.verify.money import check_money
from traces.verify.names import letters_apart, without_name
from traces.verify.numeric import compare_numbers, parse_number
from traces.verify.quantity import check_quantity
from traces.verify.ratios import check_ratio
from traces.verify.spellings import decimal_comma
from traces.verify.typed import check_typed
from traces.verify.vocabulary import strange
from traces.verify.words import check_words, phrases

VERIFIER = "math@5"

_COMMAND = re.compile(r"\\(?:begin|end)\s?\{[a-z]*\}|\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z]{3,}")
_WORDS = re.compile(r"[a-z]{2,}")
_FUNCTIONS = re.compile(
    "(?:sin|cos|tan|cot|sec|csc|sinh|cosh|tanh|exp|log|sqrt|abs|max|min|gcd|lcm|mod|det|arg|inf|"
    "arcsin|arccos|arctan)",
    re.IGNORECASE,
)
_UNIT = re.compile(r"(?:\s+[A-Za-z]{2,}){1,4}\s*$")
_SENTENCE_END = re.compile(r"\.\s+(?=[A-Z])")
_FORMULA = re.compile(r"(?<!\\)\$([^$]{1,400})(?<!\\)\$|\\\(([^$]{1,400}?)\\\)")
_UNREADABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff\ufffd]")
_NO_SYMBOL = re.compile(
    r"\\[A-Za-z]+(?:\s?\{[a-z]*matrix\})?|[A-Za-z]{3,}|\^\s?\{?\s?[Tt]\b|\bd[a-z]\b"
)
_SYMBOL = re.compile(r"[A-Za-z]")
_CONSTANT = re.compile(
    r"[+-]\s*(?:C|c|K|k|\\text\{C\}|\\ln\s?\|?[CK]\|?|const(?:ant)?)(?:_\{?\d\}?)?\s*$"
)
_LEADING = re.compile(r"^\s*([CKck])\s*\+\s*(.+)$")
_NAMED = re.compile(r"^\s*(?:[A-Za-z](?:\([a-z]\)|_\{?\w\}?)?|\\int.{1,200}?d[a-z])\s*=\s*")
_PROPER = re.compile(r"\b[A-Z][a-z]{1,20}\b")
_LAST_SENTENCE = re.compile(r"[.!?]\s+")
_BOLD = re.compile(r"(?<![\w)}*])\*\*([^*\s](?:[^*]{0,200}[^*\s])?)\*\*(?![\w({*])")
_BOUND = re.compile(r"\\(?:leq?|geq?|leqslant|geqslant)(?![a-z])|[<>\u2264\u2265]")
_NEAR = re.compile(r"\\approx(?![a-z])|\u2248")
_TASK = re.compile(
    r"\b(?:simplify|evaluate|compute|calculate|solve|work out|find the value|what is)\b", re.I
)


def gold_text(answer: str) -> str:
    r"""The answer proper of a reference: its last box, or what follows `####`, or all of it."""
    if ("\\boxed" in answer or "\\fbox" in answer) and (found := boxes(answer)):
        return found[-1]
    return answer.rpartition("####")[2]


def from_sentence(line: str) -> str:
    """What an answer line says: its first sentence, and of that the formula where it has one."""
    if "**" in line:
        line = _BOLD.sub(r"\1", line)
    if "." in line:
        line = _SENTENCE_END.split(line, maxsplit=1)[0]
    if "$" not in line and "\\(" not in line:
        return line
    formulas = _FORMULA.findall(line)
    return "".join(formulas[0]) if len(formulas) == 1 else line


def check_math(
    gold: str, answer: str, question: str = "", *, need_unit: bool = False
) -> Check | Pending:
    """Judge `answer` against `gold`, or say what the symbolic tier has to compare.

    `need_unit`: where the reference has a unit and the question names none, a bare number is
    unknown.
    """
    if len(answer) > 20_000:
        return unknown(f"length {len(answer)} > 20000", "guard")
    wanted, given = _reference(gold), answer.strip()
    if not wanted:
        return unknown("empty reference")
    if wanted == given:
        return Check("right", "text")
    if PLAIN_DECIMAL.fullmatch(given):  # which has no currency and nothing to clean
        check = _decimals(wanted, given, question)
    else:
        if _UNREADABLE.search(answer):
            return unknown("control characters", "guard")
        given = clean(answer)
        if not given:
            return unknown("empty answer")
        given = without_name(wanted, given)
        check = check_money(gold, answer, question) or _characters(wanted, given, question)
    if check:
        return check
    if check := _beside(wanted, given) or check_ratio(wanted, given, question):
        return check
    left, right = parse_number(wanted), parse_number(given)
    if left and right is None and (point := decimal_comma(given)):
        right = parse_number(point)
    bare = left and right and not left.words and not right.words
    if not bare and (measured := check_quantity(wanted, given, question, need_unit=need_unit)):
        return measured
    if left and right and (check := compare_numbers(left, right, question)):
        if right.words and check.outcome == "right" and _of_another(given, question):
            return unknown("of somebody else", "numeric")
        return _in_form(check, wanted, given, question)
    if check := check_words(wanted, given):
        return check
    for name, expression in (("reference", wanted), ("answer", given)):
        if reason := refuse(expression):
            return unknown(f"{name}: {reason}", "guard")
    if (integral := _integrals(wanted, given)) is not None:
        return integral
    typed = check_typed(wanted, given, question)
    if typed is not None:
        return typed
    wanted, given = _without_units(wanted, given, question)
    if check := _words(wanted, given) or _typed(wanted, given, question):
        return check
    if check := _form(wanted, given, question):
        return check
    how = "factored" if wants_factors(wanted, question) else "same"
    return Pending(*letters_apart(wanted, given), how)


@functools.lru_cache(maxsize=64)
def _reference(gold: str) -> str:
    """A reference cleaned, once for its question's answers."""
    return clean(gold_text(gold))


def _characters(wanted: str, given: str, question: str) -> Check | None:
    """The check of the same characters but for spacing, and of plain decimals."""
    if wanted == given or "".join(wanted.split()) == "".join(given.split()):
        return Check("right", "text")
    return _decimals(wanted, given, question) if PLAIN_DECIMAL.fullmatch(given) else None


def _decimals(wanted: str, given: str, question: str) -> Check | None:
    """The check of two plain decimals where no precision is asked for."""
    if not PLAIN_DECIMAL.fullmatch(wanted):
        return None
    if same_decimal(wanted, given):
        return Check("right", "numeric")
    if "." in wanted or "." in given or (question and precision(question)):
        return None
    return Check("wrong", "numeric")


def _of_another(given: str, question: str) -> bool:
    """Whether an answer names somebody of the question, and nobody that its last sentence names."""
    names = set(_PROPER.findall(given))
    if not names or not question:
        return False
    asked = set(_PROPER.findall(_LAST_SENTENCE.split(question.strip())[-1]))
    return bool(asked) and not names & asked and bool(names & set(_PROPER.findall(question)))


def _beside(wanted: str, given: str) -> Check | None:
    """Unknown for a bound, and for a value said to be near one that it does not round to."""
    if _BOUND.match(given) and not _BOUND.match(wanted):
        return unknown("a bound, not a value", "typed")
    if "approx" not in given and "\u2248" not in given:
        return None
    parts = [parse_number(part.strip()) for part in _NEAR.split(given)]
    if len(parts) == 2 and parts[0] and parts[1] and not _NEAR.search(wanted):
        exact, rounded = parts[0], parts[1]
        if 2 * abs(exact.value - rounded.value) > rounded.last_place:
            return unknown("two values", "typed")
    return None


def _in_form(check: Check, gold: str, answer: str, question: str) -> Check:
    if check.outcome == "right" and (why := wrong_form(gold, answer, question)):
        return Check("wrong", check.tier, why)
    return check


def _form(gold: str, answer: str, question: str) -> Check | None:
    """Wrong where the form is not the one asked for, whatever the value."""
    if why := wrong_form(gold, answer, question):
        return Check("wrong", "typed", why)
    if (same := same_primes(gold, answer, question)) is not None:
        return Check("right" if same else "wrong", "typed", "" if same else "other prime factors")
    number = parse_number(answer)
    if number and number.decimals and "." not in gold and wants_exact(question):
        return Check("wrong", "typed", "not exact")
    if restates(answer, question):
        if _TASK.search(question):
            return Check("wrong", "typed", "restates the question")
        return unknown("restates the question", "typed")
    return None


def _integrals(gold: str, answer: str) -> Check | Pending | None:
    """Antiderivatives: both or none must have a constant, whatever its name and value."""
    gold, answer = (_LEADING.sub(r"\2 + \1", text) for text in (gold, answer))
    wanted = _CONSTANT.search(gold)
    if wanted is None:
        return None
    given = _CONSTANT.search(answer)
    if given is None:
        return Check("wrong", "typed", "no constant of integration")
    left, right = gold[: wanted.start()], answer[: given.start()]
    left, right = (_NAMED.sub("", text).strip() for text in (left, right))
    return Pending(left or "0", right or "0", "up to a constant")


def _is_words(expression: str) -> bool:
    words = _WORD.findall(_COMMAND.sub(" ", expression))
    return any(not _FUNCTIONS.fullmatch(word) for word in words)


def _without_units(gold: str, answer: str, question: str) -> tuple[str, str]:
    r"""Both sides, without the closing words of the one that alone has words: `\sqrt{2} meters`."""
    if _is_words(gold) == _is_words(answer):
        return gold, answer
    closing = _UNIT.search(answer)
    if closing and strange(_WORDS.findall(closing[0].lower()), question):
        return gold, answer
    return _UNIT.sub("", gold) or gold, _UNIT.sub("", answer) or answer


def _words(gold: str, answer: str) -> Check | None:
    """A product of letters is how the algebra system reads a word: `cat` would equal `tac`."""
    in_gold, in_answer = _is_words(gold), _is_words(answer)
    short = gold.isalpha() and answer.isalpha() and min(len(gold), len(answer)) > 1
    if (in_gold and in_answer) or (short and (in_gold or in_answer)):
        return phrases(gold, answer)
    return unknown("words on one side only", "words") if in_gold or in_answer else None


def _typed(gold: str, answer: str, question: str) -> Check | None:
    if check := check_bases(gold, answer, question):
        return check
    letters, others = (
        set(_SYMBOL.findall(_NO_SYMBOL.sub(" ", _NAMED.sub("", text)))) for text in (gold, answer)
    )
    if letters != others and {x.lower() for x in letters} == {x.lower() for x in others}:
        return Check("wrong", "typed", "letter case")
    return None
