"""Near copies among many texts: candidates by sketch, every pair checked exactly.

Sketches of 128 places are cut into bands; texts that agree in a band are candidates. Bands of 4
places let two texts of similarity 0.8 meet with probability 1 - 5e-8, of 0.7 with 1 - 2e-4; for
thresholds below 0.65 bands are shorter. Texts are taken best first and compared with kept ones
only, so a crowd of copies costs one comparison each. A crowd of like solutions with other numbers,
none a copy, would cost a comparison for each pair: texts that come with their questions are
candidates only where they have the same numbers, and no text is compared with more than 256.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from traces.curate import bands
from traces.curate.scan import PLACES, Tokens, compare, number_hash, read_tokens, similarity

_MARGIN = 0.16  # four standard deviations of the estimate: a pair that is lost by it is one in 1e4
_CACHED = 512
_TRIED = 256
"""So many candidates, the most alike by their sketches first, are compared with one text. More are
there only in a crowd of texts that are alike but for their numbers."""


class Text(NamedTuple):
    """What of one text is compared: its trace, and for a short one the question it answers."""

    trace: str
    question: str = ""


class Pair(NamedTuple):
    """The tokens of a text, and of its question where there is one."""

    trace: Tokens
    question: Tokens | None


def find_near(
    sketches: npt.NDArray[np.uint32],
    order: Iterable[int],
    text_of: Callable[[int], Text],
    threshold: float,
    *,
    asked: bool = True,
) -> dict[int, tuple[int, float]]:
    """The copies, each with the kept text it is a copy of and their exact similarity.

    `sketches` u32 [N, 128]; `order` the texts to look at, best first; `text_of` is asked only for
    candidates. `asked`: whether some come with their questions.
    """
    rows, least = banding(threshold)
    cache: OrderedDict[int, Pair] = OrderedDict()

    def tokens_of(number: int) -> Pair:
        if number in cache:
            cache.move_to_end(number)
        else:
            trace, question = text_of(number)
            cache[number] = Pair(read_tokens(trace), read_tokens(question) if question else None)
            if len(cache) > _CACHED:
                cache.popitem(last=False)
        return cache[number]

    numbers = np.fromiter(order, np.int64)
    crowd, groups, count = _groups(numbers, bands.band_hashes(sketches, numbers, rows))
    kinds = np.array([_kind(text_of(n)) for n in crowd.tolist()] if asked else [], np.uint32)
    if kinds.any():
        crowd, groups, count = _groups(crowd, bands.band_hashes(sketches, crowd, rows) ^ kinds)
    last, before = np.full(count, -1, np.int32), np.full(groups.shape, -1, np.int32)
    seen, mine = np.full(len(crowd), -1, np.int32), sketches[crowd]
    found: dict[int, tuple[int, float]] = {}
    place, others = bands.search(mine, groups, last, before, seen, least, 0)
    while place < len(crowd):
        number = int(crowd[place])
        for other in crowd[others[:_TRIED]].tolist():
            alike = copies(tokens_of(number), tokens_of(other), threshold)
            if alike is not None:
                found[number] = other, alike
                break
        else:
            bands.add(place, groups, last, before)
        place, others = bands.search(mine, groups, last, before, seen, least, place + 1)
    return found


def _kind(text: Text) -> int:
    """u32 that is equal for all texts of which this one can be a copy; 0 where nothing is known."""
    if not text.question:
        return 0
    return number_hash(read_tokens(text.trace), read_tokens(text.question)) & 0xFFFFFFFF


def _groups(
    order: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], int]:
    """Those of `order`, in their order, that have a band in common with another of them.

    `hashes` u32 [bands, len(order)]. The numbers of the N that have; i32 [N, bands], equal where
    two have the same band, -1 where nobody else has it; how many such numbers there are.
    """
    groups, count = bands.groups_of(hashes)
    crowd = (groups >= 0).any(axis=1)
    return order[crowd], groups[crowd], count


def copies(a: Pair, b: Pair, threshold: float) -> float | None:
    """Exact similarity of two traces where one is a copy of the other, else None.

    Texts that come with their questions need the same numbers in both, and like questions.
    """
    alike, differ = compare(a.trace, b.trace, threshold)
    if alike < threshold or differ:
        return None
    if a.question is None or b.question is None:
        return alike if a.question is b.question else None
    same = number_hash(a.trace, a.question) == number_hash(b.trace, b.question)
    return alike if same and similarity(a.question, b.question) >= threshold else None


def banding(threshold: float) -> tuple[int, int]:
    """Places of a band, and how many places of two sketches must agree for a candidate."""
    rows = 4 if threshold >= 0.65 else 2 if threshold >= 0.35 else 1
    return rows, int(max(0.0, threshold - _MARGIN) * PLACES)
