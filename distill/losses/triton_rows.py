"""The row kernels in Triton, for devices that the CUDA sources do not reach (AMD, Intel).

One program per row. For cross-entropy and sparse divergences the two sweeps are kernels and the
k + 1 special columns between them are `rows`' business, in torch; a dense divergence is one kernel
of three sweeps. A gradient narrower than the logits is written over them as by the CUDA kernels: a
stretch is read by all threads before any of them writes it, and never reaches beyond it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from distill.losses.batch import Rows
from distill.losses.cuda_args import KINDS, gradient_view
from distill.losses.options import LossOptions
from distill.losses.rows import row_losses_
from distill.losses.special import Columns, write_
from distill.losses.sweeps import Mass, Rest, temperatures
from distill.losses.triton_math import bucket, log1p, tanh

BLOCK = 4096
WARPS = 8
LOG2E = 1.4426950408889634
_LOG2E = tl.constexpr(LOG2E)


class TritonSweeps:
    """`sweeps.Sweeps` over fp32 or bf16 logits; the gradient has the dtype `gradient`."""

    def __init__(
        self, tile: Tensor, columns: Columns, options: LossOptions, gradient: torch.dtype
    ) -> None:
        self.tile, self.options, self.out = tile, options, gradient_view(tile, gradient)
        write_(tile, columns, tile.new_full(columns.column.shape, -torch.inf, dtype=torch.float32))
        self.first, self.second = temperatures(options)
        self.stats = torch.empty(4, len(tile), dtype=torch.float32, device=tile.device)

    def sums(self) -> Rest:
        """See `Sweeps`."""
        _sums[(len(self.tile),)](self.tile, self.stats, *self._shape(), **self._switches())
        top, total, warm_total, linear = self.stats
        lse = top / self.first + total.log()
        warm = None if self.second is None else top / self.second + warm_total.log()
        return Rest(lse, warm, linear if self.options.label_smoothing else None)

    def gradient(self, mass: Mass) -> Tensor:
        """See `Sweeps`."""
        top, total, warm_total, _ = self.stats
        some = top != -torch.inf
        nothing = torch.zeros_like(top)
        factors = torch.stack(
            [
                torch.where(some, mass.lse / total, nothing),
                nothing
                if mass.warm is None
                else torch.where(some, mass.warm / warm_total, nothing),
                nothing if mass.even is None else mass.even,
                torch.where(some, top, nothing),
            ]
        )
        grid = (len(self.tile),)
        _gradient[grid](
            self.tile, self.out, factors, self.out.stride(0), *self._shape(), **self._switches()
        )
        return self.out

    def _shape(self) -> tuple[int | float, ...]:
        """Rows, columns, stride; factors of the exponents; softcap and scale."""
        softcap = self.options.softcap or 1.0
        exponents = LOG2E / self.first, LOG2E / (self.second or self.first)
        return (*self.tile.shape, self.tile.stride(0), *exponents, softcap, self.options.scale)

    def _switches(self) -> dict[str, int | bool]:
        return {
            "WARM": self.second is not None,
            "CAP": self.options.softcap is not None,
            "BLOCK": _block(self.tile.shape[1]),
            "num_warps": WARPS,
        }


def sparse(tile: Tensor, rows: Rows, options: LossOptions) -> tuple[Tensor, Tensor]:
    """Weighted losses [C] of the raw logits `tile` [C, V], and the gradient left over them."""

    def sweeps(tile: Tensor, columns: Columns, options: LossOptions) -> TritonSweeps:
        return TritonSweeps(tile, columns, options, rows.hidden.dtype)

    with _current(tile.device):
        return row_losses_(tile, rows, options, sweeps)


def dense(tile: Tensor, teacher: Tensor, rows: Rows, options: LossOptions) -> tuple[Tensor, Tensor]:
    """The same against the raw logits `teacher` [C, V] of a resident teacher, read only."""
    kd, out = options.kd, gradient_view(tile, rows.hidden.dtype)
    assert kd is not None
    losses = torch.empty_like(rows.weights)
    targets = rows.targets if options.ce else rows.weights
    with _current(tile.device):
        _dense[(len(tile),)](
            tile,
            teacher,
            out,
            rows.weights,
            targets,
            losses,
            *(tile.shape[1], tile.stride(0), teacher.stride(0), out.stride(0)),
            *(options.ce, options.label_smoothing, options.z_loss),
            *(options.softcap or 1.0, options.scale),
            *(options.teacher_softcap or 1.0, options.teacher_scale),
            *(kd.weight, kd.temperature, kd.share),
            KIND=KINDS[kd.kind],
            CE=options.ce > 0,
            WARM=options.ce > 0 and kd.temperature != 1.0,
            CAP=options.softcap is not None,
            TEACHER_CAP=options.teacher_softcap is not None,
            BLOCK=_block(tile.shape[1]) // 2,
            num_warps=WARPS,
        )
    return losses, out


def ready(device: torch.device) -> None:
    """Run one small row on `device`; Triton raises what it will where it cannot."""
    rows = Rows(torch.empty(1, 0), torch.ones(1), torch.zeros(1, dtype=torch.int64))
    on_device = Rows._make(None if part is None else part.to(device) for part in rows)
    tile = torch.zeros(1, 4, device=device)
    loss, _ = sparse(tile, on_device, LossOptions())
    loss.item()


def _current(device: torch.device) -> AbstractContextManager[object]:
    """Make `device` the one that kernels are launched on."""
    if device.type == "cpu":
        return nullcontext()
    return torch.get_device_module(device).device(device)  # type: ignore[no-any-return]


def _block(vocab: int) -> int:
    """Columns at a time: few enough for registers, at least a thread each."""
    return max(64 * WARPS, min(BLOCK, 1 << (vocab - 1).bit_length()))


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
def _sums(
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
def _gradient(
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
def _dense(
    tile, teacher, out, weights, targets, losses,
    vocab, stride, teacher_stride, out_stride,
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
    f2 = _LOG2E * cold
    f1 = _LOG2E if CE else f2
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


@triton.jit
def _logaddexp(a, b):
    most = tl.maximum(a, b)
    return most + log1p(tl.exp(tl.minimum(a, b) - most))


@triton.jit
def _softplus(x):
    return tl.maximum(x, 0.0) + log1p(tl.exp(-tl.abs(x)))
