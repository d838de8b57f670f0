"""Copies of traces that stay: which of them go, exactly the same ones and nearly so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from traces.curate.annotate import Item, compared
from traces.curate.drops import Drops, Mask
from traces.curate.ledger import RIGHT, Ledger


def drop_copies(drops: Drops, threshold: float | None, item_of: Callable[[str], Item]) -> None:
    """Drop by the rules `exact_duplicate` and `near_duplicate`, none of the latter for None."""
    ledger, of = drops.ledger, {}
    alone = np.bincount(ledger.same_as, minlength=len(ledger.keys))[ledger.same_as] < 2
    first: dict[int, int] = {}
    for row in best_first(ledger, drops.alive & ~alone):
        best = first.setdefault(int(ledger.same_as[row]), row)
        if best != row:
            of[row] = best
    copied = np.zeros(len(ledger.keys), np.bool_)
    copied[list(of)] = True
    drops.drop("exact_duplicate", copied, lambda row: f"1.000 of {ledger.keys[of[row]]}", 1.0)
    if threshold is None:
        return
    near = _near(drops, first, threshold, item_of)
    copied = np.zeros(len(ledger.keys), np.bool_)
    copied[list(near)] = True

    def value(row: int) -> str:
        return f"{near[row][1]:.3f} of {ledger.keys[near[row][0]]}"

    drops.drop("near_duplicate", copied, value, threshold)


def _near(
    drops: Drops, first: dict[int, int], threshold: float, item_of: Callable[[str], Item]
) -> dict[int, tuple[int, float]]:
    """Copies of rows that stay. Where the noted original is gone, its copies are compared again."""
    ledger = drops.ledger
    found: dict[int, tuple[int, float]] = {}
    orphans: dict[int, list[int]] = {}
    # What is noted of the best of equal texts holds for the one of them that stays.
    copy_of = ledger.copy_of[ledger.same_as]
    similarity = ledger.similarity[ledger.same_as]
    for row in np.flatnonzero(drops.alive & (copy_of >= 0)).tolist():
        original = first.get(int(copy_of[row]), int(copy_of[row]))
        if drops.alive[original] and similarity[row] >= threshold:
            found[row] = (original, float(similarity[row]))
        else:
            orphans.setdefault(int(copy_of[row]), []).append(row)
    alike = [row for rows in orphans.values() if len(rows) > 1 for row in rows]
    if alike:
        found.update(_compare(drops, alike, threshold, item_of))
    return found


def _compare(
    drops: Drops, rows: list[int], threshold: float, item_of: Callable[[str], Item]
) -> dict[int, tuple[int, float]]:
    from traces.curate.nearby import find_near

    mask = np.zeros(len(drops.alive), np.bool_)
    mask[rows] = True
    order = best_first(drops.ledger, mask)
    read = [compared(item_of(drops.ledger.keys[row])) for row in order]
    sketches = np.stack([sketch for _, sketch in read])
    near = find_near(sketches, range(len(order)), lambda n: read[n][0], threshold)
    return {order[n]: (order[other], alike) for n, (other, alike) in near.items()}


def best_first(ledger: Ledger, mask: Mask) -> list[int]:
    """The rows of `mask`: right ones first, then the shorter, then the smaller key."""
    rows = np.flatnonzero(mask).tolist()
    right, tokens, keys = ledger.answer == RIGHT, ledger.tokens, ledger.keys
    return sorted(rows, key=lambda row: (not right[row], tokens[row], keys[row]))
