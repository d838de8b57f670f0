"""Verdicts for traces: one on the answer wherever there is a reference, one on the steps.

A verdict depends on the prompt and the trace alone: the same from any thread and under any load.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from traces.errors import DataError
from traces.record import Prompt, Reference, Trace, Verdict
from traces.verify import choice, code, gym, legal, math, rubric, text
from traces.verify.check import NO_ANSWER, Check, Pending, printable, unknown
from traces.verify.extract import Extraction, answer_part, before_answer, extract
from traces.verify.pool import Pool
from traces.verify.steps import check_steps, check_task
from traces.verify.words import check_words

T = TypeVar("T")
Later = Callable[[Pool], Check]
"""The dear part of a check, to be called from any thread."""


def score_text(
    reference: Reference, answer: str, *, lenient: bool, pool: Pool, question: str = ""
) -> Check:
    """Judge a completion. Thinking that is still in `answer` is left out.

    `lenient` takes the last number where there is no marked answer; `rule` of the result says so.
    Raises DataError where the reference names an unknown verifier or task.
    """
    check = begin_check(reference, answer, lenient=lenient, question=question)
    return check if isinstance(check, Check) else check(pool)


def verify_trace(prompt: Prompt, trace: Trace, *, steps: bool, pool: Pool) -> list[Verdict]:
    """The verdicts on one trace: none where its prompt has no reference."""
    answer, others = _begin(prompt, trace, steps)
    if answer is None:
        return []
    check = answer if isinstance(answer, Check) else answer(pool)
    return [_verdict(trace, check), *others]


def verify_all(
    pairs: Iterable[tuple[Prompt, Trace]],
    *,
    steps: bool,
    timeout_s: float,
    workers: int,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Verdict]:
    """Verdicts of many traces, in their order; formulas are compared by `workers` processes.

    When `stopping()` turns true no further trace is begun; those begun are finished and yielded.
    """

    def begun() -> Iterator[tuple[tuple[Trace, list[Verdict]], Check | Later]]:
        for prompt, trace in pairs:
            if stopping():
                return
            answer, others = _begin(prompt, trace, steps)
            if answer is not None:
                yield (trace, others), answer

    for (trace, others), check in finish(begun(), timeout_s=timeout_s, workers=workers):
        yield _verdict(trace, check)
        yield from others


def finish(
    begun: Iterable[tuple[T, Check | Later]], *, timeout_s: float, workers: int
) -> Iterator[tuple[T, Check]]:
    """What was begun with its check, in the same order; `workers` at a time are worked on."""
    with Pool(workers, timeout_s) as pool, ThreadPoolExecutor(workers) as threads:
        waiting: deque[tuple[T, Check | Future[Check]]] = deque()
        try:
            for about, check in begun:
                waiting.append(
                    (about, check if isinstance(check, Check) else threads.submit(check, pool))
                )
                while waiting and (len(waiting) > 8 * workers or _is_done(waiting[0][1])):
                    yield _finished(*waiting.popleft())
            while waiting:
                yield _finished(*waiting.popleft())
        finally:
            for _, unfinished in waiting:  # an interrupted run waits for those in flight only
                if isinstance(unfinished, Future):
                    unfinished.cancel()


def _is_done(check: Check | Future[Check]) -> bool:
    return isinstance(check, Check) or check.done()


def _finished(about: T, check: Check | Future[Check]) -> tuple[T, Check]:
    return about, check if isinstance(check, Check) else check.result()


def _begin(prompt: Prompt, trace: Trace, steps: bool) -> tuple[Check | Later | None, list[Verdict]]:
    """The check on the answer, or what to compare for it, and the other verdicts."""
    reference = prompt.reference
    if reference is None:
        return None, []
    if trace.status not in ("ok", "truncated"):
        return unknown(trace.status)._replace(verifier=f"{reference.kind}@1"), []
    question = prompt.messages[-1].content if prompt.messages else ""
    answer = begin_check(reference, trace.answer or "", question=question)
    others = []
    if steps and reference.kind == "task":
        worked = trace.reasoning
        if worked is None:  # the steps stand in the open, before the answer line
            worked = before_answer(trace.answer or "")
        if check := check_steps(reference, worked):
            others.append(_verdict(trace, check, steps=True))
    return answer, others


def begin_check(
    reference: Reference, answer: str, *, lenient: bool = False, question: str = ""
) -> Check | Later:
    """The check of a completion where it is cheap, otherwise what is left to do for it.

    Raises DataError where the reference names an unknown verifier or task.
    """
    answer = answer_part(answer)
    verifier = _VERIFIERS.get(reference.kind)
    if verifier is None:
        return _begin_other(reference, answer, lenient)
    found = extract(answer, labels=reference.kind == "choice", lenient=lenient)
    if reference.kind == "text" and found is None and "\n" not in answer.strip():
        found = Extraction(answer.strip(), "whole") if answer.strip() else None
    if found is None:
        return unknown(NO_ANSWER)._replace(verifier=verifier)
    if found.retracted:
        return _named(unknown("retracted"), found, verifier)
    check = _compared(reference, found, question)
    if isinstance(check, Check):
        return _named(check, found, verifier)
    return partial(_symbolic, check, found, verifier)


def _begin_other(reference: Reference, answer: str, lenient: bool) -> Check | Later:
    """`begin_check` of what is no final answer to compare."""
    if reference.kind == "task":
        return check_task(reference, answer, lenient=lenient)
    if reference.kind == "gym":
        return partial(gym.check_gym, reference, answer, lenient=lenient)
    if reference.kind == "code":
        return code.begin_code(reference.answer, answer)
    if reference.kind == "legal":
        return legal.check_legal(reference.answer, answer)
    if reference.kind == "rubric":
        return rubric.check_rubric(reference.answer)
    raise DataError(
        f"no verifier is named {reference.kind!r}",
        f"known: {', '.join([*_VERIFIERS, 'code', 'gym', 'legal', 'rubric', 'task'])}",
    )


def _compared(reference: Reference, found: Extraction, question: str) -> Check | Pending:
    """The answer found, compared with the reference."""
    gold, kind = reference.answer, reference.kind
    if kind == "choice":
        return choice.check_choice(gold, found.text, reference.choices)
    if kind == "text":
        return check_words(gold, found.text) or text.check_text(gold, found.text)
    given = math.from_sentence(found.text) if found.rule == "answer_line" else found.text
    return math.check_math(gold, given, question, need_unit=kind == "science")


def _symbolic(pending: Pending, found: Extraction, verifier: str, pool: Pool) -> Check:
    return _named(pool.compare(pending), found, verifier)


def _named(check: Check, found: Extraction, verifier: str) -> Check:
    said = printable(found.text)
    return Check(check.outcome, check.tier, check.reason, said, found.rule, verifier)


def _verdict(trace: Trace, check: Check, steps: bool = False) -> Verdict:
    return Verdict(
        key=trace.key,
        aspect="steps" if steps else "answer",
        verifier=check.verifier,
        outcome=check.outcome,
        tier=check.tier,
        reason=check.reason,
        extracted=check.extracted,
    )


_VERIFIERS = {
    "math": math.VERIFIER,
    "science": "science@4",
    "choice": choice.VERIFIER,
    "text": text.VERIFIER,
}
