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
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from traces.curate import kernels, pairs
from traces.curate.blocks import PADDING
from traces.curate.characters import table
from traces.curate.digests import digests, expand

NGRAM = 5
LOOP_NGRAM = 10
PLACES = 128
BRANCHING = ("wait", "alternatively", "hmm", "however", "actually", "maybe", "perhaps")
TAIL_KEY = 64  # characters of the tail that must recur before a period is measured
TAIL_TRIES = 64
TAIL_REPEATS = 3

_SPACES = " " * PADDING
_PADDING = _SPACES.encode()

U8 = npt.NDArray[np.uint8]
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


class Tokens(NamedTuple):
    """The tokens of a text: their hashes, u64 [N], and which of them are numbers, u8 [N]."""

    hashes: U64
    numbers: U8


class Identified(NamedTuple):
    """Of N texts: `digests` u64 [N, 2], the same for the same text; the number of their `tokens`,
    i32 [N]; the sketches of their 5-grams, u32 [N, 128].
    """

    digests: U64
    tokens: npt.NDArray[np.int32]
    sketches: U32


def measure(text: str) -> Measures:
    """What the cheap rules need of `text`."""
    return _survey(text, 0)[0]


def scan(text: str) -> tuple[Measures, U32]:
    """As `measure`, with the sketch of the 5-grams, u32 [128], from the same pass."""
    return _survey(text, NGRAM)


def _survey(text: str, ngram: int) -> tuple[Measures, U32]:
    count, doubts, different, masked, tail, by_script, found = kernels.survey(
        *_data(text), _branching(), LOOP_NGRAM, (TAIL_KEY, TAIL_TRIES, TAIL_REPEATS), ngram
    )
    grams = count - LOOP_NGRAM + 1
    repeated, repeated_masked = 0.0, 0.0
    if grams > 0:
        repeated, repeated_masked = 1.0 - different / grams, 1.0 - masked / grams
    rate = doubts * 1000 / max(count, 1)
    return Measures(count, repeated, repeated_masked, tail, by_script, rate), found


@functools.cache
def _branching() -> U64:
    words: U64 = kernels.tokens_of(*_data(" ".join(BRANCHING)))[0]
    return words


def sketch(text: str) -> tuple[int, U32]:
    """The number of tokens, and the sketch of the 5-grams, u32 [128]."""
    tokens, found = _sketches([text])
    return int(tokens[0]), found[0]


def identify(texts: Sequence[str], key: bytes) -> Identified:
    """What tells texts that are the same, or alike; some dozens in a call cost least.

    Digests of different keys have nothing to do with each other. A key that whoever wrote the texts
    can know lets them make different texts of one digest.
    """
    data, starts, sizes = _joined(texts)
    same = digests(data, starts, sizes, expand(key))
    return Identified(same, *_sketches(texts, (data, starts, sizes)))


def _sketches(
    texts: Sequence[str], joined: tuple[U8, I64, I64] | None = None
) -> tuple[npt.NDArray[np.int32], U32]:
    """Numbers of tokens and sketches of `texts`, which may have been `joined` before."""
    plain = all(map(str.isascii, texts))
    if not plain or joined is None:
        joined = _joined([_normal(text) for text in texts])
    tokens, found = kernels.sketch_texts(*joined, table(plain), NGRAM)
    return tokens, found


def sketch_grams(grams: U64) -> U32:
    """The sketch of a set of hashes, u32 [128]."""
    found: U32 = kernels.sketch(grams)
    return found


def letters(text: str) -> I64:
    """The letters of `text` by script, i64 [13] in the order of `characters.SCRIPTS`."""
    found: I64 = kernels.tokens_of(*_data(text))[2]
    return found


def read_tokens(text: str) -> Tokens:
    """The tokens of `text`."""
    return Tokens(*kernels.kept_tokens(*_data(text)))


def grams_of(text: Tokens) -> U64:
    """The hashes of its 5-grams in their order; a shorter text is one n-gram."""
    found: U64 = pairs.roll(text.hashes, _size(text.hashes))
    return found


def similarity(a: Tokens, b: Tokens) -> float:
    """Jaccard similarity of the 5-grams, exactly (but for collisions of 64-bit hashes)."""
    return compare(a, b, 2.0)[0]


def compare(a: Tokens, b: Tokens, least: float) -> tuple[float, bool]:
    """As `similarity`, and whether the texts differ in numbers.

    They do where they are alike by `least` and a 5-gram that one lacks is, numbers masked, a 5-gram
    that the other lacks.
    """
    alike, differ = pairs.compare(*a, *b, NGRAM, least)
    return alike, differ


def exact_hash(*texts: str) -> bytes:
    """128-bit hash of the texts up to white space and Unicode normal form."""
    digest = hashlib.sha256(usedforsecurity=False)
    for text in texts:
        data, size, entries = _data(text, lower=False)
        out = np.empty(len(data), np.uint8)
        size = kernels.collapse(data, size, entries, out)
        digest.update(size.to_bytes(8, "little"))
        digest.update(out[:size].data)
    return digest.digest()[:16]


def number_hash(*texts: Tokens) -> int:
    """Equal for texts that hold the same numbers equally often, whatever their order."""
    digest = hashlib.blake2b(digest_size=8)
    for text in texts:
        found = text.hashes[text.numbers > 0]
        digest.update(len(found).to_bytes(8, "little") + np.sort(found).tobytes())
    return int.from_bytes(digest.digest(), "little")


def _size(hashes: U64) -> int:
    return min(NGRAM, max(len(hashes), 1))


def _data(text: str, *, lower: bool = True) -> tuple[U8, int, U32]:
    """What the kernels read of a text: its UTF-8 bytes padded, how many they are, a table."""
    data = _normal(text, lower=lower).encode("utf-8", "surrogatepass")
    return np.frombuffer(data + _PADDING, np.uint8), len(data), table(text.isascii())


def _joined(texts: Sequence[str]) -> tuple[U8, I64, I64]:
    """UTF-8 bytes of texts, each padded; where they start and how many they are, i64 [N]."""
    if all(map(str.isascii, texts)):
        data = _SPACES.join((*texts, "")).encode()
        sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    else:
        parts = [text.encode("utf-8", "surrogatepass") for text in texts]
        data = _PADDING.join((*parts, b""))
        sizes = np.fromiter(map(len, parts), np.int64, len(texts))
    starts = np.cumsum(sizes + PADDING) - sizes - PADDING
    return np.frombuffer(data, np.uint8), starts, sizes


def _normal(text: str, *, lower: bool = True) -> str:
    """Normal form C, and small letters where they depend on more than the one that is capital."""
    if text.isascii():
        return text
    if lower and ("\u03a3" in text or "\u0130" in text):  # by context, or two characters
        text = unicodedata.normalize("NFC", text).lower()
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)
