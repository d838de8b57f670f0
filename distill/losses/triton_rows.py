"""The row kernels in Triton, for devices that the CUDA sources do not reach (AMD, Intel).

One program per row. For cross-entropy and sparse divergences the two sweeps are kernels and the
k + 1 special columns between them are `rows`' business, in torch; a dense divergence is one kernel
of three sweeps. A gradient narrower than the logits is written over them as by the CUDA kernels: a
stretch is read by all threads before any of them writes it, and never reaches beyond it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from distill.losses.batch import Rows
from distill.losses.cuda_args import KINDS, gradient_view
from distill.losses.options import LossOptions
from distill.losses.parallel import VocabShard
from distill.losses.rows import row_losses_
from distill.losses.special import Columns, write_
from distill.losses.sweeps import Mass, Rest, temperatures
from distill.losses.triton_kernels import dense_kernel, gradient_kernel, sums_kernel

BLOCK = 4096
WARPS = 8
LOG2E = 1.4426950408889634


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
        sums_kernel[(len(self.tile),)](self.tile, self.stats, *self._shape(), **self._switches())
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
        gradient_kernel[grid](
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


def sparse(
    tile: Tensor, rows: Rows, options: LossOptions, shard: VocabShard | None = None
) -> tuple[Tensor, Tensor]:
    """Weighted losses [2, C] of the raw logits `tile` [C, V], and the gradient left over them."""

    def sweeps(tile: Tensor, columns: Columns, options: LossOptions) -> TritonSweeps:
        return TritonSweeps(tile, columns, options, rows.hidden.dtype)

    with _current(tile.device):
        return row_losses_(tile, rows, options, sweeps, shard)


def dense(tile: Tensor, teacher: Tensor, rows: Rows, options: LossOptions) -> tuple[Tensor, Tensor]:
    """The same against the raw logits `teacher` [C, V] of a resident teacher, read only."""
    kd, out = options.kd, gradient_view(tile, rows.hidden.dtype)
    assert kd is not None
    losses = rows.weights.new_empty(2, len(rows.weights))
    targets = rows.targets if options.ce else rows.weights
    with _current(tile.device):
        dense_kernel[(len(tile),)](
            tile,
            teacher,
            out,
            rows.weights,
            targets,
            losses,
            *(*tile.shape, tile.stride(0), teacher.stride(0), out.stride(0)),
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
