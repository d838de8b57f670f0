"""From the traces of a model on held-out problems to judged completions."""

from __future__ import annotations

from distill.artifacts import Completion
from traces.errors import DataError
from traces.record import Prompt, Trace
from traces.verify.extract import before_answer
from traces.verify.pool import Pool
from traces.verify.run import score_text
from traces.verify.steps import check_steps


def judge(prompt: Prompt, trace: Trace, name: str, pool: Pool) -> Completion:
    """One completion of the model `name`, read strictly and leniently.

    The strict reading sees the answer alone; the lenient one sees the whole text where the
    thinking never closed. A request that failed counts as an answer that is not right.

    Raises:
        DataError: the problem has no reference.
    """
    reference = prompt.reference
    if reference is None:
        raise DataError(f"{prompt.source}: an evaluation problem needs a reference answer")
    question = prompt.messages[-1].content
    closed = trace.answer is not None
    whole = trace.answer if trace.answer is not None else trace.reasoning or trace.content
    strict = score_text(reference, trace.answer or "", lenient=False, pool=pool, question=question)
    lenient = score_text(reference, whole, lenient=True, pool=pool, question=question)
    steps = None
    worked = trace.reasoning if trace.reasoning is not None else before_answer(trace.answer or "")
    if reference.kind == "task" and (check := check_steps(reference, worked)):
        steps = check.outcome
    return Completion(
        model=name,
        prompt_id=prompt.id,
        sample=trace.sample,
        text=full_text(trace),
        tokens=trace.usage.completion,
        finish_reason=trace.finish_reason or trace.status,
        closed=closed,
        strict=strict.outcome,
        lenient=lenient.outcome,
        steps=steps,
        extracted_strict=strict.extracted,
        extracted_lenient=lenient.extracted,
    )


def full_text(trace: Trace) -> str:
    """Reasoning and answer as one text, for a person to read."""
    if trace.raw_reasoning is None:
        return trace.content
    return f"<think>\n{trace.raw_reasoning}\n</think>\n\n{trace.content}"
