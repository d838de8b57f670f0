"""One compiled pass over a text: what every cheap rule and the search for copies need of it.

The tokens are those of `traces.curate.tokens.tokens`. The sketch is the Fast Similarity Sketch
(Dahlgaard, Knudsen, Thorup, "Fast Similarity Sketching", 2017): the share of equal places of two
sketches estimates the Jaccard similarity of their 5-grams as well as MinHash does, for short texts
too, at about one hash per 5-gram instead of 128.
"""

from __future__ import annotations

import functools
import hashlib
import unicodedata
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from traces.curate import kernels
from traces.curate.characters import SCRIPTS, table

NGRAM = 5
LOOP_NGRAM = 10
PLACES = 128
BRANCHING = ("wait", "alternatively", "hmm", "however", "actually", "maybe", "perhaps")
TAIL_KEY = 64  # characters of the tail that must recur before a period is measured
TAIL_TRIES = 64
TAIL_REPEATS = 3

U64 = npt.NDArray[np.uint64]
U32 = npt.NDArray[np.uint32]
I64 = npt.NDArray[np.int64]


class Measures(NamedTuple):
    """What the cheap rules need.

    `tokens`: their number. `repeated`: share of the 10-grams that repeat an earlier one,
    `repeated_masked` the same with numbers masked. `tail`: characters of the longest ending that is
    one unit three times or more over. `letters`: i64 [13], by script.
    `branching`: words of BRANCHING per 1,000 tokens.
    """

    tokens: int
    repeated: float
    repeated_masked: float
    tail: int
    letters: I64
    branching: float


class Grams(NamedTuple):
    """The distinct 5-grams of a text, u64 [G], a table to look them up in, and their masked forms.

    `masked` is 0 for a 5-gram without a number. A text of fewer tokens is one n-gram of its own
    length. `numbers` are the hashes of its numbers in their order.
    """

    length: int
    grams: U64
    masked: U64
    table: U64
    numbers: U64


class _Tokens(NamedTuple):
    points: Any
    table: U32
    hashes: U64
    numbers: npt.NDArray[np.bool_]
    letters: I64


def measure(text: str) -> Measures:
    """What the cheap rules need of `text`."""
    return _measures(_read(text))


def scan(text: str) -> tuple[Measures, U32]:
    """As `measure`, with the sketch of the 5-grams, u32 [128], from the same pass."""
    found = _read(text)
    return _measures(found), kernels.sketch(kernels.roll(found.hashes, _size(found.hashes)))


def _measures(found: _Tokens) -> Measures:
    hashes = found.hashes
    tail = kernels.periodic_tail(found.points, found.table, TAIL_KEY, TAIL_TRIES, TAIL_REPEATS)
    repeated = masked = _repeated(hashes)
    if found.numbers.any():
        masked = _repeated(np.where(found.numbers, np.uint64(1), hashes))
    doubts = kernels.count_shared(hashes, _branching()) * 1000 / max(len(hashes), 1)
    return Measures(len(hashes), repeated, masked, tail, found.letters, doubts)


@functools.cache
def _branching() -> U64:
    # Repeated, they get a sparse table: in a tight one nearly half of all look-ups compare in vain.
    words = np.tile(_read(" ".join(BRANCHING)).hashes, 128)
    lookup: U64 = kernels.distinct(words)[0]
    return lookup


def sketch(text: str) -> tuple[int, U32]:
    """The number of tokens, and the sketch of the 5-grams, u32 [128]."""
    hashes = _read(text).hashes
    return len(hashes), kernels.sketch(kernels.roll(hashes, _size(hashes)))


def sketch_grams(grams: U64) -> U32:
    """The sketch of a set of hashes, u32 [128]."""
    found: U32 = kernels.sketch(grams)
    return found


def letters(text: str) -> I64:
    """The letters of `text` by script, i64 [13] in the order of `characters.SCRIPTS`."""
    return _read(text).letters


def read_grams(text: str) -> Grams:
    """The 5-grams of `text`."""
    found = _read(text)
    hashes, size = found.hashes, _size(found.hashes)
    grams = kernels.roll(hashes, size)
    lookup, places = kernels.distinct(grams)
    masked = kernels.masked_grams(hashes, found.numbers, size)
    return Grams(len(hashes), grams[places], masked[places], lookup, found.hashes[found.numbers])


def similarity(a: Grams, b: Grams) -> float:
    """Jaccard similarity of the 5-grams, exactly (but for collisions of 64-bit hashes)."""
    if not len(a.grams) and not len(b.grams):
        return 1.0
    small, large = (a, b) if len(a.grams) <= len(b.grams) else (b, a)
    shared = int(kernels.count_shared(small.grams, large.table))
    return shared / (len(a.grams) + len(b.grams) - shared)


def differ_in_numbers(a: Grams, b: Grams) -> bool:
    """Whether a 5-gram that one lacks is, numbers masked, a 5-gram that the other lacks."""
    mine = kernels.lacking(a.grams, a.masked, b.table)
    if not len(mine):
        return False
    others = kernels.lacking(b.grams, b.masked, a.table)
    lookup, _ = kernels.distinct(others)
    return bool(kernels.count_shared(mine, lookup))


def exact_hash(*texts: str) -> bytes:
    """128-bit hash of the texts up to white space and Unicode normal form."""
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        points = _points(text)
        out = np.empty(len(points) + 1, points.dtype)
        size = kernels.collapse(points, table(points.dtype == np.uint8), out)
        if points.itemsize > 1 and (out[:size] < 128).all():
            out = out.astype(np.uint8)
        digest.update(size.to_bytes(8, "little") + out[:size].tobytes())
    return digest.digest()


def number_hash(*texts: Grams) -> int:
    """Equal for texts that hold the same numbers equally often, whatever their order."""
    digest = hashlib.blake2b(digest_size=8)
    for text in texts:
        digest.update(len(text.numbers).to_bytes(8, "little") + np.sort(text.numbers).tobytes())
    return int.from_bytes(digest.digest(), "little")


def _size(hashes: U64) -> int:
    return min(NGRAM, max(len(hashes), 1))


def _repeated(hashes: U64) -> float:
    grams = kernels.roll(hashes, LOOP_NGRAM)
    if not len(grams):
        return 0.0
    return 1.0 - len(kernels.distinct(grams)[1]) / len(grams)


def _points(text: str) -> Any:
    """u8 [n] where all is ASCII, else u32 [n] in normal form C."""
    if text.isascii():
        return np.frombuffer(text.encode(), np.uint8)
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _read(text: str) -> _Tokens:
    if "\u03a3" in text or "\u0130" in text:  # lower case by context, or of two characters
        text = unicodedata.normalize("NFC", text).lower()
    points = _points(text)
    entries = table(points.dtype == np.uint8)
    hashes = np.empty(len(points), np.uint64)
    numbers = np.empty(len(points), np.bool_)
    by_script = np.zeros(len(SCRIPTS), np.int64)
    count = kernels.read_tokens(points, entries, hashes, numbers, by_script)
    return _Tokens(points, entries, hashes[:count], numbers[:count], by_script)
