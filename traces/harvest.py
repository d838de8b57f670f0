"""Ask a teacher every prompt, as many times as wanted, and put every reply into a store.

What the store already holds is not asked again, so an interrupted harvest goes on by calling the
same thing. In the end every trace that was wanted is accounted for: reused, made now, or not asked
because the harvest was told to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from traces.asking import Asking, answer
from traces.budget import Budget
from traces.errors import CountError
from traces.ledger import Ledger
from traces.plan import Plan, sample_seed, seen_by
from traces.record import Prompt, Sampling, TeacherRecord, Trace
from traces.store import TraceStore
from traces.teachers.protocol import Teacher
from traces.waves import Target

__all__ = ["HarvestCounts", "harvest", "planned_keys", "sample_seed", "seen_by"]


class HarvestCounts(msgspec.Struct, frozen=True):
    """What became of the `requested` traces: reused + asked + not_asked + spared.

    `by_status`, tokens and cost are of those asked now. `failed` of them have a status that a
    resumed harvest asks for again. `spared` were not needed; `stopped_by` names the cap that ended
    the harvest.
    """

    requested: int
    reused: int
    asked: int
    not_asked: int
    by_status: dict[str, int]
    failed: int
    prompt_tokens: int
    completion_tokens: int
    spared: int = 0
    cost_micro_usd: int = 0
    stopped_by: str = ""


def harvest(
    prompts: Sequence[Prompt],
    teacher: Teacher,
    store: TraceStore,
    *,
    samples: int,
    sampling: Sampling,
    seed: int,
    stopping: Callable[[], bool] = lambda: False,
    on_trace: Callable[[Trace], None] | None = None,
    budget: Budget | None = None,
    target: Target | None = None,
    plan: Plan | None = None,
) -> HarvestCounts:
    """Fill `store` with `samples` traces of each prompt.

    Args:
        prompts: One that occurs twice is asked once.
        teacher: Its `check` is the caller's business.
        store: Open for writing; what is counted here is on disk when this returns.
        samples: Traces per prompt.
        sampling: `seed` in it is replaced by one for each sample.
        seed: From which, with prompt and sample index, those seeds are made; not so for greedy
            decoding, which is the same whatever the seed.
        stopping: Once true, nothing new is asked; what is in flight is kept.
        on_trace: Called for each trace once it is on disk, from another thread; must be quick.
        budget: What may be spent; what the store holds already is counted first. Where a cap is
            reached, what is in flight is finished and nothing new is asked.
        target: Stop asking a prompt once it has so many right answers.
        plan: Of the same prompts, samples, sampling and seed, where it was made before.

    Raises:
        TeacherError: the teacher refuses; what came before is in the store.
        CountError: the teacher did not give exactly one trace for each request.
    """
    if keep_beside := getattr(teacher, "keep_beside", None):
        keep_beside(store.path)  # a teacher that has to remember what it was asked
    if plan is None:
        plan = Plan(prompts, teacher.record, samples, sampling, seed, store)
    if not plan.known:
        store.add_prompts(plan.distinct_prompts())
        plan.keep(store)
    store.add_teacher(teacher.record)
    if budget is not None:
        budget.count(store.spent())
    unfinished = store.unfinished()
    done = plan.attempts(store) >= 0
    done[plan.find(list(unfinished))] = False
    ledger = Ledger(plan, store, on_trace, budget)
    asking = Asking(plan, done, unfinished, ledger, budget)
    try:
        if target is None:
            asking.all()
            answer(teacher, asking, ledger.emit, stopping)
        else:
            with asking.waves(target, store) as waves:
                ledger.judge = lambda place, trace: waves.judge(
                    place, prompts[place // samples], trace
                )
                answer(teacher, asking, ledger.emit, stopping)
    finally:
        store.flush()
    ledger.settle(stopped=stopping())
    return _counts(plan, int(done.sum()), asking, ledger, stopped=stopping())


def _counts(
    plan: Plan, reused: int, asking: Asking, ledger: Ledger, *, stopped: bool
) -> HarvestCounts:
    asked, capped = ledger.asked, asking.reached
    rest = len(plan) - reused - asked
    spared = rest if asking.spares and not (stopped or capped) else 0
    if rest and not (stopped or capped or spared):
        raise CountError(f"{rest} of {rest + asked} requests were never asked")
    return HarvestCounts(
        requested=len(plan),
        reused=reused,
        asked=asked,
        not_asked=rest - spared,
        by_status=dict(sorted(ledger.by_status.items())),
        failed=ledger.failed,
        prompt_tokens=ledger.prompt_tokens,
        completion_tokens=ledger.completion_tokens,
        spared=spared,
        cost_micro_usd=ledger.cost_micro_usd,
        stopped_by=capped,
    )


def planned_keys(
    prompts: Sequence[Prompt],
    record: TeacherRecord,
    *,
    samples: int,
    sampling: Sampling,
    seed: int,
) -> list[str]:
    """The keys that `harvest` with the same arguments fills, in the order of asking."""
    return list(Plan(prompts, record, samples, sampling, seed).keys())
