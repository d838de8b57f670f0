"""The fused loss as one operator: one node for torch.compile, one for autograd.

The gradients leave the operator beside the loss, computed in the forward pass; the backward pass
only scales them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from distill.losses import chunked
from distill.losses.batch import Head, Rows
from distill.losses.kernels import choose
from distill.losses.options import LossOptions

_WANTED = -4  # the place of `wanted` among the operator's arguments


@torch.library.custom_op("trace_distill::linear_loss", mutates_args=())
def _linear_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    low: Tensor | None,
    low_weight: Tensor | None,
    row_weights: Tensor,
    targets: Tensor | None,
    ids: Tensor | None,
    logprobs: Tensor | None,
    log_tail: Tensor | None,
    teacher_hidden: Tensor | None,
    teacher_weight: Tensor | None,
    teacher_bias: Tensor | None,
    kind: str,
    numbers: Sequence[float],
    wanted: Sequence[bool],
    impl: str,
    chunk: int,
    compact_below: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    rows = Rows(hidden, row_weights, targets, ids, logprobs, log_tail, teacher_hidden, low)
    teacher = None if teacher_weight is None else Head(teacher_weight, teacher_bias)
    sums = chunked.run(
        rows,
        Head(weight, bias, low_weight),
        teacher,
        LossOptions.decode(kind, numbers),
        chunked.Wanted(*wanted),
        choose(impl, weight.device.type, weight.dtype),
        chunk or None,
        compact_below,
    )
    none = hidden.new_empty(0)
    gradients = (none.clone() if part is None else part for part in sums[1:-1])
    return (sums.loss, sums.stats, *gradients)  # type: ignore[return-value]


@_linear_loss.register_fake
def _shapes(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    low: Tensor | None,
    low_weight: Tensor | None,
    row_weights: Tensor,
    *rest: Any,
) -> tuple[Tensor, ...]:
    like = (hidden, weight, bias, low, low_weight)
    gradients = (
        torch.empty_like(part) if want and part is not None else hidden.new_empty(0)
        for part, want in zip(like, rest[_WANTED], strict=True)
    )
    return (row_weights.new_empty(()), row_weights.new_empty(6), *gradients)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[2:])
    ctx.wanted = inputs[_WANTED]


def _scale(ctx: Any, upstream: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    scaled: list[Tensor | None] = [None] * 19
    for place, (part, want) in enumerate(zip(ctx.saved_tensors, ctx.wanted, strict=True)):
        if want and upstream is not None:
            # One axis, not none: a scalar would be rounded to the gradient's dtype first.
            scaled[place] = torch.mul(part, upstream.reshape(1), out=torch.empty_like(part))
    return tuple(scaled)


_linear_loss.register_autograd(_scale, setup_context=_remember)


def linear_loss(
    rows: Rows,
    head: Head,
    teacher: Head | None,
    options: LossOptions,
    impl: str,
    chunk: int | None = None,
    compact_below: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """The weighted sum of the rows' losses, a scalar, and `Stats` [6] with no gradient.

    `impl` as in `kernels.choose`, `chunk` and `compact_below` as in `chunked.run`. Equals
    `reference.linear_loss`; differentiable once.
    """
    taught = (None, None) if teacher is None else teacher[:2]
    tensors = (rows.hidden, head.weight, head.bias, rows.low, head.low_weight)
    on = torch.is_grad_enabled()
    wanted = [on and part is not None and part.requires_grad for part in tensors]
    kind, numbers = options.encode()
    rest = (*rows[1:-1], *taught, kind, numbers, wanted, impl, chunk or 0, compact_below)
    loss, stats, *_ = _linear_loss(*tensors, *rest)
    return loss, stats.detach()
