r"""Characters of other keyboards, rewritten as the ones that the verifiers read.

Full-width forms, minus signs, digits of other scripts, fractions (`¾`), superscripts (`x²`), roots
(`√2`), and spaces without width.
"""

from __future__ import annotations

import re
import unicodedata

_TABLE: dict[int, str] = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_TABLE |= dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2212, 0xFE63), "-")
_TABLE |= dict.fromkeys((0xA0, *range(0x2002, 0x200B), 0x202F, 0x3000), " ") | dict.fromkeys(
    (0x200B, 0x2060, 0xFEFF), ""
)
_TABLE |= {0x2044: "/", 0xD7: "*", 0x3002: ".", 0x3001: ",", 0x2A7D: "\u2264", 0x2A7E: "\u2265"}
_TABLE |= {0x2266: "\u2264", 0x2267: "\u2265", 0x3C0: "\\pi ", 0xB7: "\\cdot ", 0x22C5: "\\cdot "}
_RAISED = {"\u207a": "+", "\u207b": "-", "\u00b9": "1", "\u00b2": "2", "\u00b3": "3"}
_RAISED |= {chr(0x2070 + digit): str(digit) for digit in (0, *range(4, 10))}
_SUPERSCRIPT = re.compile(f"[{''.join(_RAISED)}]+")
_VULGAR = re.compile("(\\d?)\\s?([\u00bc-\u00be\u2150-\u215e])")
_ROOT = re.compile(r"\u221a\s?(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+(?:\.\d+)?|[A-Za-z]))")
_DIGIT = re.compile(r"(?![0-9])\d")


def plain_characters(text: str) -> str:
    """`text` in plain characters where there are any for what it says; linear in its length."""
    text = text.translate(_TABLE)
    text = _SUPERSCRIPT.sub(lambda m: "^{" + "".join(map(_RAISED.__getitem__, m[0])) + "}", text)
    text = _VULGAR.sub(_fraction, text)
    text = _ROOT.sub(lambda m: f"\\sqrt{{{m[1] or m[2] or m[3]}}}", text)
    return _DIGIT.sub(lambda m: str(unicodedata.decimal(m[0])), text)


def _fraction(match: re.Match[str]) -> str:
    top, _, bottom = unicodedata.normalize("NFKC", match[2]).partition("\u2044")
    return f"{match[1]} {top}/{bottom}" if match[1] else f"{top}/{bottom}"
