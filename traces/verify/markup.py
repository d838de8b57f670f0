"""An answer without its markup, and the numbers so plain that text alone can compare them."""

from __future__ import annotations

import re

from traces.verify.characters import plain_characters

_SPACING = re.compile(r"(?<!\\)\\(?:left|right|displaystyle|[,;:! ])|~")
_TEXT = re.compile(
    r"\\(?:text|mathrm|mbox|textbf|mathbf|operatorname)\s?\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_SIUNITX = re.compile(r"\\num\s?\{([^{}]*)\}|\\(?:SI|qty)\s?\{([^{}]*)\}\s?\{([^{}]*)\}")
_BLANKS = re.compile(r"\s{2,}")
_COMMANDS = (("\\dfrac", "\\frac"), ("\\tfrac", "\\frac"), ("\\%", "%"), ("\\$", " "))
_DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
PLAIN_DECIMAL = re.compile(r"-?\d{1,30}(?:\.\d{1,30})?|-?\d{1,3}(?:,\d{3})+", re.ASCII)
"""Numbers so plain that text alone can compare them (`same_decimal`)."""


def clean(text: str) -> str:
    r"""`text` without the markup that does not change what it means, no two white spaces in a row.

    Patterns with several `\s*` take time to the power of their number over a run of white space.
    """
    text = text.strip()
    if PLAIN_DECIMAL.fullmatch(text):
        return text
    text = text.strip("`*")
    if not text.isascii():
        text = plain_characters(text).strip()
    if "\\" in text or "~" in text:
        if "\\num" in text or "\\SI" in text or "\\qty" in text:
            text = _SIUNITX.sub(lambda m: m[1] or f"{m[2]} {m[3]}", text)
        text = _SPACING.sub(" ", text)
        if "\\text" in text or "\\m" in text or "\\op" in text:
            text = _TEXT.sub(lambda m: f" {m[1]} ", text)
        for before, after in _COMMANDS:
            text = text.replace(before, after)
    text = text.replace("{,}", ",").strip()
    if text[:1] in ("$", "\\"):
        for opening, closing in _DELIMITERS:
            inner = text[len(opening) : -len(closing)]
            if text.startswith(opening) and text.endswith(closing) and opening not in inner:
                text = inner
        text = text.strip()
    text = text if text.endswith("...") else text.removesuffix(".").strip()
    # A lone dollar is a currency sign, a pair of them is mathematics within a sentence.
    text = text.replace("$", "").strip() if text.count("$") == 1 else text
    return _BLANKS.sub(lambda run: "\n" if "\n" in run[0] else " ", text)


def same_decimal(gold: str, answer: str) -> bool:
    """Whether two plain decimals are the same number."""
    return _digits(gold) == _digits(answer)


def _digits(text: str) -> str:
    sign, text = ("-", text[1:]) if text[0] == "-" else ("", text)
    text = text.replace(",", "").lstrip("0")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return sign + text if text else ""
