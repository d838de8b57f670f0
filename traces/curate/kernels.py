"""The compiled loops of curation. `traces.curate.scan` and `nearby` call them; nothing else does.

Token hashes are those of `traces.curate.lexer`, `data` and `table` what it reads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from traces.curate.blocks import BLOCK, classify, copy_block, kernel, load
from traces.curate.lexer import add_wide, character, read_tokens
from traces.curate.pairs import index, roll

_A = 0x9E3779B97F4A7C15
_B = 0xBF58476D1CE4E5B9
_C = 0x94D049BB133111EB
_EMPTY = 0xFFFFFFFFFFFFFFFF
SCRIPTS = 13


@kernel
def count_distinct(grams: Any) -> Any:
    """How many different grams there are.

    Most grams of most texts come once and are told by a bit of their own; only those whose bit is
    another's too go into a table.
    """
    size = 1024
    while size < 32 * len(grams):
        size *= 2
    once, twice = np.zeros(size >> 6, np.uint64), np.zeros(size >> 6, np.uint64)
    met = np.uint64(0)
    for gram in grams:
        slot = gram & np.uint64(size - 1)
        place, bit = slot >> np.uint64(6), np.uint64(1) << (slot & np.uint64(63))
        again = once[place] & bit
        once[place] |= bit
        twice[place] |= again
        met |= again
    if met == 0:
        return len(grams)
    rest = np.empty(len(grams), np.uint64)
    count: Any = 0
    for gram in grams:
        slot = gram & np.uint64(size - 1)
        rest[count] = gram
        count += np.int64((twice[slot >> np.uint64(6)] >> (slot & np.uint64(63))) & np.uint64(1))
    return len(grams) - count + index(rest[:count])[2]


@kernel
def sketch(grams: Any) -> Any:
    """Fast Similarity Sketch of a set, u32 [128]; repeated grams make no difference."""
    places = np.full(128, np.uint64(_EMPTY))
    turn, left = 0, len(grams)
    while turn < 256 and left:
        seed = np.uint64(turn + 1) * np.uint64(_C)
        for gram in grams:
            value = (gram ^ seed) * np.uint64(_B)
            value ^= value >> np.uint64(31)
            value *= np.uint64(_C)
            value ^= value >> np.uint64(29)
            place = value & np.uint64(127) if turn < 128 else np.uint64(turn - 128)
            rank = (np.uint64(turn) << np.uint64(48)) | (value >> np.uint64(16))
            places[place] = min(places[place], rank)
        left = (places == np.uint64(_EMPTY)).sum()
        turn += 1
    found = np.empty(128, np.uint32)
    for number in range(128):
        found[number] = np.uint32((places[number] * np.uint64(_A)) >> np.uint64(32))
    return found


@kernel
def sketch_text(data: Any, size: int, table: Any, ngram: int) -> Any:
    """The number of tokens of a text, and the sketch of its n-grams. `data` as in `read_tokens`."""
    hashes, _, _ = tokens_of(data, size, table)
    return len(hashes), sketch(roll(hashes, min(ngram, max(len(hashes), 1))))


@kernel
def kept_tokens(data: Any, size: int, table: Any) -> Any:
    """The first two of `tokens_of`, in no more memory than they need."""
    hashes, numbers, _ = tokens_of(data, size, table)
    return hashes.copy(), numbers.copy()


@kernel
def tokens_of(data: Any, size: int, table: Any) -> Any:
    """Hashes u64 [n] of the tokens, u8 [n] which are numbers, letters by script i64 [13]."""
    hashes, numbers = np.empty(size, np.uint64), np.empty(size, np.uint8)
    scripts = np.zeros(SCRIPTS, np.int64)
    count = read_tokens(data, size, table, hashes, numbers, scripts)
    return hashes[:count], numbers[:count], scripts


@kernel
def survey(data: Any, size: int, table: Any, words: Any, ngram: int, tail: Any) -> Any:
    """Hashes of the tokens, their number among `words`, how many n-grams are different, how many of
    those with numbers masked, how many characters the periodic tail has, letters by script.

    `tail`: key, tries and repeats of `periodic_tail`.
    """
    hashes, numbers, scripts = tokens_of(data, size, table)
    met = 0
    for word in words:
        for value in hashes:
            met += value == word
    plain = masked = count_distinct(roll(hashes, ngram))
    if numbers.any():
        masked = count_distinct(roll(mask_numbers(hashes, numbers), ngram))
    period = periodic_tail(data, size, table, tail[0], tail[1], tail[2])
    return hashes, met, plain, masked, period, scripts


@kernel
def mask_numbers(hashes: Any, numbers: Any) -> Any:
    """The hashes with 1 in the place of every number."""
    found = np.empty(len(hashes), np.uint64)
    for place in range(len(hashes)):
        found[place] = np.uint64(1) if numbers[place] else hashes[place]
    return found


@kernel
def periodic_tail(data: Any, size: int, table: Any, key: int, tries: int, repeats: int) -> int:
    """Characters of the longest ending that is one unit, `repeats` times or more over; 0 if none.

    A unit is looked for where the last `key` characters stood before, at the `tries` nearest
    places. White space at the very end is not counted.
    """
    size = _trimmed(data, size, table)
    needed, characters = 0, 0
    while needed < size and characters < key:
        needed += 1
        characters += data[size - needed] & 0xC0 != 0x80
    if characters < key:
        return 0
    longest, end = 0, load(data, size - 8)
    for period in range(1, size - needed + 1):
        if load(data, size - 8 - period) != end:
            continue
        same = 8
        while same < size - period and data[size - 1 - same] == data[size - 1 - same - period]:
            same += 1
        if same >= needed:
            if same + period >= repeats * period:
                longest = max(longest, same + period)
            tries -= 1
            if tries == 0 or longest == size:
                break
    count = 0
    for place in range(size - longest, size):
        count += data[place] & 0xC0 != 0x80
    return count


@kernel
def _trimmed(data: Any, size: int, table: Any) -> int:
    """The size without white space at the end."""
    while size:
        start = size - 1
        while data[start] & 0xC0 == 0x80:
            start -= 1
        point, _ = character(data, start)
        if (table[point] >> np.uint32(21)) & np.uint32(3) != 0:
            break
        size = start
    return size


@kernel
def collapse(data: Any, size: int, table: Any, out: Any) -> Any:
    """Copy a text with runs of white space as one space, none at the ends; returns the length.

    `data` as in `read_tokens`; `out` u8 of PADDING places more than `size`.
    """
    count: Any = 0
    before, scripts = np.uint64(1), np.empty(SCRIPTS, np.int64)
    for base in range(0, size, BLOCK):
        letters, digits, spaces, _, high = classify(data, base)
        wide = spaces
        if high:
            _, _, wide, _ = add_wide(data, base, table, scripts, letters, digits, spaces, high)
        gone = wide & ((wide << np.uint64(1)) | before)
        before = wide >> np.uint64(63)
        if gone | (wide ^ spaces):
            for place in range(min(BLOCK, size - base)):
                bit = np.uint64(place)
                out[count] = 32 if (wide >> bit) & np.uint64(1) else data[base + place]
                count += 1 - np.int64((gone >> bit) & np.uint64(1))
        else:
            copy_block(data, base, out, count)
            count += min(BLOCK, size - base)
    return count - 1 if count and out[count - 1] == 32 else count
