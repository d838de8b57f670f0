"""The one function to call, and the choice of its implementation."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from distill.losses import op, reference
from distill.losses.batch import Head, cast, flatten
from distill.losses.checks import check_call, check_low_rank, check_shapes, check_teacher
from distill.losses.low_rank import LowRank
from distill.losses.options import Divergence, Impl, LossOptions, Reduction
from distill.losses.sharded import whole
from distill.losses.stats import LossStats
from distill.losses.teachers import DenseTeacher, SparseTeacher


def fused_linear_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor | None,
    *,
    ce: float = 1.0,
    kd: Divergence | None = None,
    teacher: SparseTeacher | DenseTeacher | None = None,
    token_weights: Tensor | None = None,
    bias: Tensor | None = None,
    low_rank: LowRank | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    scale: float = 1.0,
    impl: Impl = "auto",
    chunk: int | None = None,
    compact_below: float = 0.0,
    stats: LossStats | None = None,
    reduction: Reduction = "sum",
) -> Tensor:
    """The loss of the next-token distribution of `hidden`, a scalar in fp32.

    Nothing is shifted here: `hidden[..., t, :]` must already be the state that predicts
    `targets[..., t]`, that is `hidden[:, :-1]` against `labels[:, 1:]`. Equal, up to rounding, to

        logits = torch.nn.functional.linear(hidden, weight, bias).float() * scale
        logits = softcap * torch.tanh(logits / softcap)          # where softcap is given
        rows = F.cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)
        rows = ce * (rows + z_loss * logits.logsumexp(-1) ** 2)
        p = torch.log_softmax(logits / kd.temperature, -1)
        q = torch.log_softmax(teacher_logits / kd.temperature, -1)
        rows = rows + kd.weight * kd.temperature**2 * (q.exp() * (q - p)).sum(-1)  # forward_kl
        loss = (rows * token_weights).sum()                      # rows without a target count 0

    The student is p, the teacher q. Of a teacher stored as its top k, p and q are the shares of
    k + 1 buckets, the tokens stored and one for all others.

    Args:
        hidden: `[N, H]` or `[B, T, H]`, the last hidden states after the final norm.
        weight: `[V, H]`, the lm_head. If it does not require a gradient, none is computed. A
            `DTensor` (FSDP2) is gathered once, and its gradient is the mean over the ranks.
        targets: integers `[N]` or `[B, T]`; -100 leaves a row out.
        ce: factor of the cross-entropy, smoothing and z-loss included; `targets` may be None at 0,
            and where they are given those at -100 leave their row out all the same.
        kd: the divergence from `teacher`, see `Divergence`; both in the same pass as `ce`.
        teacher: `SparseTeacher` (stored top k, at the temperature of `kd`) or `DenseTeacher` (its
            hidden states and lm_head).
        token_weights: `[N]` or `[B, T]`, 1 if not given. Rows of weight 0 are dropped before
            any work, so they may hold anything, NaN too. Fold `1 / num_items_in_batch` in here
            and gradient accumulation is exact.
        bias: `[V]`, added to the raw logits.
        low_rank: an adapter on the head. Its gradients cost two thin GEMMs, and with a frozen
            `weight` there is no `[V, H]` gradient at all.
        label_smoothing: share of the target spread evenly over the vocabulary.
        z_loss: factor of the squared log of the partition function.
        softcap: logits are squashed into (-softcap, softcap).
        scale: factor of the raw logits, before the softcap.
        impl: `auto` picks and logs; `reference` is plain torch on the full logits; `chunked` and
            the kernels `triton` and `cuda` never hold more than `chunk` rows of them. The result
            is the same.
        chunk: rows at a time; as many as make a tile of 128 MiB (kernels: 2 GiB) if not given.
        compact_below: 0, or a threshold for an approximate gradient, 2**-12 being usual: only the
            columns of the logits' gradient with an entry of at least that share of the chunk's
            largest take part in the GEMMs for dX and dW, the others through a rank-1 term (see
            `compaction`). The loss stays exact, and so do chunks that keep more than half. Not for
            a `DenseTeacher` nor for `reference`.
        stats: adds up what the loss is made of, and what compaction left out.
        reduction: `sum`, or `mean` for the sum divided by that of the token weights.

    Returns:
        A scalar in fp32 (fp64 for fp64 input): 0, with zero gradients, if no row counts. Gradients
        flow to `hidden`, `weight` and `bias`; `token_weights` is a constant. Differentiable once.

    Raises:
        ValueError: shapes that do not fit, an option or a target out of range.
        DistillError: a NaN or an infinity among the inputs that count; says where.
    """
    check_call(impl, reduction, chunk, compact_below, dense=isinstance(teacher, DenseTeacher))
    options = LossOptions(ce, label_smoothing, z_loss, softcap, scale, kd)
    student = Head(whole(weight), whole(bias))
    check_shapes(hidden, student, targets, token_weights)
    low = None
    if low_rank is not None:
        low_rank = low_rank._replace(a=whole(low_rank.a), b=whole(low_rank.b))
        check_low_rank(low_rank, hidden, student)
        student, low = student._replace(low_weight=low_rank.b), low_rank.inner(hidden)
    if ce and targets is None:
        raise ValueError(f"ce is {ce!r} and targets is None: give targets, or ce=0")
    if (kd is None) != (teacher is None):
        raise ValueError("kd and teacher go together: one of them is missing")
    teacher_head = None
    if kd is not None and teacher is not None:
        check_teacher(hidden, student, teacher, kd)
        if isinstance(teacher, DenseTeacher):
            options = replace(options, teacher_softcap=teacher.softcap, teacher_scale=teacher.scale)
            teacher_head = cast(Head(teacher.weight, teacher.bias), hidden.device.type)
    rows, head = flatten(hidden, student, targets, token_weights, teacher, ce=ce, low=low)
    if impl == "reference":
        parts = torch.stack(reference.linear_parts(rows, head, teacher_head, options))
        total, sums = parts.sum(), torch.cat([parts.detach(), parts.new_zeros(4)])
    else:
        total, sums = op.linear_loss(rows, head, teacher_head, options, impl, chunk, compact_below)
    if stats is not None:
        stats.add(sums.detach())
    if reduction == "sum":
        return total
    count = rows.weights.sum()
    return total / count.where(count != 0, 1.0)
