"""Which rows of a ledger are gone, by which rule, and the decisions that this makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from traces.curate.ledger import Ledger
from traces.record import Decision

Mask = npt.NDArray[np.bool_]
Value = float | str | None


class Drops:
    """Which rule took each row so far, the value it broke the rule with, the threshold."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.alive = np.ones(len(ledger.keys), np.bool_)
        self.found: dict[int, tuple[str, Value, Value]] = {}
        self.labels: dict[int, str] = {}
        """What to say of a row that is kept."""

    def drop(
        self,
        rule: str,
        mask: Mask,
        value: Callable[[int], Value] = lambda row: None,
        threshold: Value = None,
    ) -> None:
        """Drop those of `mask` that are alive."""
        mask = mask & self.alive
        for row in np.flatnonzero(mask).tolist():
            self.found[row] = (rule, value(row), threshold)
        self.alive &= ~mask

    def below(self, rule: str, column: npt.NDArray[Any], limit: int) -> None:
        """Drop rows with less than `limit`."""
        self.drop(rule, column < limit, lambda row: float(column[row]), float(limit))

    def above(
        self, rule: str, column: npt.NDArray[Any], limit: float | None, strictly: bool = False
    ) -> None:
        """Drop rows that reach `limit`, or pass it if `strictly`; none where it is None."""
        if limit is not None:
            mask = column > limit if strictly else column >= limit
            self.drop(rule, mask, lambda row: round(float(column[row]), 4), float(limit))

    def decisions(self, coverage: float | None) -> list[Decision]:
        """All decisions; what is kept has its label, if it is alike to an evaluation question."""
        ledger = self.ledger
        keys, names = ledger.keys, ledger.prompt.names
        prompts = ledger.prompt.codes.tolist()
        labels = dict(self.labels)
        if coverage is not None:
            for row in np.flatnonzero(self.alive & (ledger.masked >= coverage)).tolist():
                source = ledger.masked_of.at(row)
                masked = f"other numbers than {source}, else {ledger.masked[row]:g} alike"
                labels[row] = "; ".join(filter(None, (masked, labels.get(row))))
        made = [
            Decision(key, names[prompt], True, value=labels.get(row))
            for row, (key, prompt) in enumerate(zip(keys, prompts, strict=True))
        ]
        for row, (rule, value, threshold) in self.found.items():
            made[row] = Decision(keys[row], names[prompts[row]], False, rule, value, threshold)
        return made
