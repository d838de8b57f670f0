"""Near copies among many texts: candidates by sketch, every pair checked exactly.

Sketches of 128 places are cut into bands; texts that agree in a band are candidates. Bands of 4
places let two texts of similarity 0.8 meet with probability 1 - 5e-8, of 0.7 with 1 - 2e-4; for
thresholds below 0.65 bands are shorter. Texts are taken best first and compared with kept ones
only, so a crowd of copies costs one comparison each.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from traces.curate import bands
from traces.curate.scan import PLACES, Grams, differ_in_numbers, number_hash, read_grams, similarity

_MARGIN = 0.16  # four standard deviations of the estimate: a pair that is lost by it is one in 1e4
_CACHED = 512


class Text(NamedTuple):
    """What of one text is compared: its trace, and for a short one the question it answers."""

    trace: str
    question: str = ""


class Pair(NamedTuple):
    """The grams of a text, and of its question where there is one."""

    trace: Grams
    question: Grams | None


def find_near(
    sketches: npt.NDArray[np.uint32],
    order: Iterable[int],
    text_of: Callable[[int], Text],
    threshold: float,
) -> dict[int, tuple[int, float]]:
    """The copies, each with the kept text it is a copy of and their exact similarity.

    `sketches` u32 [N, 128]; `order` the texts to look at, best first; `text_of` is asked only for
    candidates.
    """
    crowd = sharing_a_band(sketches, np.fromiter(order, np.int64), threshold)
    index = _Index(sketches[crowd], threshold)
    cache: OrderedDict[int, Pair] = OrderedDict()

    def grams_of(number: int) -> Pair:
        if number in cache:
            cache.move_to_end(number)
        else:
            trace, question = text_of(number)
            cache[number] = Pair(read_grams(trace), read_grams(question) if question else None)
            if len(cache) > _CACHED:
                cache.popitem(last=False)
        return cache[number]

    found: dict[int, tuple[int, float]] = {}
    for place, number in enumerate(crowd.tolist()):
        for other in index.candidates(place):
            of = int(crowd[other])
            alike = copies(grams_of(number), grams_of(of), threshold)
            if alike is not None:
                found[number] = of, alike
                break
        else:
            index.add(place)
    return found


def sharing_a_band(
    sketches: npt.NDArray[np.uint32], order: npt.NDArray[np.int64], threshold: float
) -> npt.NDArray[np.int64]:
    """Those of `order`, in their order, that have a band in common with another of them.

    One sort for each band, which costs less than one look into a large table for each text.
    """
    hashes = bands.band_hashes(sketches, order, banding(threshold)[0])
    shared = np.zeros(len(order), np.bool_)
    places = np.arange(len(order), dtype=np.uint64)
    for band in hashes:
        keys = np.sort((band.astype(np.uint64) << np.uint64(32)) | places)
        same = np.flatnonzero((keys[1:] ^ keys[:-1]) >> np.uint64(32) == 0)
        met = keys & np.uint64(0xFFFFFFFF)
        shared[met[same]] = shared[met[same + 1]] = True
    return order[shared]


def copies(a: Pair, b: Pair, threshold: float) -> float | None:
    """Exact similarity of two traces where one is a copy of the other, else None.

    Texts that come with their questions need the same numbers in both, and like questions.
    """
    alike = similarity(a.trace, b.trace)
    if alike < threshold or (alike < 1 and differ_in_numbers(a.trace, b.trace)):
        return None
    if a.question is None or b.question is None:
        return alike if a.question is b.question else None
    same = number_hash(a.trace, a.question) == number_hash(b.trace, b.question)
    return alike if same and similarity(a.question, b.question) >= threshold else None


def banding(threshold: float) -> tuple[int, int]:
    """Places of a band, and how many places of two sketches must agree for a candidate."""
    rows = 4 if threshold >= 0.65 else 2 if threshold >= 0.35 else 1
    return rows, int(max(0.0, threshold - _MARGIN) * PLACES)


class _Index:
    """An open-addressing table from a band's content to the last text that had it."""

    def __init__(self, sketches: npt.NDArray[np.uint32], threshold: float) -> None:
        self.rows, self.least = banding(threshold)
        self.sketches = sketches
        many = PLACES // self.rows
        size = 1 << max(10, int(np.ceil(np.log2(max(1, len(sketches)) * many * 1.5))))
        self.keys = np.zeros(size, np.uint32)
        self.last = np.full(size, -1, np.int32)
        self.before = np.full((len(sketches), many), -1, np.int32)
        self.seen = np.full(len(sketches), -1, np.int32)

    def candidates(self, number: int) -> npt.NDArray[np.int32]:
        """Added texts that share a band and enough places, most alike first."""
        found: npt.NDArray[np.int32] = bands.candidates(
            *(self.sketches, number, self.rows, self.keys, self.last, self.before, self.seen),
            self.least,
        )
        return found

    def add(self, number: int) -> None:
        """Let later texts find this one."""
        bands.add(self.sketches, number, self.rows, self.keys, self.last, self.before)
