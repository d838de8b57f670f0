"""Which traces of one question to keep where it has too many."""

from __future__ import annotations

import numpy as np

from traces.curate.ledger import RIGHT, Ledger


def spread(ledger: Ledger, group: list[int], limit: int) -> list[int]:
    """`limit` rows of a larger group: the right ones first, spread from short to long.

    The rows are cut into strata of like length; of each stratum stays the one whose sketch is
    least like those that stay already.
    """
    by_length = sorted(group, key=lambda row: (ledger.tokens[row], ledger.keys[row]))
    right = [row for row in by_length if ledger.answer[row] == RIGHT]
    rest = [row for row in by_length if ledger.answer[row] != RIGHT]
    kept = _strata(ledger, right, min(limit, len(right)), [])
    return kept + _strata(ledger, rest, limit - len(kept), kept)


def _strata(ledger: Ledger, rows: list[int], count: int, kept: list[int]) -> list[int]:
    chosen: list[int] = []
    for index in range(count):
        stratum = rows[index * len(rows) // count : (index + 1) * len(rows) // count]
        chosen.append(_furthest(ledger, stratum, kept + chosen))
    return chosen


def _furthest(ledger: Ledger, rows: list[int], kept: list[int]) -> int:
    """The row least like the most similar of `kept`; of equals, and without any, the middle one."""
    middle = rows[len(rows) // 2]
    if not kept or len(rows) == 1:
        return middle
    same = ledger.sketch[rows][:, None, :] == ledger.sketch[kept][None, :, :]
    nearest = same.mean(axis=2).max(axis=1)
    best = np.flatnonzero(nearest == nearest.min())
    return min((rows[index] for index in best), key=lambda row: (row != middle, ledger.keys[row]))
