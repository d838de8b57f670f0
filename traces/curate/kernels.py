"""The compiled loops of curation. `traces.curate.scan` and `nearby` call them; nothing else does.

They are compiled when first called, once per machine: numba keeps the result beside the source or,
where that cannot be written, in the user's cache folder.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

_A = 0x9E3779B97F4A7C15
_B = 0xBF58476D1CE4E5B9
_C = 0x94D049BB133111EB
_EMPTY = 0xFFFFFFFFFFFFFFFF


def _kernel(function: Any) -> Any:
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder can be written: compile in each process
        return numba.njit(nogil=True)(function)


@_kernel
def read_tokens(points: Any, table: Any, hashes: Any, numbers: Any, scripts: Any) -> int:
    """Hash each token into `hashes`, say in `numbers` which are numbers, count letters by script.

    `points` u8 or u32 [n], `table` of `traces.curate.characters`, `hashes` u64 [n], `numbers`
    bool [n], `scripts` i64 [13]. Returns the number of tokens.
    """
    count, index, size, latin = 0, 0, len(points), 0
    while index < size:
        entry = table[points[index]]
        kind = (entry >> np.uint32(21)) & np.uint32(3)
        index += 1
        if kind == 0:
            continue
        value, start = np.uint64(entry), index
        if kind == 1:
            if entry >= np.uint32(1 << 24):
                scripts[entry >> np.uint32(24)] += 1
                latin -= 1
            while index < size:
                entry = table[points[index]]
                inner = (entry >> np.uint32(21)) & np.uint32(3)
                if inner != 1 and inner != 2:
                    break
                if inner == 2:
                    latin -= 1
                elif entry >= np.uint32(1 << 24):
                    scripts[entry >> np.uint32(24)] += 1
                    latin -= 1
                value = (value * np.uint64(_A)) ^ np.uint64(entry)
                index += 1
            latin += index - start + 1
        elif kind == 2:
            dots = 0
            while index < size:
                entry = table[points[index]]
                if (entry >> np.uint32(21)) & np.uint32(3) != 2:
                    if dots or points[index] != 46 or index + 1 == size:
                        break
                    if (table[points[index + 1]] >> np.uint32(21)) & np.uint32(3) != 2:
                        break
                    dots = 1
                value = (value * np.uint64(_A)) ^ np.uint64(entry)
                index += 1
        value = (value ^ (value >> np.uint64(32))) * np.uint64(_B)
        hashes[count] = (value ^ (value >> np.uint64(29))) * np.uint64(_C)
        numbers[count] = kind == 2
        count += 1
    scripts[0] += latin
    return count


@_kernel
def roll(hashes: Any, size: int) -> Any:
    """Hashes of all n-grams of `size` tokens in their order, u64 [len(hashes) - size + 1].

    A polynomial in an odd multiplier modulo 2^64 over token hashes, mixed; never 0 or all ones.
    """
    count = max(0, len(hashes) - size + 1)
    grams = np.empty(count, np.uint64)
    leaving, total = np.uint64(1), np.uint64(0)
    for index in range(min(size, len(hashes))):
        total = total * np.uint64(_A) + hashes[index]
        leaving *= np.uint64(_A)
    for start in range(count):
        value = (total ^ (total >> np.uint64(32))) * np.uint64(_B)
        value ^= value >> np.uint64(29)
        grams[start] = min(max(value, np.uint64(1)), np.uint64(_EMPTY - 1))
        if start + size < len(hashes):
            total = total * np.uint64(_A) + hashes[start + size] - hashes[start] * leaving
    return grams


@_kernel
def distinct(grams: Any) -> Any:
    """A table of the distinct grams (open addressing, 0 is empty) and their first places."""
    size = 16
    while 2 * size < 3 * len(grams):
        size *= 2
    table, places = np.zeros(size, np.uint64), np.empty(len(grams), np.int64)
    count = 0
    for index in range(len(grams)):
        slot = np.int64(grams[index] & np.uint64(size - 1))
        while table[slot] != 0 and table[slot] != grams[index]:
            slot = (slot + 1) & (size - 1)
        if table[slot] == 0:
            table[slot] = grams[index]
            places[count] = index
            count += 1
    return table, places[:count]


@_kernel
def _holds(table: Any, gram: Any) -> bool:
    slot = np.int64(gram & np.uint64(len(table) - 1))
    while table[slot] != 0:
        if table[slot] == gram:
            return True
        slot = (slot + 1) & (len(table) - 1)
    return False


@_kernel
def count_shared(grams: Any, table: Any) -> int:
    """How many of `grams` the table holds, each as often as it comes."""
    shared = 0
    for gram in grams:
        shared += _holds(table, gram)
    return shared


@_kernel
def lacking(grams: Any, masked: Any, table: Any) -> Any:
    """The masked forms, without zeros, of those grams that the table does not hold."""
    found = np.empty(len(grams), np.uint64)
    count = 0
    for index in range(len(grams)):
        if masked[index] != 0 and not _holds(table, grams[index]):
            found[count] = masked[index]
            count += 1
    return found[:count]


@_kernel
def sketch(grams: Any) -> Any:
    """Fast Similarity Sketch of a set, u32 [128]; repeated grams make no difference."""
    places = np.full(128, np.uint64(_EMPTY))
    filled = 0
    for turn in range(256):
        if filled == 128 or len(grams) == 0:
            break
        seed = np.uint64(turn + 1) * np.uint64(_C)
        for gram in grams:
            value = (gram ^ seed) * np.uint64(_B)
            value ^= value >> np.uint64(31)
            value *= np.uint64(_C)
            value ^= value >> np.uint64(29)
            place = np.int64(value & np.uint64(127)) if turn < 128 else np.int64(turn - 128)
            rank = (np.uint64(turn) << np.uint64(48)) | (value >> np.uint64(16))
            if rank < places[place]:
                filled += places[place] == np.uint64(_EMPTY)
                places[place] = rank
    found = np.empty(128, np.uint32)
    for number in range(128):
        found[number] = np.uint32((places[number] * np.uint64(_A)) >> np.uint64(32))
    return found


@_kernel
def periodic_tail(points: Any, table: Any, key: int, tries: int, repeats: int) -> int:
    """Length of the longest ending that is one unit, `repeats` times or more over; 0 if none.

    A unit is looked for where the last `key` points stood before, at the `tries` nearest places.
    White space at the very end is not counted.
    """
    size, longest = len(points), 0
    while size and (table[points[size - 1]] >> np.uint32(21)) & np.uint32(3) == 0:
        size -= 1
    for period in range(1, size - key + 1):
        same = 0
        while same < size - period and points[size - 1 - same] == points[size - 1 - same - period]:
            same += 1
        if same >= key:
            if same + period >= repeats * period:
                longest = max(longest, same + period)
            tries -= 1
            if tries == 0 or longest == size:
                break
    return longest


@_kernel
def collapse(points: Any, table: Any, out: Any) -> int:
    """Copy `points` with runs of white space as one space, none at the ends; returns the length.

    `out` has one place more than `points`.
    """
    count, gap = 0, True
    for point in points:
        space = (table[point] >> np.uint32(21)) & np.uint32(3) == 0
        out[count] = 32 if space else point
        count += not (space & gap)
        gap = space
    return count - (1 if gap and count else 0)


@_kernel
def masked_grams(hashes: Any, numbers: Any, size: int) -> Any:
    """As `roll`, with numbers masked; 0 for an n-gram without a number."""
    grams = roll(np.where(numbers, np.uint64(1), hashes), size)
    held = 0
    for index in range(min(size, len(hashes)) - 1):
        held += numbers[index]
    for start in range(len(grams)):
        held += numbers[start + size - 1]
        if held == 0:
            grams[start] = 0
        held -= numbers[start]
    return grams


@_kernel
def _slot(sketch: Any, band: int, rows: int, keys: Any, last: Any) -> Any:
    value = np.uint64(band + 1)
    for row in range(rows):
        value = (value ^ np.uint64(sketch[rows * band + row])) * np.uint64(_A)
        value ^= value >> np.uint64(29)
    key = np.uint32(value >> np.uint64(32))
    slot = np.int64(value & np.uint64(len(keys) - 1))
    while last[slot] >= 0 and keys[slot] != key:
        slot = (slot + 1) & (len(keys) - 1)
    return slot, key


@_kernel
def add(sketches: Any, number: int, rows: int, keys: Any, last: Any, before: Any) -> None:
    """Put `number` at the head of the list of each of its bands."""
    for band in range(before.shape[1]):
        slot, key = _slot(sketches[number], band, rows, keys, last)
        keys[slot] = key
        before[number, band] = last[slot]
        last[slot] = number


@_kernel
def candidates(
    sketches: Any, number: int, rows: int, keys: Any, last: Any, before: Any, seen: Any, least: int
) -> Any:
    """Those added that share a band and `least` places with `number`, most alike first."""
    found, places = np.empty(64, np.int32), np.empty(64, np.int32)
    count = 0
    for band in range(before.shape[1]):
        slot, _ = _slot(sketches[number], band, rows, keys, last)
        other = last[slot]
        while other >= 0:
            if seen[other] != number:
                seen[other] = number
                same = 0
                for place in range(128):
                    same += sketches[number, place] == sketches[other, place]
                if same >= least:
                    if count == len(found):
                        found = np.concatenate((found, np.empty_like(found)))
                        places = np.concatenate((places, np.empty_like(places)))
                    found[count], places[count] = other, same
                    count += 1
            other = before[other, band]
    return found[:count][np.argsort(-places[:count], kind="mergesort")]
