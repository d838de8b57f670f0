"""The compiled loops that compare two texts exactly, by the n-grams of their tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from traces.curate.blocks import kernel

_A = 0x9E3779B97F4A7C15


@kernel
def roll(hashes: Any, size: int) -> Any:
    """Hashes of all n-grams of `size` tokens in their order, u64 [len(hashes) - size + 1].

    A polynomial in an odd multiplier modulo 2^64 over token hashes.
    """
    count = max(0, len(hashes) - size + 1)
    grams = np.empty(count, np.uint64)
    leaving, total = np.uint64(1), np.uint64(0)
    for index in range(min(size, len(hashes))):
        total = total * np.uint64(_A) + hashes[index]
        leaving *= np.uint64(_A)
    for start in range(count - 1):
        grams[start] = total
        total = total * np.uint64(_A) + (hashes[start + size] - hashes[start] * leaving)
    if count:
        grams[count - 1] = total
    return grams


@kernel
def index(grams: Any) -> Any:
    """A table of the distinct grams, their first places, and how many they are.

    The table (open addressing, i32) holds places in `grams`, -1 where it is empty; `first` u8 is 1
    at the first place of a gram and 0 where it comes again.
    """
    size = 16
    while size < 4 * len(grams):  # sparse: whether a slot is taken is hard to predict
        size *= 2
    table, first = np.full(size, np.int32(-1)), np.zeros(len(grams), np.uint8)
    count = 0
    for place in range(len(grams)):
        slot = np.int64(grams[place] & np.uint64(size - 1))
        while table[slot] >= 0 and grams[table[slot]] != grams[place]:
            slot = (slot + 1) & (size - 1)
        if table[slot] < 0:
            table[slot] = place
            first[place] = 1
            count += 1
    return table, first, count


@kernel
def compare(
    hashes: Any, numbers: Any, other_hashes: Any, other_numbers: Any, ngram: int, least: float
) -> Any:
    """The Jaccard similarity of two texts' n-grams, and whether they differ in numbers.

    They do where an n-gram that one lacks is, numbers masked, an n-gram that the other lacks; this
    is looked at from a similarity of `least` on. Of each text the hashes of its tokens, u64, and
    which of them are numbers, u8. A text of fewer tokens is one n-gram; two without are alike.
    """
    size, other_size = min(ngram, max(len(hashes), 1)), min(ngram, max(len(other_hashes), 1))
    grams, others = roll(hashes, size), roll(other_hashes, other_size)
    table, kinds, total = index(others)
    lacked, count, shared = np.empty(len(grams), np.int32), 0, 0
    for place in range(len(grams)):
        at = _find(others, table, grams[place])
        if at < 0:
            lacked[count] = place
            count += 1
        else:
            shared += kinds[at] == 1
            kinds[at] = 2
    if count:
        total += index(grams[lacked[:count]])[2]
    similarity = shared / total if total else 1.0
    if count == 0 or similarity < least:
        return similarity, False
    mine = _masked(hashes, numbers, lacked[:count], size)
    theirs = _masked(other_hashes, other_numbers, np.flatnonzero(kinds == 1), other_size)
    if len(mine) and len(theirs):
        table = index(theirs)[0]
        for gram in mine:
            if _find(theirs, table, gram) >= 0:
                return similarity, True
    return similarity, False


@kernel
def _find(grams: Any, table: Any, gram: Any) -> Any:
    """The first place of a gram, -1 for none."""
    slot = np.int64(gram & np.uint64(len(table) - 1))
    while table[slot] >= 0 and grams[table[slot]] != gram:
        slot = (slot + 1) & (len(table) - 1)
    return table[slot]


@kernel
def _masked(hashes: Any, numbers: Any, places: Any, size: int) -> Any:
    """The masked forms of the n-grams at `places` that hold a number."""
    found, count = np.empty(len(places), np.uint64), 0
    for start in places:
        held, total = 0, np.uint64(0)
        for place in range(start, start + size):
            held += numbers[place]
            value = np.uint64(1) if numbers[place] else hashes[place]
            total = total * np.uint64(_A) + value
        if held:
            found[count] = total
            count += 1
    return found[:count]
