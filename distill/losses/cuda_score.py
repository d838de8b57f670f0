"""The scoring kernel of `cuda/score_rows.cu`: arguments, specialisations, launch."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from distill.losses import cuda_rows
from distill.losses.cuda_args import MAX_K

MOST_TEMPERATURES = 4


class ScoreArgs(ctypes.Structure):
    """`ScoreArgs` of `cuda/score_rows.cu`, field by field."""

    _fields_: ClassVar = [
        *((name, ctypes.c_void_p) for name in ("tile", "targets", "target", "entropy")),
        *((name, ctypes.c_void_p) for name in ("log_tail", "ids", "logprobs", "lse")),
        ("stride", ctypes.c_longlong),
        *((name, ctypes.c_int) for name in ("vocab", "k")),
        *((name, ctypes.c_float) for name in ("softcap", "scale")),
        ("temperatures", ctypes.c_float * MOST_TEMPERATURES),
    ]


class Outputs(NamedTuple):
    """What the kernel writes, one entry per row: `Scores` without ranks, in its order."""

    target: Tensor
    entropy: Tensor
    ids: Tensor
    logprobs: Tensor
    log_tail: Tensor
    lse: Tensor


class ScoreSpec(NamedTuple):
    """What a scoring kernel is compiled for: the number of temperatures, and a softcap or none."""

    temperatures: int
    cap: bool

    @property
    def op(self) -> str:
        """The source's name."""
        return "score_rows"

    def defines(self) -> list[str]:
        """The macros that pick this specialisation."""
        return [f"-DOF_COUNT={self.temperatures}", f"-DOF_CAP={int(self.cap)}"]


def specialisations() -> list[ScoreSpec]:
    """Every specialisation that can be asked for."""
    counts = range(1, MOST_TEMPERATURES + 1)
    return [ScoreSpec(count, cap) for count in counts for cap in (False, True)]


def fits(k: int, temperatures: Sequence[float]) -> bool:
    """Whether the kernel can do this: up to 128 ids and 1 to 4 temperatures."""
    return k <= MAX_K and 1 <= len(temperatures) <= MOST_TEMPERATURES


def score_args(
    tile: Tensor,
    targets: Tensor,
    k: int,
    temperatures: Sequence[float],
    softcap: float | None,
    scale: float,
) -> tuple[ScoreArgs, Outputs]:
    """Arguments for the raw fp32 logits `tile` [C, V], and where the results will be.

    `targets` [C] int64, negative for none. The tensors must stay alive.
    """
    assert tile.stride(1) == 1
    assert tile.stride(0) % 4 == 0
    assert tile.data_ptr() % 16 == 0
    assert tile.dtype == torch.float32
    assert targets.is_contiguous()
    n = len(tile)
    row, whole = tile.new_empty(3, n), tile.new_empty(n, k)
    out = Outputs(
        row[0],
        row[1],
        torch.empty(n, k, dtype=torch.int64, device=tile.device),
        whole,
        row[2],
        tile.new_empty(n, len(temperatures)),
    )
    args = ScoreArgs()
    args.tile, args.targets = tile.data_ptr(), targets.data_ptr()
    for name, tensor in out._asdict().items():
        setattr(args, name, tensor.data_ptr())
    args.stride, args.vocab, args.k = tile.stride(0), tile.shape[1], k
    args.softcap, args.scale = softcap or 0.0, scale
    args.temperatures[: len(temperatures)] = list(temperatures)
    return args, out


def score(
    tile: Tensor,
    targets: Tensor,
    k: int,
    temperatures: Sequence[float],
    softcap: float | None,
    scale: float,
) -> Outputs:
    """The scores of the raw logits `tile` [C, V], which are left as they are."""
    args, out = score_args(tile, targets, k, temperatures, softcap, scale)
    cuda_rows.launch(ScoreSpec(len(temperatures), softcap is not None), args, tile)
    return out
