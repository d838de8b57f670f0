"""Before a run: every reference must pass its own verifier."""

from __future__ import annotations

import json
from collections.abc import Iterable

from traces.errors import DataError, UserError
from traces.record import Prompt, Reference
from traces.verify.check import Pending
from traces.verify.choice import labels_of
from traces.verify.code import read_tests
from traces.verify.guard import refuse
from traces.verify.legal import check_legal
from traces.verify.markup import clean
from traces.verify.math import gold_text
from traces.verify.numeric import parse_number
from traces.verify.pool import Pool
from traces.verify.quantity import read_quantity
from traces.verify.rubric import read_rubric
from traces.verify.steps import check_task
from traces.verify.text import canonical

KINDS = ("math", "science", "choice", "text", "code", "legal", "rubric", "task", "gym")


def check_gold(prompts: Iterable[Prompt], *, need_reference: bool = False) -> None:
    """Return where every reference is judged right by its own verifier.

    A formula must also parse: one that does not would match nothing but itself, character by
    character. `need_reference` makes a prompt without one a fault too.

    Raises:
        DataError: some do not; names the first three with their source, and how many there are.
    """
    faults: list[str] = []
    with Pool(workers=1) as pool:
        for prompt in prompts:
            where = prompt.source or f"prompt {prompt.id}"
            if prompt.reference is None:
                if need_reference:
                    faults.append(f"{where}: no reference answer")
            elif fault := _fault(prompt.reference, pool):
                faults.append(f"{where}: {fault}")
    if faults:
        more = f"\nand {len(faults) - 3} more" if len(faults) > 3 else ""
        count = f"{len(faults)} prompt{'s' if len(faults) > 1 else ''} cannot be verified:\n"
        raise DataError(
            count + "\n".join(faults[:3]) + more,
            "correct the answers, or set `verifier: none` for prompts without a checkable one",
        )


def refuse_rubrics(prompts: Iterable[Prompt], what: str, hint: str) -> None:
    """Return where no prompt has a rubric.

    Raises:
        DataError: some do, and nothing can apply them here.
    """
    found = [p for p in prompts if p.reference is not None and p.reference.kind == "rubric"]
    if found:
        where = found[0].source or f"prompt {found[0].id}"
        raise DataError(f"{len(found)} {what} have a rubric and no judge, such as {where}", hint)


def _fault(reference: Reference, pool: Pool) -> str | None:
    """Why the reference does not pass, or None where it does."""
    answer = reference.answer
    shown = f"reference {answer[:60]!r}"
    if reference.kind not in KINDS:
        return f"no verifier is named {reference.kind!r}; known: {', '.join(KINDS)}"
    if reference.kind == "task":
        return _task_fault(reference)
    if reference.kind == "gym":
        return _gym_fault(reference, shown, pool)
    if not answer.strip():
        return "the reference answer is empty"
    if reference.kind == "text":
        return None if canonical(answer) else f"{shown} has no letter or digit"
    if reference.kind == "choice":
        return _choice_fault(reference, shown)
    if reference.kind == "code":
        tests = read_tests(answer)
        return tests if isinstance(tests, str) else None
    if reference.kind == "legal":
        return _legal_fault(answer, shown)
    if reference.kind == "rubric":
        criteria = read_rubric(answer)
        return criteria if isinstance(criteria, str) else None
    gold = clean(gold_text(answer))
    if reference.kind == "science" and read_quantity(gold) is not None:
        return None
    return _math_fault(gold, shown, pool)


def _legal_fault(answer: str, shown: str) -> str | None:
    """What is wrong with the lists of authorities: an answer that cites what it must is right."""
    check = check_legal(answer, "none")
    if check.outcome == "unknown":
        return check.reason
    must = json.loads(answer).get("must_cite", [])
    check = check_legal(answer, "; ".join(must) or "none")
    return None if check.outcome == "right" else f"{shown}: {check.reason}"


def _task_fault(reference: Reference) -> str | None:
    ways = (reference.answer, f"Answer: {reference.answer}", f"\\boxed{{{reference.answer}}}")
    try:
        if any(check_task(reference, text).outcome == "right" for text in ways):
            return None
    except UserError as error:
        return error.message
    return f"task {reference.task!r} does not accept its own answer {reference.answer[:60]!r}"


def _gym_fault(reference: Reference, shown: str, pool: Pool) -> str | None:
    if not reference.answer:  # some datasets have a scorer and no reference answer
        return None
    check = pool.score(reference.task, reference.instance["entry"], reference.answer)
    if check.outcome == "right":
        return None
    return f"{shown} does not satisfy the scorer of {reference.task} ({check.reason})"


def _choice_fault(reference: Reference, shown: str) -> str | None:
    labels = labels_of(reference.answer, reference.choices)
    if not labels:
        return f"{shown} is no label and no choice"
    known = {label.upper() for label in reference.choices}
    if known and not labels <= known:
        return f"{shown} is not among the choices {', '.join(sorted(known))}"
    return None


def _math_fault(gold: str, shown: str, pool: Pool) -> str | None:
    if parse_number(gold) is not None or gold.replace(" ", "").isalpha():
        return None
    if reason := refuse(gold):
        return f"{shown} is refused: {reason}"
    check = pool.compare(Pending(gold, gold))
    return None if check.outcome == "right" else f"{shown}: {check.reason or 'differs from itself'}"
