"""How many traces each rule took: computed from the decisions, and it must add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

import msgspec

from traces.curate.decide import RULES
from traces.digests import DigestSet
from traces.errors import CountError
from traces.record import Decision


class Funnel(msgspec.Struct, frozen=True):
    """`dropped` holds rule and count in the order of the rules, those that took none left out."""

    harvested: int
    dropped: tuple[tuple[str, int], ...]
    kept: int


def count_funnel(decisions: Iterable[Decision]) -> Funnel:
    """The funnel of these decisions; `harvested` is how many there are."""
    counts: Counter[str] = Counter()
    kept = 0
    for decision in decisions:
        if decision.kept:
            kept += 1
        else:
            counts[decision.rule] += 1
    known = [rule for rule in RULES if rule in counts]
    other = sorted(set(counts) - set(RULES))
    dropped = tuple((rule, counts[rule]) for rule in known + other)
    return Funnel(kept + counts.total(), dropped, kept)


def check_funnel(funnel: Funnel, decisions: Collection[Decision], keys: Collection[str]) -> None:
    """Return where every stored trace has exactly one decision and the funnel counts them all.

    `keys` are those of the store, one per trace.

    Raises:
        CountError: a key twice, a trace without a decision, a decision without a trace, or
            `harvested` is not `kept` plus all that were dropped.
    """
    decided = DigestSet(decision.key for decision in decisions)
    stored = DigestSet(keys)
    if len(stored) != len(keys):
        raise _twice("traces", keys)
    if len(decided) != len(decisions):
        raise _twice("decisions", (decision.key for decision in decisions))
    common = stored.common(decided)
    missing, extra = len(stored) - common, len(decided) - common
    if missing or extra:
        raise CountError(
            f"{len(stored)} traces and {len(decided)} decisions: {missing} traces without a "
            f"decision, {extra} decisions without a trace"
        )
    if funnel.harvested != len(stored):
        raise CountError(f"the funnel counts {funnel.harvested} of {len(stored)} traces")
    total = funnel.kept + sum(count for _, count in funnel.dropped)
    if funnel.harvested != total:
        raise CountError(f"the funnel has {funnel.harvested} traces but accounts for {total}")
    if funnel != count_funnel(decisions):
        raise CountError("the funnel is not that of the decisions")


def _twice(name: str, keys: Iterable[str]) -> CountError:
    key, count = Counter(keys).most_common(1)[0]
    return CountError(f"{name}: key {key} occurs {count} times")
