"""Names of quantities: left of the sign that gives them their value, and letters in two cases."""

from __future__ import annotations

import re

_LETTERS = r"(?:[A-Za-z]{1,2}|\d)"
_VECTOR = r"\\(?:vec|overrightarrow|overline|hat)\s?\{?\s?[A-Za-z]{1,2}\s?\}?"
# Greek letters, angles, vectors and their products, segments, areas, concentrations, tuples.
_NAME = re.compile(
    r"(?:\\Delta\s?)?\\(?:alpha|beta|gamma|delta|epsilon|varepsilon|eta|theta|kappa|lambda|mu|nu"
    rf"|rho|sigma|tau|phi|varphi|omega|Omega|Delta|ell)(?:\s?[A-Za-z])?(?:_\s?\{{?{_LETTERS}\}}?)?"
    r"|m?\s?\\(?:measured)?angle\s?\{?\s?[A-Z]{1,3}\s?\}?"
    rf"|{_VECTOR}(?:\s?(?:\\times|\\cdot)\s?{_VECTOR})*"
    r"|\|?\s?[A-Z]{2}\s?\|?|\[\s?[A-Z][A-Za-z\d^+_{}-]{0,12}\s?\]"
)
_GIVES = re.compile(r"\s*(?:=|\\approx(?![a-z])|\u2248)\s*(?=[^=\s])")
_COMMAND = re.compile(r"(\\[A-Za-z]+|\b(?:sin|cos|tan|log|ln|exp)\b)")
_SPARE = "qwvuzykjhgfdb"


def without_name(gold: str, answer: str) -> str:
    r"""`answer` without the name that it gives its value to (`\lambda = 5`), where `gold` is a bare
    value; both are cleaned.
    """
    if "=" in gold or not ("=" in answer or "\\approx" in answer or "\u2248" in answer):
        return answer
    name = _NAME.match(answer)
    gives = _GIVES.match(answer, name.end()) if name else None
    return answer[gives.end() :] if gives else answer


def letters_apart(gold: str, answer: str) -> tuple[str, str]:
    """Both with another letter for each capital that is there as a small letter too: the algebra
    system takes the two for one.
    """
    plain = [_COMMAND.sub("", text) for text in (gold, answer)]
    letters = {letter for text in plain for letter in text if letter.isascii() and letter.isalpha()}
    both = sorted(x for x in letters if x.isupper() and x.lower() in letters)
    lower = {letter.lower() for letter in letters}
    spare = [letter for letter in _SPARE if letter not in lower]
    if not both or len(both) > len(spare):
        return gold, answer
    change = str.maketrans(dict(zip(both, spare, strict=False)))
    pieces = (_COMMAND.split(text) for text in (gold, answer))
    left, right = (
        "".join(p if n % 2 else p.translate(change) for n, p in enumerate(some)) for some in pieces
    )
    return left, right
