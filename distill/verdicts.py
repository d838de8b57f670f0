"""The verdicts of a run, written as they come; held only where a judge looks at them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from distill.job import Job
from distill.judging import judged, latest, rung_of
from distill.pairs import Pairs
from traces.errors import Interrupted
from traces.record import Verdict
from traces.rows import write_structs


class Account(NamedTuple):
    """How many verdicts of each aspect and outcome hold, and in what isolation programs ran."""

    counts: Counter[str]
    rungs: set[str]


def write_verdicts(job: Job, pairs: Pairs, found: Iterable[Verdict]) -> Account:
    """Write what was `found` of `pairs`, and what the recipe's judge says to it.

    Raises:
        Interrupted: the user asked to stop; the old file is left as it was.
        DataError: the judge answered nothing at all.
    """
    verdicts = _advancing(job, found)
    path, account = job.path("verify/verdicts.jsonl"), Account(Counter(), set())
    if job.recipe.verify.judge is None:
        job.path("verify/judged.jsonl").unlink(missing_ok=True)
        write_structs(path, _counting(verdicts, account))  # each is the only one on its aspect
        return account
    every = judged(job, pairs, list(verdicts))
    write_structs(path, every)
    for _ in _counting(latest(every), account):
        pass
    account.rungs.update(rung for one in every if (rung := rung_of(one)))
    return account


def _advancing(job: Job, found: Iterable[Verdict]) -> Iterator[Verdict]:
    for verdict in found:
        yield verdict
        if verdict.aspect == "answer":
            job.say.advance(1)
    if job.stopping():
        raise Interrupted("verification stopped", "the same command does it again")


def _counting(verdicts: Iterable[Verdict], account: Account) -> Iterator[Verdict]:
    for verdict in verdicts:
        account.counts[f"{verdict.aspect}_{verdict.outcome}"] += 1
        if rung := rung_of(verdict):
            account.rungs.add(rung)
        yield verdict
