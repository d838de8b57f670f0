"""What turns a tile of logits into losses and a gradient, and which of them can run here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from distill.losses import cuda_rows
from distill.losses.batch import Rows
from distill.losses.dense import TILES, dense_losses_
from distill.losses.options import LossOptions
from distill.losses.parallel import VocabShard
from distill.losses.rows import row_losses_
from traces.errors import DistillError, MissingDependencyError

log = logging.getLogger(__name__)

MIB = 2**20


class RowKernel(NamedTuple):
    """Row kernels and the tile they work on.

    `tile(rows, vocab, like, options)` is an empty tile [rows, vocab] on the device of the rows
    `like`. `sparse(tile, rows, options)` and `dense(tile, teacher's tile, rows, options)` give the
    weighted losses [2, C], the total and what of it is cross-entropy, and the gradient [C, V] by
    the raw logits, which lies over the tile.
    `budget` is the size in bytes of the tiles that pays, `dense_tiles` how many are alive at once.
    """

    name: str
    tile: Callable[[int, int, Rows, LossOptions], Tensor]
    sparse: Callable[[Tensor, Rows, LossOptions], tuple[Tensor, Tensor]]
    dense: Callable[[Tensor, Tensor, Rows, LossOptions], tuple[Tensor, Tensor]]
    budget: int
    dense_tiles: int


def choose(impl: str, device: str, dtype: torch.dtype) -> RowKernel:
    """The kernels that run for `impl` on such tensors; logs once what `auto` takes.

    Raises:
        DistillError: those asked for by name cannot run here; says why.
    """
    if impl == "auto":
        impl = _automatic(device, dtype)
    elif impl in FASTER:
        reason = unfit(impl, device, dtype)
        if reason:
            raise DistillError(f"impl is {impl!r}, but {reason}", "impl='auto' takes what runs")
    return KERNELS[impl]


def choose_sharded(impl: str, device: str, dtype: torch.dtype, shard: VocabShard) -> RowKernel:
    """The kernels for tiles that hold `shard`'s columns only: torch's or Triton's.

    Raises:
        DistillError: those asked for by name cannot do it here; says why.
    """
    if impl == "auto":
        impl = "chunked" if unfit("triton", device, dtype) else "triton"
    if impl not in ("chunked", "triton"):
        raise DistillError(
            f"impl is {impl!r}, which needs whole rows", "impl='auto' takes what runs on a shard"
        )
    kernel = choose(impl, device, dtype)
    sparse = _triton_sparse if impl == "triton" else _torch_sparse

    def sharded(tile: Tensor, rows: Rows, options: LossOptions) -> tuple[Tensor, Tensor]:
        return sparse(tile, rows, options, shard)

    return kernel._replace(sparse=sharded)


def implementation(impl: str, device: str, dtype: torch.dtype) -> str:
    """The name of what runs for `impl` on such tensors: reference, chunked, triton, cuda.

    Raises:
        DistillError: what was asked for by name cannot run here.
    """
    return impl if impl == "reference" else choose(impl, device, dtype).name


def unfit(impl: str, device: str, dtype: torch.dtype) -> str:
    """Why `impl` (cuda, triton) cannot run on such tensors, or "" if it can."""
    homes = {"cuda": ("cuda",), "triton": ("cuda", "xpu")}
    if device not in homes[impl]:
        return f"the tensors are on {device}"
    if dtype not in (torch.float32, torch.bfloat16):
        return f"the head is {dtype}: the kernels know float32 and bfloat16"
    if impl == "cuda" and torch.version.hip:
        return "this is a ROCm build of torch"
    try:
        if impl == "cuda":
            cuda_rows.ready()
        else:
            _triton_ready(device)
    except (DistillError, MissingDependencyError) as error:
        return " ".join(str(error).split())
    return ""


@cache
def _automatic(device: str, dtype: torch.dtype) -> str:
    reasons: list[str] = []
    for impl in FASTER:
        reason = unfit(impl, device, dtype)
        if not reason:
            log.info("loss implementation: %s%s", impl, "".join(reasons))
            return impl
        reasons.append(f"; not {impl}, because {reason}")
    log.info("loss implementation: chunked%s", "".join(reasons))
    return "chunked"


@cache
def _triton_ready(device: str) -> None:
    """Compile and run one Triton kernel, to see that this works at all.

    Raises:
        MissingDependencyError: Triton is not installed.
        DistillError: it refuses this device.
    """
    try:
        from distill.losses import triton_rows
    except ImportError as error:
        raise MissingDependencyError("triton is not installed", "pip install triton") from error
    try:
        triton_rows.ready(torch.device(device))
    except Exception as error:  # whatever Triton's backend for a device raises
        first = str(error).strip().splitlines()[:1]
        raise DistillError(
            f"triton fails here: {type(error).__name__} {' '.join(first)}"
        ) from error


def _triton_sparse(
    tile: Tensor, rows: Rows, options: LossOptions, shard: VocabShard | None = None
) -> tuple[Tensor, Tensor]:
    from distill.losses import triton_rows

    return triton_rows.sparse(tile, rows, options, shard)


def _triton_dense(
    tile: Tensor, teacher: Tensor, rows: Rows, options: LossOptions
) -> tuple[Tensor, Tensor]:
    from distill.losses import triton_rows

    return triton_rows.dense(tile, teacher, rows, options)


def _torch_tile(rows: int, vocab: int, like: Rows, options: LossOptions) -> Tensor:
    del options
    return like.weights.new_empty(rows, vocab)


def _torch_sparse(
    tile: Tensor, rows: Rows, options: LossOptions, shard: VocabShard | None = None
) -> tuple[Tensor, Tensor]:
    return row_losses_(tile, rows, options, shard=shard)


def _torch_dense(
    tile: Tensor, teacher: Tensor, rows: Rows, options: LossOptions
) -> tuple[Tensor, Tensor]:
    return dense_losses_(tile, teacher, rows, options), tile


TORCH = RowKernel("chunked", _torch_tile, _torch_sparse, _torch_dense, 128 * MIB, TILES)
CUDA = RowKernel("cuda", cuda_rows.tile, cuda_rows.sparse, cuda_rows.dense, 2048 * MIB, 2)
TRITON = RowKernel("triton", cuda_rows.tile, _triton_sparse, _triton_dense, 2048 * MIB, 2)
KERNELS = {kernel.name: kernel for kernel in (TORCH, TRITON, CUDA)}
FASTER = ("cuda", "triton")
"""What `auto` tries before torch, in this order."""
