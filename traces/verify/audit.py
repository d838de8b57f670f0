"""Audit the verifiers: sample verdicts for a person to label, then say how good they are.

The sample is stratified by verdict and tier, so that rare tiers are looked at too; each stratum's
verdicts weigh as many as they stand for. Precision and recall come with 95 % Wilson intervals at
the effective sample size of those weights (Kish, 1965): they stay honest at 0 and 100 %.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

from traces.errors import DataError
from traces.jsonio import Fault, Faults, read_each
from traces.verify.check import Check

LABELS = ("right", "wrong", "unsure")
Stratum = tuple[str, str]
_Z = 1.959964


class Sampler:
    """At most `size` verdicts of each stratum, each verdict as likely as the others of its own.

    Reservoirs: one pass, whatever the length of the file. The same seed samples the same rows.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self._chosen = random.Random(seed)
        self._kept: dict[Stratum, list[dict[str, Any]]] = defaultdict(list)
        self._seen: Counter[Stratum] = Counter()

    def add(self, row: int, value: dict[str, Any], check: Check) -> None:
        """Offer the verdict on one row."""
        stratum = (check.outcome, check.tier)
        self._seen[stratum] += 1
        kept = self._kept[stratum]
        place = self._chosen.randrange(self._seen[stratum])
        verdict = {
            "row": row, "verdict": check.outcome, "tier": check.tier, "reason": check.reason,
            "extracted": check.extracted,
        }  # fmt: skip
        entry = {**value, **verdict, "label": None}
        if len(kept) < self.size:
            kept.append(entry)
        elif place < self.size:
            kept[place] = entry

    def rows(self) -> list[dict[str, Any]]:
        """The sample in the order of the file: shares as equal as the strata allow."""
        shares = dict.fromkeys(self._kept, 0)
        left = self.size
        while left and (open_ := [s for s in sorted(shares) if shares[s] < len(self._kept[s])]):
            for stratum in open_[:left]:
                shares[stratum] += 1
                left -= 1
        found = []
        for stratum, share in shares.items():
            for entry in self._chosen.sample(self._kept[stratum], share):
                found.append({**entry, "stands_for": self._seen[stratum]})
        return sorted(found, key=lambda entry: entry["row"])


class Share(NamedTuple):
    """A share, None without any label, with its 95 % interval; `of` is the number of labels."""

    value: float | None
    low: float
    high: float
    of: int


class Audit(NamedTuple):
    """How good the verdicts are. `right_found` is recall: of the answers that are right, those
    that were judged so; `unknown_of_all` is the share without a verdict.
    """

    labelled: int
    left_out: int
    right_precision: Share
    right_found: Share
    wrong_precision: Share
    wrong_found: Share
    unknown_of_all: Share


def report(path: Path) -> Audit:
    """Read a labelled sample: `label` is right, wrong, unsure or null (the last two are left out).

    Raises:
        DataError: rows are broken or labelled otherwise; three named by line, all counted.
    """
    faults, rows = Faults(), []
    for row in read_each(path):
        if isinstance(row, Fault):
            faults.add(*row)
        elif fault := _fault(row.value):
            faults.add(row.place, fault)
        else:
            rows.append(row.value)
    faults.raise_if_any("broken rows", f"a label is one of {', '.join(LABELS)}, or null")
    labelled = [row for row in rows if row["label"] in LABELS[:2]]
    if not labelled:
        raise DataError(f"{path}: no row is labelled", "set `label` to right or wrong")
    return _measured(labelled, len(rows) - len(labelled))


def _fault(row: dict[str, Any]) -> str:
    if row.get("label") not in (*LABELS, None):
        return f"label: {row['label']!r:.40} is none of {', '.join(LABELS)}"
    if row.get("verdict") not in ("right", "wrong", "unknown"):
        return f"verdict: {row.get('verdict')!r:.40} is none"
    many = row.get("stands_for")
    if isinstance(many, bool) or not isinstance(many, int) or many < 1:
        return f"stands_for: {many!r:.40} is no count"
    return "" if isinstance(row.get("tier"), str) else "tier: missing"


def _measured(rows: list[dict[str, Any]], left_out: int) -> Audit:
    counts = Counter((row["verdict"], row["tier"]) for row in rows)
    weighed = [(row, row["stands_for"] / counts[row["verdict"], row["tier"]]) for row in rows]

    def share(of: str, value: str, among: str, wanted: str) -> Share:
        chosen = [(row[of] == value, weight) for row, weight in weighed if row[among] == wanted]
        return _share(chosen)

    return Audit(
        labelled=len(rows),
        left_out=left_out,
        right_precision=share("label", "right", "verdict", "right"),
        right_found=share("verdict", "right", "label", "right"),
        wrong_precision=share("label", "wrong", "verdict", "wrong"),
        wrong_found=share("verdict", "wrong", "label", "wrong"),
        unknown_of_all=_share((row["verdict"] == "unknown", w) for row, w in weighed),
    )


def _share(weighed: Iterable[tuple[bool, float]]) -> Share:
    found = list(weighed)
    total = sum(weight for _, weight in found)
    if not total:
        return Share(None, 0.0, 1.0, 0)
    p = sum(weight for hit, weight in found if hit) / total
    n = total**2 / sum(weight**2 for _, weight in found)
    middle, spread = p + _Z**2 / (2 * n), _Z * sqrt(p * (1 - p) / n + _Z**2 / (4 * n * n))
    scale = 1 + _Z**2 / n
    low, high = max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
    return Share(p, low, high, len(found))
