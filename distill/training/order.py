"""The order in which training meets its rows.

The trainer draws a new random order in each epoch unless told otherwise; a curriculum is the same
sequence in every epoch, whatever the seed. Several processes share out each batch of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from distill.rows import Row

Order = Literal["random", "as_is", "short_first", "easy_first"]
Placed = tuple[int, tuple[Row, str]]


def sampling_strategy(order: Order) -> str:
    """The trainer's name for how it goes through rows that are already in `order`."""
    return "random" if order == "random" else "sequential"


def arranged(
    rows: Iterable[Placed], order: Order, pass_rates: Mapping[str, float]
) -> Iterable[Placed]:
    """Rows with their numbers and splits in `order`; `random` leaves that to the trainer.

    Only the orders that sort hold the rows.

    short_first  fewest tokens first
    easy_first   by `pass_rates` of their traces downwards, 0.5 where there is none; equals by
                 length, then by key
    """
    if order == "short_first":
        return sorted(rows, key=lambda placed: _length(placed[1][0]))
    if order == "easy_first":
        return sorted(rows, key=lambda placed: _ease(placed[1][0], pass_rates))
    return rows


def _length(row: Row) -> tuple[int, str]:
    return len(row.input_ids), row.key


def _ease(row: Row, pass_rates: Mapping[str, float]) -> tuple[float, int, str]:
    return (-pass_rates.get(row.key, 0.5), *_length(row))
