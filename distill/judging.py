"""The judge of a run: what it is asked, what that costs, and the verdicts that it adds.

Its requests are a harvest of their own into `verify/judge.sqlite`, which nothing empties: what was
paid for is never asked again, whatever else of the recipe changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

from distill.harvest_stage import price_of
from distill.job import Job
from distill.recipe_verify import Judge
from traces.budget import Budget, Caps
from traces.curate.reworded import Reworded
from traces.errors import DataError, Interrupted
from traces.harvest import HarvestCounts, harvest, planned_keys
from traces.record import FINAL_STATUSES, Prompt, Sampling, Trace, Verdict
from traces.rows import read_structs, write_structs
from traces.store import TraceStore
from traces.teachers.protocol import Teacher
from traces.verify.judge import (
    Case,
    Judgement,
    case_of,
    conflict_of,
    judgement,
    opinion,
    requests,
    verdict_of,
)
from traces.verify.pool import Pool
from traces.verify.rubric import Criterion, rate, read_rubric, rubric_request

STORE = "verify/judge.sqlite"
Pairs = Iterable[tuple[Prompt, Trace]]
AT_A_TIME = 64
"""So many pairs are held for each worker that looks at them."""


class _Asked(NamedTuple):
    """A case with its requests; `criteria` are those of a rubric."""

    case: Case
    prompts: tuple[Prompt, ...]
    criteria: list[Criterion]


def judged(job: Job, pairs: Pairs, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """`verdicts`, then those of the recipe's judge, which hold; all it said is in `judged.jsonl`.

    Raises:
        Interrupted: the user asked to stop; what came is kept.
        DataError: the judge answered nothing at all.
    """
    section, teacher = job.recipe.verify.judge, job.proved.judge
    assert section is not None, "no judge to ask"
    assert teacher is not None, "no judge to ask"
    asked = [_asked(case) for case in _cases(job, pairs, verdicts)]
    replies, keys = ask(job, section, teacher, [p for each in asked for p in each.prompts])
    found = [_judge(each, replies, keys, section.rubric_threshold) for each in asked]
    write_structs(job.path("verify/judged.jsonl"), found)
    counts = Counter(f"{j.why}, now {j.outcome if j.applied else 'as before'}" for j in found)
    said = ", ".join(f"{n} {what}" for what, n in sorted(counts.items())) or "nothing to judge"
    job.say.note(f"the judge {teacher.record.model}: {said}")
    model = teacher.record.model
    added = [
        verdict_of(each.case, one, model)
        for each, one in zip(asked, found, strict=True)
        if one.applied
    ]
    return [*verdicts, *added]


def failed_opinions(job: Job) -> int:
    """Requests of the last judgements that failed; those that money ended are not among them.

    What an earlier judge was asked, or about questions that are gone, is of no use to this recipe.
    """
    wanted, path = _requested(job), job.path(STORE)
    if not wanted or not path.exists():
        return 0
    with TraceStore.open(path, readonly=True) as store:
        return sum(t.key in wanted and t.status not in FINAL_STATUSES for t in store.traces())


def _requested(job: Job) -> set[str]:
    """Keys in the judge's store of what the results of this recipe name."""
    if job.recipe.verify.judge is None:
        return set()
    overlap = job.recipe.curate.overlap
    kinds: dict[str, type[Judgement] | type[Reworded]] = {"verify/judged.jsonl": Judgement}
    if overlap is not None and overlap.semantic is not None:
        kinds["annotate/reworded.jsonl"] = Reworded
    wanted: set[str] = set()
    for name, kind in kinds.items():
        if job.path(name).exists():
            wanted.update(*(one.requests for one in read_structs(job.path(name), kind)))
    return wanted


def latest(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts that hold: the last one on each aspect of each trace."""
    return list({(verdict.key, verdict.aspect): verdict for verdict in verdicts}.values())


def rung_of(verdict: Verdict) -> str:
    """The rung of isolation that a program ran in; `none` where it was not run for want of any."""
    rung = verdict.verifier.partition("/")[2] if verdict.verifier.startswith("code@") else ""
    return rung or ("none" if verdict.reason.startswith("no isolation") else "")


def _cases(job: Job, pairs: Pairs, verdicts: Sequence[Verdict]) -> list[Case]:
    """What there is to judge, in the order of the traces."""
    answers = {verdict.key: verdict for verdict in verdicts if verdict.aspect == "answer"}
    section = job.recipe.verify
    with Pool(section.workers, section.timeout_s) as pool:

        def look(pair: tuple[Prompt, Trace]) -> Case | None:
            verdict = answers.get(pair[1].key)
            if verdict is None or job.stopping():
                return None
            return case_of(*pair, verdict) or conflict_of(*pair, verdict, pool)

        with ThreadPoolExecutor(section.workers) as threads:
            found: list[Case] = []
            rest = iter(pairs)
            while page := list(islice(rest, AT_A_TIME * section.workers)):
                found += [case for case in threads.map(look, page) if case is not None]
            return found


def _asked(case: Case) -> _Asked:
    if case.why != "rubric":
        return _Asked(case, requests(case), [])
    assert case.prompt.reference is not None
    criteria = read_rubric(case.prompt.reference.answer)
    assert not isinstance(criteria, str)  # proved before the run
    return _Asked(case, (rubric_request(case, criteria),), criteria)


def ask(
    job: Job, section: Judge, teacher: Teacher, prompts: list[Prompt]
) -> tuple[dict[str, Trace], dict[str, str]]:
    """The judge's replies by prompt, as far as the money goes, and the key of each request.

    Raises:
        Interrupted: the user asked to stop; what came is kept.
        DataError: the judge answered nothing at all.
    """
    wanted: dict[str, Any] = {
        "samples": 1,
        "sampling": Sampling(max_tokens=section.max_tokens),
        "seed": job.recipe.seed,
    }
    prompts = list({prompt.id: prompt for prompt in prompts}.values())
    planned = planned_keys(prompts, teacher.record, **wanted)
    keys = dict(zip((prompt.id for prompt in prompts), planned, strict=True))
    budget = None
    if section.max_usd is not None:
        budget = Budget(Caps(usd=section.max_usd), price_of(section.teacher))
    path = job.path(STORE)
    path.parent.mkdir(exist_ok=True)
    job.say.start("opinions", len(prompts))
    with TraceStore.open(path, stopping=job.stopping) as store:
        counts = harvest(
            prompts,
            teacher,
            store,
            stopping=job.stopping,
            on_trace=lambda trace: job.say.advance(1),
            budget=budget,
            **wanted,
        )
        known = set(keys.values())
        replies = {trace.prompt_id: trace for trace in store.traces() if trace.key in known}
    _account(job, counts)
    return replies, keys


def _account(job: Job, counts: HarvestCounts) -> None:
    """Say what was asked and spent, and what was not.

    Raises:
        Interrupted: the user asked to stop.
        DataError: every request failed.
    """
    if job.stopping():
        raise Interrupted("judging stopped; the opinions so far are saved", "run it again")
    if counts.requested and counts.failed == counts.requested:
        raise DataError(
            f"the judge answered not one of {counts.requested} requests: {counts.by_status}",
            "look at the server, or leave verify.judge out",
        )
    spent = f", {counts.cost_micro_usd / 1e6:.2f} dollars" if counts.cost_micro_usd else ""
    job.say.note(
        f"{counts.asked} opinions asked{spent}, {counts.reused} known, {counts.failed} failed"
    )
    if counts.stopped_by:
        job.say.note(
            f"verify.judge.max_usd ended it ({counts.stopped_by}): {counts.not_asked} opinions "
            "were not asked, their verdicts stay as they are"
        )


def _judge(
    asked: _Asked, replies: dict[str, Trace], keys: dict[str, str], threshold: float
) -> Judgement:
    found = [replies.get(prompt.id) for prompt in asked.prompts]
    names = tuple(keys[prompt.id] for prompt in asked.prompts)
    if asked.case.why == "rubric":
        return rate(asked.case, asked.criteria, found[0], threshold=threshold, key=names[0])
    return judgement(asked.case, (opinion(found[0]), opinion(found[1])), names)
