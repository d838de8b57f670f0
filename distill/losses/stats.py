"""What went into a loss: its parts, and what a compacted gradient left out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Stats(NamedTuple):
    """Sums over calls. `ce` and `kd` add up to the loss, with their factors and the row weights.

    `kept_columns` of `columns` took part in the gradients' GEMMs, summed over chunks;
    `dropped_mass` of `mass` is the sum of `|dl/dlogit|` that was left to the rank-1 correction.
    All four are 0 where compaction is off.
    """

    ce: float
    kd: float
    kept_columns: float
    columns: float
    dropped_mass: float
    mass: float


class LossStats:
    """Adds up what `fused_linear_loss(..., stats=...)` computes, on the device, without waiting.

    Not safe to share between threads.
    """

    def __init__(self) -> None:
        self._sums: Tensor | None = None

    def add(self, sums: Tensor) -> None:
        """Add one call's `sums` [6], in the order of `Stats`."""
        self._sums = sums if self._sums is None else self._sums + sums

    def sums(self) -> Tensor:
        """The sums [6] so far, on their device, fp64 (zeros on the CPU if there was no call)."""
        return torch.zeros(6, dtype=torch.float64) if self._sums is None else self._sums.double()

    def take(self) -> Stats:
        """The sums so far, and start again from 0. Waits for the device."""
        sums = self.sums().tolist()
        self._sums = None
        return Stats._make(sums)
