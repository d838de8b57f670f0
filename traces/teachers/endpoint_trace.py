"""From what became of one request to its trace."""

from __future__ import annotations

import msgspec

from traces.budget import Price, worst_usage
from traces.record import Fidelity, Trace
from traces.split import split
from traces.teachers.chat_reply import Reply
from traces.teachers.dispatch import Delivery
from traces.teachers.protocol import Request
from traces.teachers.retry import Failure

FIDELITIES: tuple[Fidelity, ...] = ("full", "summary", "hidden")


def make_trace(
    request: Request,
    delivery: Delivery,
    teacher: str,
    fidelity: Fidelity,
    price: Price | None,
    started_us: int,
    took_us: int,
) -> Trace:
    """The record of one request; `fidelity` is the best that its reasoning can have.

    `took_us` is by a clock that nobody sets.
    """
    result = delivery.result
    blank = Trace(
        key=request.key,
        prompt_id=request.prompt.id,
        sample=request.sample,
        attempt=request.attempt,
        status="cancelled",
        teacher=teacher,
        sampling=request.sampling,
        fidelity=fidelity,
        cost_micro_usd=_cost(request, delivery, price),
        flags=(("earlier_replies_lost",) if delivery.billable else ()) + delivery.flags,
        started_us=started_us,
        finished_us=started_us + took_us,
    )
    if result is None:
        return msgspec.structs.replace(blank, error="not sent")
    if isinstance(result, Failure):
        return msgspec.structs.replace(
            blank,
            status=result.status,
            content=result.raw,
            error=result.error,
            http_status=result.http_status,
        )
    return _answered(blank, result, offered=bool(request.prompt.tools))


def _answered(blank: Trace, reply: Reply, *, offered: bool) -> Trace:
    calls = reply.tool_calls if offered else ()
    finish = "length" if reply.status == "truncated" else reply.finish_reason
    made = split(reply.content, reply.raw_reasoning, finish)
    answerless = reply.status == "ok" and not (made.answer or "").strip() and not calls
    return msgspec.structs.replace(
        blank,
        status="empty" if answerless else reply.status,
        content=reply.content,
        raw_reasoning=reply.raw_reasoning,
        reasoning=made.reasoning,
        answer=made.answer,
        split=made.method,
        flags=blank.flags + reply.flags + made.flags,
        fidelity=max(blank.fidelity, reply.fidelity, key=FIDELITIES.index),
        finish_reason=reply.finish_reason,
        tool_calls=calls,
        token_ids=reply.token_ids,
        logprobs=reply.logprobs,
        usage=reply.usage,
        provider=reply.provider,
        returned_model=reply.returned_model,
        http_status=200,
        error=reply.error,
    )


def _cost(request: Request, delivery: Delivery, price: Price | None) -> int | None:
    """What the reply cost by its usage, and at worst what came before it; None without a price."""
    if price is None:
        return None
    result, lost = delivery.result, delivery.billable
    own = 0
    if isinstance(result, Reply):
        own = price.cost(result.usage)
    elif isinstance(result, Failure):
        lost += result.billable
    worst = worst_usage(request.messages, request.sampling, request.prompt.tools)
    return own + lost * price.cost(worst)
