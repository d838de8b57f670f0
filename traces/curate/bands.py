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
                value = (value ^ np.uint64(sketches[order[place], rows * band + row])) * np.uint64(
                    _A
                )
                value ^= value >> np.uint64(29)
            found[band, place] = np.uint32(value >> np.uint64(32))
    return found


@kernel
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


@kernel
def add(sketches: Any, number: int, rows: int, keys: Any, last: Any, before: Any) -> None:
    """Put `number` at the head of the list of each of its bands."""
    for band in range(before.shape[1]):
        slot, key = _slot(sketches[number], band, rows, keys, last)
        keys[slot] = key
        before[number, band] = last[slot]
        last[slot] = number


@kernel
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
