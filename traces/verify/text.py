"""Exact text, up to case, spacing, markup and closing punctuation."""

from __future__ import annotations

import re
import unicodedata

from traces.verify.check import Check

VERIFIER = "text@2"
_WRAP = re.compile(r"\\(?:text|mathrm|mbox|textbf)\s?\{([^{}]*)\}")


def canonical(text: str) -> str:
    """NFKC, case folded, one space between words, no quotes or markup around."""
    text = unicodedata.normalize("NFKC", _WRAP.sub(r"\1", text)).casefold()
    return " ".join(text.split()).strip(" \t*_`\"'$.!,;:\u201c\u201d\u2018\u2019")


def check_text(gold: str, answer: str) -> Check:
    """Right where both are the same text, wrong where not, unknown where the reference is empty."""
    wanted = canonical(gold)
    if not wanted:
        return Check("unknown", "text", "empty reference")
    return Check("right" if canonical(answer) == wanted else "wrong", "text")
