"""The compiled loops of curation. `traces.curate.scan` and `nearby` call them; nothing else does.

Token hashes are those of `traces.curate.lexer`, `data` and `table` what it reads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from traces.curate.blocks import BLOCK, classify, equal_block, kernel, last_bit, space_block
from traces.curate.lexer import add_wide, character, find_numbers, read_tokens, rooms
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
    for gram in grams:
        _put(places, gram)
    return _filled(places, grams, np.empty(128, np.uint32))


@kernel
def sketch_tokens(hashes: Any, ngram: int) -> Any:
    """The sketch of the n-grams of tokens, which are one n-gram where they are fewer."""
    return _sketch_tokens(hashes, ngram, np.empty(128, np.uint64), np.empty(128, np.uint32))


@kernel
def _sketch_tokens(hashes: Any, ngram: int, places: Any, out: Any) -> Any:
    size = min(ngram, max(len(hashes), 1))
    places[:] = np.uint64(_EMPTY)
    leaving, total = np.uint64(1), np.uint64(0)
    for value in hashes[:size]:
        total = total * np.uint64(_A) + value
        leaving *= np.uint64(_A)
    ahead = hashes[size:]
    for start in range(len(ahead)):
        _put(places, total)
        total = total * np.uint64(_A) + (ahead[start] - hashes[start] * leaving)
    if len(hashes):
        _put(places, total)
    empty = 0
    for place in places:
        empty += place == np.uint64(_EMPTY)
    return _filled(places, roll(hashes, size) if empty else hashes[:0], out)


@kernel
def _put(places: Any, gram: Any) -> None:
    """The first turn of a sketch, which is the only one for most texts."""
    value = (gram ^ (gram >> np.uint64(32))) * np.uint64(_B)
    value ^= value >> np.uint64(29)
    place = value & np.uint64(127)
    places[place] = min(places[place], value >> np.uint64(16))


@kernel
def _filled(places: Any, grams: Any, found: Any) -> Any:
    """The sketch into `found`, empty places filled in later turns; empty without grams."""
    turn = 1
    while len(grams) and (places == np.uint64(_EMPTY)).any():
        seed = np.uint64(turn + 1) * np.uint64(_C)
        for gram in grams:
            value = (gram ^ seed) * np.uint64(_B)
            value ^= value >> np.uint64(31)
            value *= np.uint64(_C)
            value ^= value >> np.uint64(29)
            place = value & np.uint64(127) if turn < 128 else np.uint64(turn - 128)
            rank = (np.uint64(turn) << np.uint64(48)) | (value >> np.uint64(16))
            places[place] = min(places[place], rank)
        turn += 1
    for number in range(128):
        found[number] = np.uint32((places[number] * np.uint64(_A)) >> np.uint64(32))
    return found


@kernel
def sketch_texts(data: Any, starts: Any, sizes: Any, table: Any, ngram: int) -> Any:
    """The numbers of tokens of texts, i32 [N], and the sketches of their n-grams, u32 [N, 128].

    `data` u8 has each text as `read_tokens` takes it, at `starts` with `sizes`, i64 [N].
    """
    most = sizes.max() if len(sizes) else 0
    hashes, work = np.empty(most, np.uint64), rooms(most)
    places, scripts = np.empty(128, np.uint64), np.zeros(SCRIPTS, np.int64)
    counts, found = np.empty(len(starts), np.int32), np.empty((len(starts), 128), np.uint32)
    for number in range(len(starts)):
        text = data[starts[number] :]
        count = read_tokens(text, sizes[number], table, hashes, scripts, work)
        _sketch_tokens(hashes[:count], ngram, places, found[number])
        counts[number] = count
    return counts, found


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
    work = rooms(size)
    count = read_tokens(data, size, table, hashes, scripts, work)
    find_numbers(data, count, table, numbers, work)
    return hashes[:count], numbers[:count], scripts


@kernel
def survey(
    data: Any, size: int, table: Any, words: Any, loop_ngram: int, tail: Any, ngram: int
) -> Any:
    """The number of tokens, of those among `words`, of different n-grams, of the same with numbers
    masked, of characters of the periodic tail; letters by script; the sketch.

    `tail`: key, tries and repeats of `periodic_tail`. `ngram` of 0 leaves the sketch out.
    """
    hashes, numbers, scripts = tokens_of(data, size, table)
    met = 0
    for word in words:
        for value in hashes:
            met += value == word
    plain = masked = count_distinct(roll(hashes, loop_ngram))
    if numbers.any():
        masked = count_distinct(roll(mask_numbers(hashes, numbers), loop_ngram))
    period = periodic_tail(data, size, table, tail[0], tail[1], tail[2])
    found = sketch_tokens(hashes, ngram) if ngram else np.empty(0, np.uint32)
    return len(hashes), met, plain, masked, period, scripts, found


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
    longest, top = 0, size
    while top > needed and tries and longest < size:
        base = max(needed, top - BLOCK)
        bits = _matches(data, base - 1, size) & (np.uint64(_EMPTY) >> np.uint64(64 - (top - base)))
        top = base
        while bits and tries and longest < size:
            place = last_bit(bits)
            bits ^= np.uint64(1) << np.uint64(place)
            period = size - base - place
            same = 4
            while same < size - period and data[size - 1 - same] == data[size - 1 - same - period]:
                same += 1
            if same >= needed:
                tries -= 1
                if same + period >= repeats * period:
                    longest = max(longest, same + period)
    count = 0
    for place in range(size - longest, size):
        count += data[place] & 0xC0 != 0x80
    return count


@kernel
def _matches(data: Any, index: int, size: int) -> Any:
    """Of the 64 bytes from `index` on those that end what the last four of `size` bytes are."""
    bits = equal_block(data, index, data[size - 1])
    for back in range(1, 4):
        bits &= equal_block(data, index - back, data[size - 1 - back])
    return bits


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
            space_block(data, base, out, count)
            count += min(BLOCK, size - base)
    return count - 1 if count and out[count - 1] == 32 else count
