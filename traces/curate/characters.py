"""What the scanner knows of each code point: its lower case, its kind, its script."""

from __future__ import annotations

import functools
import re
from bisect import bisect_right

import numpy as np
import numpy.typing as npt

SPACE, LETTER, DIGIT, MARK = range(4)
KIND_SHIFT, SCRIPT_SHIFT = 21, 24
SCRIPTS = (
    "Latin", "Greek", "Cyrillic", "Armenian", "Hebrew", "Arabic", "Indic", "Thai", "Georgian",
    "Hangul", "Han", "Kana", "other",
)  # fmt: skip

_OTHER = SCRIPTS.index("other")
# Where the letters of a script begin: a code point belongs to the last start at or before it.
_STARTS = (
    (0x0, "Latin"), (0x370, "Greek"), (0x400, "Cyrillic"), (0x530, "Armenian"), (0x590, "Hebrew"),
    (0x600, "Arabic"), (0x700, "other"), (0x750, "Arabic"), (0x780, "other"), (0x860, "Arabic"),
    (0x900, "Indic"), (0xE00, "Thai"), (0xE80, "other"), (0x10A0, "Georgian"), (0x1100, "Hangul"),
    (0x1200, "other"), (0x1C80, "Cyrillic"), (0x1C90, "Georgian"), (0x1CC0, "Indic"),
    (0x1D00, "Latin"), (0x1F00, "Greek"), (0x2000, "Latin"), (0x2C80, "other"),
    (0x2DE0, "Cyrillic"), (0x2E00, "other"), (0x2E80, "Han"), (0x3040, "Kana"), (0x3100, "Han"),
    (0x3130, "Hangul"), (0x3190, "Han"), (0x31F0, "Kana"), (0x3200, "Hangul"), (0x3220, "Han"),
    (0xA000, "other"), (0xA640, "Cyrillic"), (0xA6A0, "other"), (0xA720, "Latin"),
    (0xA800, "Indic"), (0xA960, "Hangul"), (0xA980, "other"), (0xAB30, "Latin"), (0xAB70, "other"),
    (0xAC00, "Hangul"), (0xD800, "other"), (0xF900, "Han"), (0xFB00, "Latin"), (0xFB07, "other"),
    (0xFB50, "Arabic"), (0xFE00, "other"), (0xFE70, "Arabic"), (0xFF00, "Latin"), (0xFF66, "Kana"),
    (0xFFA0, "Hangul"), (0xFFDD, "other"), (0x1D400, "Latin"), (0x1D800, "other"),
    (0x20000, "Han"), (0x32400, "other"),
)  # fmt: skip
_AT = [start for start, _ in _STARTS]
_KINDS = ((r"[^\W\d_]+", LETTER), (r"\d+", DIGIT), (r"[^\w\s]+|_+", MARK))


def table(ascii_only: bool) -> npt.NDArray[np.uint32]:
    """Per code point lower case | kind << 21 | script << 24, u32 [128] or [0x110000].

    A code point whose lower case is not one code point keeps its own.
    """
    return _ascii_table() if ascii_only else _full_table()


@functools.cache
def _ascii_table() -> npt.NDArray[np.uint32]:
    return _table(128)


@functools.cache
def _full_table() -> npt.NDArray[np.uint32]:
    return _table(0x110000)


def _table(size: int) -> npt.NDArray[np.uint32]:
    everything = "".join(map(chr, range(size)))
    kinds = np.zeros(size, np.uint32)
    for pattern, kind in _KINDS:
        for match in re.finditer(pattern, everything):
            kinds[match.start() : match.end()] = kind
    lower = np.arange(size, dtype=np.uint32)
    for point in range(min(size, 0x1F000)):
        small = chr(point).lower()
        if len(small) == 1:
            lower[point] = ord(small)
    if size > 0x2212:
        lower[0x2212] = ord("-")
    scripts = np.full(size, _OTHER, np.uint32)
    for index, (start, name) in enumerate(_STARTS):
        end = _AT[index + 1] if index + 1 < len(_AT) else size
        scripts[start:end] = SCRIPTS.index(name)
    lower |= kinds << np.uint32(KIND_SHIFT)
    lower |= scripts << np.uint32(SCRIPT_SHIFT)
    return lower


def script_of(character: str) -> str:
    """The script of a letter, by its block."""
    return _STARTS[bisect_right(_AT, ord(character)) - 1][1]


def foreign_share(counts: npt.NDArray[np.int64], question: npt.NDArray[np.int64]) -> float:
    """Share of the letters that are neither Latin, nor Greek, nor of a script of the question.

    Both i64 [13], letters per script; Kana in the question brings Han with it.
    """
    total = int(counts.sum())
    if total == 0:
        return 0.0
    known = question > 0
    known[:2] = True
    known[SCRIPTS.index("Han")] |= known[SCRIPTS.index("Kana")]
    return float(counts[~known].sum() / total)
