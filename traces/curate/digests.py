"""A fast keyed hash of bytes, to tell whether two texts are the same.

It takes sixteen bytes with one multiplication to 128 bits, as NH does (Black, Halevi, Krawczyk,
Krovetz, Rogaway, "UMAC", 1999), in two lanes with keys of their own. It is no cryptographic hash:
its strength is that whoever wrote the texts cannot know the key, which is drawn after them.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from traces.curate.blocks import BLOCK, fold, kernel, load

_WORDS = BLOCK // 8
_KEYS = 2 * _WORDS + 6


@functools.lru_cache(maxsize=8)
def expand(key: bytes) -> npt.NDArray[np.uint64]:
    """The words that `digests` takes, u64 [22], from a key of any length."""
    found = np.frombuffer(hashlib.shake_128(key).digest(8 * _KEYS), "<u8").astype(np.uint64)
    found[2 * _WORDS :] |= np.uint64(1)  # factors: never 0
    return found


@kernel
def digests(data: Any, starts: Any, sizes: Any, keys: Any) -> Any:
    """128 bits of each text, u64 [N, 2], equal for equal bytes.

    `data` u8, each text followed by PADDING spaces; `starts`, `sizes` i64 [N]; `keys` of `expand`.
    """
    found = np.empty((len(starts), 2), np.uint64)
    for number in range(len(starts)):
        one, two = keys[-2] ^ np.uint64(sizes[number]), keys[-1] ^ np.uint64(sizes[number])
        for base in range(starts[number], starts[number] + sizes[number], BLOCK):
            left, right = np.uint64(0), np.uint64(0)
            for word in range(0, _WORDS, 2):
                a, b = load(data, base + 8 * word), load(data, base + 8 * word + 8)
                left += fold(a ^ keys[word], b ^ keys[word + 1])
                right += fold(a ^ keys[_WORDS + word], b ^ keys[_WORDS + word + 1])
            one = fold(one ^ left, keys[2 * _WORDS])
            two = fold(two ^ right, keys[2 * _WORDS + 1])
        found[number, 0] = fold(one, keys[2 * _WORDS + 2])
        found[number, 1] = fold(two, keys[2 * _WORDS + 3])
    return found
