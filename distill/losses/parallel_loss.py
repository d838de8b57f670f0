"""The loss of a vocabulary that is split over ranks (tensor parallelism of the lm_head)."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from distill.losses import chunked
from distill.losses.batch import Head, Rows, flatten
from distill.losses.checks import check_shapes, check_teacher
from distill.losses.kernels import choose_sharded
from distill.losses.options import Divergence, Impl, LossOptions
from distill.losses.parallel import VocabShard
from distill.losses.teachers import SparseTeacher


def vocab_parallel_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor | None,
    shard: VocabShard,
    *,
    ce: float = 1.0,
    kd: Divergence | None = None,
    teacher: SparseTeacher | None = None,
    token_weights: Tensor | None = None,
    bias: Tensor | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    scale: float = 1.0,
    impl: Impl = "auto",
    chunk: int | None = None,
) -> Tensor:
    """`fused_linear_loss` where each rank of `shard.group` holds some rows of the lm_head.

    `weight` `[V', H]` and `bias` `[V']` are this rank's; all else is as there and the same on every
    rank. The ranks exchange k + 4 numbers per row and chunk at most, and add up the gradient of
    `hidden` once: it leaves whole, in its own dtype, and `weight`'s is this rank's. The loss has
    the same bits on every rank. Call it on all ranks or none; where one rank raises, the others
    wait until the group's timeout. torch.compile runs it outside its graph.

    Raises:
        ValueError: shapes that do not fit, an option or a target out of range.
        DistillError: a NaN or an infinity among the inputs that count, or an `impl` that needs
            whole rows.
    """
    options = LossOptions(ce, label_smoothing, z_loss, softcap, scale, kd)
    student = Head(weight, bias)
    check_shapes(hidden, student, targets, token_weights)
    if not 0 <= shard.start <= shard.size - len(weight):
        raise ValueError(
            f"the shard starts at {shard.start} and holds {len(weight)} rows of a vocabulary of "
            f"{shard.size}: it does not fit in"
        )
    if ce and targets is None:
        raise ValueError(f"ce is {ce!r} and targets is None: give targets, or ce=0")
    if (kd is None) != (teacher is None):
        raise ValueError("kd and teacher go together: one of them is missing")
    if kd is not None and teacher is not None:
        check_teacher(hidden, student, teacher, kd)
    rows, head = flatten(hidden, student, targets, token_weights, teacher, ce=ce)
    loss: Tensor = _Loss.apply(  # type: ignore[no-untyped-call]
        rows.hidden, head.weight, head.bias, rows, options, shard, impl, chunk
    )
    return loss


class _Loss(torch.autograd.Function):
    """`chunked.run` on a shard; the gradients are computed in the forward pass."""

    @staticmethod
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rows: Rows,
        options: LossOptions,
        shard: VocabShard,
        impl: str,
        chunk: int | None,
    ) -> Tensor:
        kernel = choose_sharded(impl, weight.device.type, weight.dtype, shard)
        widest = -(-shard.size // dist.get_world_size(shard.group))
        sums = chunked.run(
            rows._replace(hidden=hidden),
            Head(weight, bias),
            None,
            options,
            chunked.Wanted(*ctx.needs_input_grad[:3]),
            kernel,
            chunk or chunked.default_chunk(widest, kernel.budget),  # the same on every rank
            vocab_size=shard.size,
        )
        if sums.hidden is not None:
            dist.all_reduce(sums.hidden, group=shard.group)
        ctx.save_for_backward(sums.hidden, sums.weight, sums.bias)
        return sums.loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        scaled: list[Tensor | None] = [None] * 8
        for place, part in enumerate(ctx.saved_tensors):
            if part is not None:
                scaled[place] = torch.mul(part, upstream.reshape(1), out=torch.empty_like(part))
        return tuple(scaled)
