"""The meaning of the losses: plain torch on the full logits, differentiated by autograd.

It holds several `[n, V]` tensors in fp32 (fp64 for fp64 input) and is not meant to be fast. The
divergences are written here from their definitions, apart from the derivatives in `divergence`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.losses.batch import Head, Rows, accumulation_dtype, keep
from distill.losses.checks import check_values
from distill.losses.options import TAIL_FLOOR, Divergence, LossOptions

_NOTHING = -1e4  # a log share whose exp is 0 and whose product with 0 is not NaN


def linear_loss(rows: Rows, head: Head, teacher: Head | None, options: LossOptions) -> Tensor:
    """The weighted sum of the rows' losses, a scalar."""
    return torch.stack(linear_parts(rows, head, teacher, options)).sum()


def linear_parts(
    rows: Rows, head: Head, teacher: Head | None, options: LossOptions
) -> tuple[Tensor, Tensor]:
    """The weighted sums of the rows' cross-entropies and divergences, two scalars."""
    rows, index = keep(rows)
    check_values(rows, head, index)
    u = logits(rows.hidden, head, options.softcap, options.scale, rows.low)
    ce = kd = rows.weights.new_zeros(())
    if options.ce:
        assert rows.targets is not None
        ce = torch.sum(rows.weights * cross_entropy(u, rows.targets, options))
    if options.kd is not None:
        if teacher is None:
            log_q, log_s = buckets(u, rows, options.kd)
        else:
            assert rows.teacher is not None
            temperature = options.kd.temperature
            v = logits(rows.teacher, teacher, options.teacher_softcap, options.teacher_scale)
            log_q = torch.log_softmax(v.detach() / temperature, 1)
            log_s = torch.log_softmax(u / temperature, 1)
        size = options.kd.weight * options.kd.temperature**2
        kd = size * torch.sum(rows.weights * between(options.kd, log_q, log_s))
    return ce, kd


def logits(
    hidden: Tensor, head: Head, softcap: float | None, scale: float, low: Tensor | None = None
) -> Tensor:
    """`u` [n, V]: scaled and capped logits in fp32, or fp64 for fp64 input."""
    exact = accumulation_dtype(hidden.dtype)
    bias = None if head.bias is None else head.bias.to(exact)
    with torch.autocast(hidden.device.type, enabled=False):
        raw = F.linear(hidden.to(exact), head.weight.to(exact), bias)
        if low is not None and head.low_weight is not None:
            raw = raw + F.linear(low.to(exact), head.low_weight.to(exact))
        raw = scale * raw
    return raw if softcap is None else softcap * torch.tanh(raw / softcap)


def cross_entropy(u: Tensor, targets: Tensor, options: LossOptions) -> Tensor:
    """Loss [n] of capped logits [n, V] against targets [n], smoothing and z-loss included."""
    plain = F.cross_entropy(u, targets, reduction="none", label_smoothing=options.label_smoothing)
    return options.ce * (plain + options.z_loss * torch.logsumexp(u, 1).square())


def buckets(u: Tensor, rows: Rows, kd: Divergence) -> tuple[Tensor, Tensor]:
    """Log shares [n, k + 1] of teacher and student: the ids, then the tail of all other columns.

    Padding becomes an empty bucket on both sides, a row of padding the teacher's tail alone.
    """
    assert rows.ids is not None
    assert rows.logprobs is not None
    assert rows.log_tail is not None
    log_p = torch.log_softmax(u / kd.temperature, 1)
    padding = rows.ids < 0
    ids = rows.ids.clamp_min(0)
    chosen = torch.zeros_like(u, dtype=torch.bool)
    chosen = chosen.scatter_add(1, ids, ~padding) > 0
    tail = torch.logsumexp(log_p.masked_fill(chosen, _NOTHING), 1)
    inside = log_p.gather(1, ids).masked_fill(padding, _NOTHING)
    log_tail = rows.log_tail
    if kd.kind == "reverse_kl":
        log_tail = log_tail.clamp_min(math.log(TAIL_FLOOR))
    log_tail = log_tail.masked_fill(padding.all(1), 0.0)
    known = rows.logprobs.masked_fill(padding, _NOTHING)
    log_q = torch.cat([known, log_tail[:, None]], 1).clamp_min(_NOTHING)
    return log_q, torch.cat([inside, tail[:, None]], 1)


def between(kd: Divergence, log_q: Tensor, log_s: Tensor) -> Tensor:
    """The divergence `kd` of teacher and student log shares over the last axis."""
    if kd.kind == "forward_kl":
        return kl(log_q, log_s)
    if kd.kind == "reverse_kl":
        return kl(log_s, log_q)
    if kd.kind == "skew_reverse_kl":
        return kl(log_s, mixture(kd.share, log_s, log_q))
    m = mixture(kd.share, log_q, log_s)
    if kd.kind == "skew_kl":
        return kl(log_q, m)
    return kd.share * kl(log_q, m) + (1 - kd.share) * kl(log_s, m)


def kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    """`KL(a, b)` of log shares, over the last axis."""
    return torch.sum(log_a.exp() * (log_a - log_b), -1)


def mixture(share: float, log_a: Tensor, log_b: Tensor) -> Tensor:
    """`log(share a + (1 - share) b)`."""
    return torch.logaddexp(log_a + math.log(share), log_b + math.log1p(-share))
