"""Secrets and personal data in a text: patterns that are anchored, so that mathematics has none."""

from __future__ import annotations

import re
from collections.abc import Iterator

SECRET, EMAIL, PHONE = "[SECRET]", "[EMAIL]", "[PHONE]"

_TOKENS = re.compile(
    r"(?<![A-Za-z0-9_])(?:"
    r"sk-(?:ant-|proj-|or-)?[A-Za-z0-9_-]{20,}"
    r"|gh[opusr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,}|glpat-[A-Za-z0-9_-]{20,}"
    r"|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])|AIza[A-Za-z0-9_-]{35}|xox[abeprs]-[A-Za-z0-9-]{10,}"
    r"|[sr]k_live_[A-Za-z0-9]{20,}|SG\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{40,}"
    r"|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
    r")"
)
_KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+"
    r"[A-Za-z]{2,24})(?![\w-])"
)
# Reserved for documentation (RFC 2606, RFC 6761): nobody's address.
_NOBODY = re.compile(r"(?:^|\.)(?:example(?:\.(?:com|net|org))?|test|invalid|localhost)$", re.I)
# A country code and two groups or more; not beside a number, bracket, operator or variable.
_PHONE = re.compile(
    r"(?<![\w)\]}=*/^+.-])(?<![\d)\]}=*/^+-]\s)(?<!\b[A-Za-z]\s)\+[1-9]\d{0,2}"
    r"(?:[ .-]?\(\d{1,4}\))?(?:[ .-]\d{2,4}){2,5}(?![ \w.-]?\d)(?!\s*[-+*/=^])"
)
_PHONE_DIGITS = range(9, 16)


def secrets(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and mask of provider tokens and private keys."""
    for pattern in (_TOKENS, _KEY_BLOCK):
        for match in pattern.finditer(text):
            yield match.start(), match.end(), SECRET


def personal(text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and mask of e-mail addresses, and of phone numbers with a country code."""
    if "@" in text:
        for match in _EMAIL.finditer(text):
            if not _NOBODY.search(match[1]):
                yield match.start(), match.end(), EMAIL
    if "+" in text:
        for match in _PHONE.finditer(text):
            if sum(character.isdigit() for character in match[0]) in _PHONE_DIGITS:
                yield match.start(), match.end(), PHONE
