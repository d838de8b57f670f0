"""Verdicts of reasoning-gym's own scorers, in a killable process."""

from __future__ import annotations

from traces.record import Reference
from traces.verify.check import NO_ANSWER, Check, printable, unknown
from traces.verify.extract import extract
from traces.verify.pool import Pool

VERIFIER = "gym:{}@1"


def check_gym(reference: Reference, answer: str, pool: Pool, *, lenient: bool = False) -> Check:
    """Judge the answer part of a reply by the scorer of the dataset that made the question.

    The scorer is asked for the marked answer (`Answer: ...`, boxed, in `<answer>` tags), and where
    nothing is marked for the whole text, because some problems are answered by many lines. A score
    of 1 is right, everything below is wrong; the score is the reason.
    """
    verifier = VERIFIER.format(reference.task)
    if not answer.strip():
        return unknown(NO_ANSWER)._replace(verifier=verifier)
    found = extract(answer, labels=False, lenient=lenient)
    texts = [answer.strip()] if found is None else [found.text, answer.strip()]
    check = unknown(NO_ANSWER)
    for text, rule in zip(texts, ([found.rule] if found else []) + ["whole"], strict=True):
        score = pool.score(reference.task, reference.instance["entry"], text)
        judged = score._replace(extracted=printable(text), rule=rule)
        if judged.outcome == "right" or check.outcome == "unknown":
            check = judged
        if judged.outcome == "right":
            break
    return check._replace(verifier=verifier)
