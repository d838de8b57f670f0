"""The compiled loops that find texts whose sketches share a band."""

from __future__ import annotations

from typing import Any

import numpy as np

from traces.curate.blocks import kernel

_A = 0x9E3779B97F4A7C15


@kernel
def band_hashes(sketches: Any, order: Any, rows: int) -> Any:
    """u32 [bands, len(order)]; equal where the places of a band are, and by chance once in 2^32."""
    found = np.empty((128 // rows, len(order)), np.uint32)
    for place in range(len(order)):
        for band in range(128 // rows):
            value = np.uint64(0)
            for row in range(rows):
                value ^= np.uint64(sketches[order[place], rows * band + row])
                value *= np.uint64(_A)
                value ^= value >> np.uint64(29)
            found[band, place] = np.uint32(value >> np.uint64(32))
    return found


@kernel
def groups_of(hashes: Any) -> Any:
    """What shares a band: i32 [N, bands], equal where two texts do, -1 where nobody else has it.

    And how many groups there are. `hashes` u32 [bands, N]. One table is used for one band after the
    other, so it stays in the cache for some ten thousand texts.
    """
    bands, texts = hashes.shape
    size = 16
    while size < 2 * texts:
        size *= 2
    table, groups = np.empty(size, np.int32), np.full((texts, bands), np.int32(-1))
    count = 0
    for band in range(bands):
        row = hashes[band]
        table[:] = -1
        for place in range(texts):
            slot = np.int64(row[place]) & (size - 1)
            while table[slot] >= 0 and row[table[slot]] != row[place]:
                slot = (slot + 1) & (size - 1)
            first = table[slot]
            if first < 0:
                table[slot] = place
                continue
            if groups[first, band] < 0:
                groups[first, band] = count
                count += 1
            groups[place, band] = groups[first, band]
    return groups, count


@kernel
def search(
    sketches: Any, groups: Any, last: Any, before: Any, seen: Any, least: int, start: int
) -> Any:
    """Add texts from `start` on until one has candidates; returns its number and theirs.

    Candidates share a band and `least` places, most alike first. The number is N where no text has
    any. `sketches` u32 [N, 128]; `groups` i32 [N, bands], equal where bands are, -1
    for a band of one text only; `last` i32, of each group the last text that was added, -1 at
    first; `before` i32 [N, bands], the one added before; `seen` i32 [N], -1 at first.
    """
    found, places = np.empty(64, np.int32), np.empty(64, np.int32)
    for number in range(start, len(sketches)):
        count = 0
        for band in range(groups.shape[1]):
            other = last[groups[number, band]] if groups[number, band] >= 0 else -1
            while other >= 0:
                if seen[other] != number:
                    seen[other] = number
                    same = (sketches[number] == sketches[other]).sum()
                    if same >= least:
                        if count == len(found):
                            found = np.concatenate((found, np.empty_like(found)))
                            places = np.concatenate((places, np.empty_like(places)))
                        found[count], places[count] = other, same
                        count += 1
                other = before[other, band]
        if count:
            return number, found[:count][np.argsort(-places[:count], kind="mergesort")]
        add(number, groups, last, before)
    return len(sketches), found[:0]


@kernel
def add(number: int, groups: Any, last: Any, before: Any) -> None:
    """Put `number` at the head of the list of each of its groups."""
    for band in range(groups.shape[1]):
        group = groups[number, band]
        if group >= 0:
            before[number, band] = last[group]
            last[group] = number
