"""Triton kernels: the two sweeps of `rows`, and a dense divergence. One program per row.

Rows start `stride` apart; offsets of rows are 64-bit. A column of -inf counts for nothing.
"""

from __future__ import annotations

import triton
import triton.language as tl

from distill.losses.triton_math import bucket, log1p, tanh

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _logit(raw, softcap, scale, CAP: tl.constexpr):
    """U of a raw logit; a column taken out (-inf) stays out."""
    u = raw.to(tl.float32) * scale
    if CAP:
        u = softcap * tanh(u / softcap)
    return tl.where(raw == float("-inf"), float("-inf"), u)


@triton.jit
def _slope(u, softcap, scale, CAP: tl.constexpr):
    """du/dr at u."""
    if CAP:
        t = u / softcap
        slope = scale * (1.0 - t * t)
    else:
        slope = scale
    return slope


@triton.jit
def _count(top, total, u, factor):
    """Per lane, the sum of 2^(factor (u - top)) with the top moved up to u if that is larger."""
    new = tl.maximum(top, u)
    base = tl.where(new == float("-inf"), 0.0, new)
    return total * tl.exp2(factor * (top - base)) + tl.exp2(factor * (u - base))


@triton.jit
def _whole(top, total, factor):
    """The sum of the lanes' sums, against the largest top (0 if there is none)."""
    most = tl.max(top, 0)
    base = tl.where(most == float("-inf"), 0.0, most)
    return tl.sum(total * tl.exp2(factor * (top - base)), 0)


@triton.jit
def sums_kernel(
    tile, stats, rows, vocab, stride, f1, f2, softcap, scale,
    WARM: tl.constexpr, CAP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Stats [4, rows]: largest u, sums of 2^(f1 (u - top)) and 2^(f2 (u - top)), sum of u."""
    row = tl.program_id(0).to(tl.int64)
    line = tile + row * stride
    lanes = tl.arange(0, BLOCK)
    top = tl.full([BLOCK], float("-inf"), tl.float32)
    total1 = tl.zeros([BLOCK], tl.float32)
    total2 = tl.zeros([BLOCK], tl.float32)
    linear = tl.zeros([BLOCK], tl.float32)
    for start in range(0, vocab, BLOCK):
        j = start + lanes
        u = _logit(tl.load(line + j, j < vocab, float("-inf")), softcap, scale, CAP)
        linear += tl.where(u == float("-inf"), 0.0, u)
        total1 = _count(top, total1, u, f1)
        if WARM:
            total2 = _count(top, total2, u, f2)
        top = tl.maximum(top, u)
    tl.store(stats + row, tl.max(top, 0))
    tl.store(stats + rows + row, _whole(top, total1, f1))
    tl.store(stats + 2 * rows + row, _whole(top, total2, f2))
    tl.store(stats + 3 * rows + row, tl.sum(linear, 0))


@triton.jit
def gradient_kernel(
    tile, out, factors, out_stride, rows, vocab, stride, f1, f2, softcap, scale,
    WARM: tl.constexpr, CAP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient of the rest over the logits; factors [4, rows]: of both sums, even part, top."""
    row = tl.program_id(0).to(tl.int64)
    line, into = tile + row * stride, out + row * out_stride
    lanes = tl.arange(0, BLOCK)
    factor1 = tl.load(factors + row)
    factor2 = tl.load(factors + rows + row)
    even = tl.load(factors + 2 * rows + row)
    top = tl.load(factors + 3 * rows + row)
    for start in range(0, vocab, BLOCK):
        j = start + lanes
        u = _logit(tl.load(line + j, j < vocab, float("-inf")), softcap, scale, CAP)
        g = factor1 * tl.exp2(f1 * (u - top)) - even
        if WARM:
            g += factor2 * tl.exp2(f2 * (u - top))
        g *= _slope(u, softcap, scale, CAP)
        tl.debug_barrier()
        tl.store(into + j, g.to(out.dtype.element_ty), j < vocab)


@triton.jit
def dense_kernel(
    tile, teacher, out, weights, targets, losses,
    rows, vocab, stride, teacher_stride, out_stride,
    ce, smoothing, z_loss, softcap, scale, teacher_softcap, teacher_scale,
    kd_weight, temperature, share,
    KIND: tl.constexpr, CE: tl.constexpr, WARM: tl.constexpr, CAP: tl.constexpr,
    TEACHER_CAP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One row of a dense divergence with or without cross-entropy; `dense_rows.cu` says how."""
    row = tl.program_id(0).to(tl.int64)
    line, other = tile + row * stride, teacher + row * teacher_stride
    into = out + row * out_stride
    lanes = tl.arange(0, BLOCK)
    cold = 1.0 / temperature
    f2 = LOG2E * cold
    f1 = LOG2E if CE else f2
    target = tl.load(targets + row) if CE else -1
    weight = tl.load(weights + row)

    top = tl.full([BLOCK], float("-inf"), tl.float32)
    other_top = tl.full([BLOCK], float("-inf"), tl.float32)
    total1 = tl.zeros([BLOCK], tl.float32)
    total2 = tl.zeros([BLOCK], tl.float32)
    other_total = tl.zeros([BLOCK], tl.float32)
    linear = tl.zeros([BLOCK], tl.float32)
    for start in range(0, vocab, BLOCK):
        j = start + lanes
        u = _logit(tl.load(line + j, j < vocab, float("-inf")), softcap, scale, CAP)
        v = tl.load(other + j, j < vocab, float("-inf"))
        v = _logit(v, teacher_softcap, teacher_scale, TEACHER_CAP)
        if CE:
            u = tl.where(j == target, float("-inf"), u)
        linear += tl.where(u == float("-inf"), 0.0, u)
        total1 = _count(top, total1, u, f1)
        if WARM:
            total2 = _count(top, total2, u, f2)
        top = tl.maximum(top, u)
        other_total = _count(other_top, other_total, v, f2)
        other_top = tl.maximum(other_top, v)

    most = tl.max(top, 0)
    base = tl.where(most == float("-inf"), 0.0, most)
    sum1 = _whole(top, total1, f1)
    sum2 = _whole(top, total2, f2) if WARM else sum1
    lse_q = tl.max(other_top, 0) * cold + tl.log(_whole(other_top, other_total, f2))
    ce_loss = 0.0
    extra = 0.0
    lse = 0.0
    at_target = 0.0
    if CE:
        u_target = _logit(tl.load(line + target), softcap, scale, CAP)
        tail = base + tl.log(sum1)
        lse = _logaddexp(tail, u_target)
        extra = 2.0 * z_loss * lse
        at_target = smoothing - tl.exp(tail - lse) + extra * tl.exp(u_target - lse)
        ce_loss = (1.0 - smoothing) * _softplus(tail - u_target) + z_loss * lse * lse
        ce_loss += smoothing * (lse - (tl.sum(linear, 0) + u_target) / vocab)
        lse_s = _logaddexp(base * cold + tl.log(sum2), u_target * cold)
        most = tl.maximum(most, u_target)
    else:
        lse_s = base * cold + tl.log(sum2)

    loss = tl.zeros([BLOCK], tl.float32)
    slopes = tl.zeros([BLOCK], tl.float32)
    first = tl.full([BLOCK], vocab, tl.int32)
    for start in range(0, vocab, BLOCK):
        j = start + lanes
        u = _logit(tl.load(line + j, j < vocab, float("-inf")), softcap, scale, CAP)
        v = tl.load(other + j, j < vocab, float("-inf"))
        v = _logit(v, teacher_softcap, teacher_scale, TEACHER_CAP)
        term, slope = bucket(v * cold - lse_q, u * cold - lse_s, share, KIND)
        loss += tl.where(j < vocab, term, 0.0)
        slopes += tl.where(j < vocab, slope, 0.0)
        first = tl.minimum(first, tl.where(u == most, j, vocab))
    peak = tl.minimum(tl.min(first, 0), vocab - 1)  # a row of NaN has no largest
    drift = tl.sum(slopes, 0)

    size = kd_weight * temperature
    even = ce * smoothing / vocab
    others = tl.zeros([BLOCK], tl.float32)
    for start in range(0, vocab, BLOCK):
        j = start + lanes
        u = _logit(tl.load(line + j, j < vocab, float("-inf")), softcap, scale, CAP)
        v = tl.load(other + j, j < vocab, float("-inf"))
        v = _logit(v, teacher_softcap, teacher_scale, TEACHER_CAP)
        log_s = u * cold - lse_s
        _, slope = bucket(v * cold - lse_q, log_s, share, KIND)
        g = slope - tl.exp(log_s) * drift
        inside = (j < vocab) & (j != peak)
        others += tl.where(inside, g, 0.0)
        g = size * g - even
        if CE:
            g += ce * tl.where(j == target, at_target, (1.0 + extra) * tl.exp(u - lse))
        g *= weight * _slope(u, softcap, scale, CAP)
        tl.debug_barrier()
        tl.store(into + j, g.to(out.dtype.element_ty), inside)

    g = -size * tl.sum(others, 0) - even
    if CE:
        g += ce * tl.where(peak == target, at_target, (1.0 + extra) * tl.exp(most - lse))
    g *= weight * _slope(most, softcap, scale, CAP)
    tl.store(into + peak, g.to(out.dtype.element_ty))
    loss_sum = size * temperature * tl.sum(loss, 0)
    tl.store(losses + row, weight * (ce * ce_loss + loss_sum))
    tl.store(losses + rows + row, weight * ce * ce_loss)


@triton.jit
def _logaddexp(a, b):
    most = tl.maximum(a, b)
    return most + log1p(tl.exp(tl.minimum(a, b) - most))


@triton.jit
def _softplus(x):
    return tl.maximum(x, 0.0) + log1p(tl.exp(-tl.abs(x)))
