"""The tokens of `traces.curate.tokens.tokens`, found in the UTF-8 bytes of a text, as hashes.

Sixty-four bytes become four masks, one bit for each byte, and from them the first byte of each
token and the first one behind it (the way of simdjson: Langdale and Lemire, "Parsing Gigabytes of
JSON per Second", 2019). Characters beyond ASCII are looked up one by one and set their bits. A
token is then hashed eight bytes at a time, in lower case, by a function that maps different tokens
of up to eight bytes to different hashes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from traces.curate.blocks import (
    BLOCK,
    PADDING,
    classify,
    count_bits,
    first_bit,
    kernel,
    load,
    lower_block,
)

_A = 0x9E3779B97F4A7C15
_B = 0xBF58476D1CE4E5B9
_WIDE = 0x8080808080808080


@kernel
def rooms(size: int) -> Any:
    """Where `read_tokens` works on texts of up to `size` bytes."""
    starts, ends = np.empty(size + 8, np.int32), np.empty(size + 8, np.int32)
    return np.empty(size + PADDING, np.uint8), starts, ends, np.empty(size + 8, np.int32)


@kernel
def read_tokens(data: Any, size: int, table: Any, hashes: Any, scripts: Any, work: Any) -> Any:
    """Hash each token into `hashes`, count letters by script.

    `data` u8, the text of `size` bytes in normal form C and PADDING spaces; `table` of
    `traces.curate.characters`; `hashes` u64 of `size` places at least; `scripts` i64 [13]; `work`
    from `rooms`. Returns the number of tokens.
    """
    small, starts, ends, rest = work
    count = _find_tokens(data, size, table, small, starts, ends, scripts)
    left = _hash_short(small, starts[:count], ends[:count], hashes, rest)
    for index in rest[:left]:
        start, end = starts[index], ends[index]
        value = load(small, start)
        wide = value
        for at in range(start + 8, end, 8):
            part = _first_bytes(load(small, at), end - at)
            wide |= part
            value = _absorb(value, part)
        if wide & np.uint64(_WIDE):
            value = _hash_wide(data, start, end, table)
        hashes[index] = _mixed(value)
    return count


@kernel
def find_numbers(data: Any, count: int, table: Any, numbers: Any, work: Any) -> None:
    """Say in `numbers`, u8, which of the `count` tokens that were read last are numbers."""
    starts, wide = work[1][:count], np.uint8(0)
    for index in range(len(starts)):
        first = data[np.uint32(starts[index])]
        wide |= first
        numbers[index] = np.uint8(first - np.uint8(48)) < 10
    if wide & 0x80:
        for index in range(len(starts)):
            numbers[index] = _is_digit(data, starts[index], table)


@kernel
def _hash_short(small: Any, starts: Any, ends: Any, hashes: Any, rest: Any) -> Any:
    """Hash the tokens of up to eight ASCII bytes; the others are listed in `rest` and counted."""
    left = np.uint64(0)
    for index in range(len(starts)):
        start = starts[index]
        size = ends[index] - start
        value = _first_bytes(load(small, start), size)
        hashes[index] = _mixed(value)
        rest[left] = index  # no branch: which tokens are long cannot be predicted
        left += np.uint64((size > 8) | (value & np.uint64(_WIDE) != 0))
    return left


@kernel
def _first_bytes(value: Any, count: Any) -> Any:
    """The first `count` of eight bytes, the others as 0."""
    gone = np.uint64(64 - 8 * min(count, 8))
    return (value << gone) >> gone


@kernel
def _mixed(value: Any) -> Any:
    value *= np.uint64(_A)
    value = (value ^ (value >> np.uint64(32))) * np.uint64(_B)
    return value ^ (value >> np.uint64(29))


@kernel
def _find_tokens(
    data: Any, size: int, table: Any, small: Any, starts: Any, ends: Any, scripts: Any
) -> int:
    """The first byte of each token, and the first one behind it; returns how many there are.

    Writes the text with small ASCII letters to `small`. `starts` and `ends` have eight places more
    than there are tokens.
    """
    begun, ended, fraction = 0, 0, -1
    one, last = np.uint64(1), np.uint64(63)
    word_before, number_before, token_before = np.uint64(0), np.uint64(0), np.uint64(0)
    split = np.uint64(0)
    for base in range(0, size + 1, BLOCK):
        letters, digits, spaces, dots, high = classify(data, base)
        lower_block(data, base, small, base)
        scripts[0] += count_bits(letters)
        inner = np.uint64(0)
        if high:
            letters, digits, spaces, inner = add_wide(
                data, base, table, scripts, letters, digits, spaces, high
            )
        word = letters | digits
        follows = (word << one) | word_before
        # Adding its first bit clears a run of digits: so numbers are told from digits in words.
        heads = digits & (~follows | number_before)
        number = digits & ~(digits + heads)
        joined = (word & follows & ~(letters & ((number << one) | number_before))) | inner
        joined |= split
        split = np.uint64(0)
        dots &= (number << one) | number_before
        while dots:
            at = base + first_bit(dots)
            dots &= dots - one
            if at != fraction and _is_digit(data, at + 1, table):
                fraction = _end_of_digits(data, at + 1, table)
                joined |= np.uint64(3) << np.uint64(at - base)
                split = np.uint64(at == base + 63)
        token = ~spaces
        begun = _write_places(token & ~joined, base, starts, begun)
        ended = _write_places(((token << one) | token_before) & ~joined, base, ends, ended)
        word_before, number_before, token_before = word >> last, number >> last, token >> last
    return begun


@kernel
def _write_places(bits: Any, base: int, places: Any, count: int) -> Any:
    """Write where `bits` are set, eight at a time: so how many there are is no branch to guess."""
    total = count + count_bits(bits)
    while True:
        for offset in range(8):
            places[count + offset] = base + first_bit(bits)
            bits &= bits - np.uint64(1)
        count += 8
        if bits == 0:
            return total


@kernel
def add_wide(
    data: Any,
    base: int,
    table: Any,
    scripts: Any,
    letters: Any,
    digits: Any,
    spaces: Any,
    high: Any,
) -> Any:
    """The masks with characters beyond ASCII, and one of the bytes that go on within a mark."""
    inner = np.uint64(0)
    while high:
        start = base + first_bit(high)
        while data[start] & 0xC0 == 0x80:  # it begins in the block before
            start -= 1
        point, length = character(data, start)
        bits = (np.uint64(1) << np.uint64(length)) - np.uint64(1)
        bits = bits << np.uint64(start - base) if start >= base else bits >> np.uint64(base - start)
        entry = table[point]
        kind = (entry >> np.uint32(21)) & np.uint32(3)
        if kind == 1:
            letters |= bits
            scripts[entry >> np.uint32(24)] += start >= base
        elif kind == 2:
            digits |= bits
        elif kind == 0:
            spaces |= bits
        else:
            inner |= bits & (bits - np.uint64(1)) if start >= base else bits
        high &= ~bits
    return letters, digits, spaces, inner


@kernel
def character(data: Any, start: int) -> Any:
    """The code point whose first byte is at `start`, and of how many bytes it is."""
    first = np.int64(data[start])
    if first < 0x80:
        return first, 1
    length = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    point = first & (0x7F >> length)
    for place in range(start + 1, start + length):
        point = (point << 6) | (np.int64(data[place]) & 0x3F)
    return point, length


@kernel
def _is_digit(data: Any, start: int, table: Any) -> Any:
    point, _ = character(data, start)
    return (table[point] >> np.uint32(21)) & np.uint32(3) == 2


@kernel
def _end_of_digits(data: Any, at: int, table: Any) -> Any:
    while _is_digit(data, at, table):
        at += character(data, at)[1]
    return at


@kernel
def _absorb(value: Any, part: Any) -> Any:
    return (value ^ (value >> np.uint64(31))) * np.uint64(_B) + part


@kernel
def _hash_wide(data: Any, start: int, end: int, table: Any) -> Any:
    """As for ASCII, over the UTF-8 bytes of the lower case."""
    value, part, filled, chunks = np.uint64(0), np.uint64(0), 0, 0
    at = start
    while at < end:
        point, length = character(data, at)
        at += length
        lower = np.int64(table[point] & np.uint32(0x1FFFFF))
        more = 0 if lower < 0x80 else 1 if lower < 0x800 else 2 if lower < 0x10000 else 3
        for left in range(more, -1, -1):
            byte = (lower >> (6 * left)) & 0x3F | 0x80
            if left == more:
                byte = lower if more == 0 else (lower >> (6 * left)) | (0xFF00 >> (more + 1)) & 0xFF
            if filled == 8:
                value = part if chunks == 0 else _absorb(value, part)
                part, filled, chunks = np.uint64(0), 0, chunks + 1
            part |= np.uint64(byte) << np.uint64(8 * filled)
            filled += 1
    return part if chunks == 0 else _absorb(value, part)
