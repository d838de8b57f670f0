"""An order of traces in which each is as unlike those before it as the rest allows.

Farthest-point traversal takes time N for each trace it picks. Here it goes by levels of likeness:
first all that share less than an eighth of their sketch with any picked before, then those that
share less than a quarter, and so on; within a level in the order given. So whatever is left at a
level is at least so much like one that was picked, as in the traversal, and the time is linear:
candidates come from a table of pairs of places, of which each slot holds the newest few.

A pair of sketches that agree in an eighth of their places meets in the table with probability 0.83,
in a quarter with 0.999; from some 100,000 picked on, slots are full and the lower levels blur.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from traces.curate.blocks import kernel
from traces.curate.ledger import SKETCH_BYTES

LEVELS = (8, 16, 24, 32, 48, SKETCH_BYTES + 1)
"""Equal places of 64 from which a trace is left for the next level; the last takes all."""
STEPS = (1, 7)  # between the two places of a pair
NEWEST = 4


def diverse_order(sketches: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Rows of `sketches` [N, 64] in the order of picking, [N]; of equals the earlier first."""
    count = len(sketches)
    bits = min(16, max(8, int(count).bit_length()))
    slots = np.full((len(STEPS) * SKETCH_BYTES, 1 << bits, NEWEST), -1, np.int32)
    nearest = np.zeros(count, np.int32)
    left = np.arange(count)
    order = []
    for level in LEVELS:
        picked = np.zeros(count, np.bool_)
        _pick(np.ascontiguousarray(sketches), left, level, np.array(STEPS), slots, nearest, picked)
        order.append(left[picked[left]])
        left = left[~picked[left]]
    return np.concatenate(order)


@kernel
def _pick(
    sketches: Any, left: Any, level: int, steps: Any, slots: Any, nearest: Any, picked: Any
) -> None:
    """Note in `picked` those of `left` that agree with none picked in `level` places or more.

    `nearest` keeps the most places that a row was seen to share with one that was picked.
    """
    places = sketches.shape[1]
    mask = slots.shape[1] - 1
    seen = np.full(len(sketches), -1, np.int64)
    for row in left:
        if nearest[row] >= level:
            continue
        mine = sketches[row]
        for table in range(slots.shape[0]):
            slot = _slot(mine, table, places, steps, mask)
            for other in slots[table, slot]:
                if other >= 0 and seen[other] != row:
                    seen[other] = row
                    same = 0
                    for place in range(places):
                        same += mine[place] == sketches[other, place]
                    nearest[row] = max(nearest[row], same)
            if nearest[row] >= level:
                break
        if nearest[row] >= level:
            continue
        picked[row] = True
        for table in range(slots.shape[0]):
            held = slots[table, _slot(mine, table, places, steps, mask)]
            for place in range(len(held) - 1, 0, -1):
                held[place] = held[place - 1]
            held[0] = row


@kernel
def _slot(mine: Any, table: int, places: int, steps: Any, mask: int) -> Any:
    """Where pair `table` of a sketch lies in its table."""
    one = table % places
    value = np.uint32(mine[one]) * np.uint32(256)
    value += np.uint32(mine[(one + steps[table // places]) % places])
    value *= np.uint32(0x9E3779B1)
    return np.int64(value >> np.uint32(16)) & mask
