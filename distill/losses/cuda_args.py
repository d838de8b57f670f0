"""The arguments of the CUDA row kernels, laid out as in `cuda/*.cu`, from torch tensors."""

from __future__ import annotations

import ctypes
from typing import ClassVar

import torch
from torch import Tensor

from distill.losses.batch import Rows
from distill.losses.options import LossOptions

MAX_K = 128
KINDS = {"forward_kl": 1, "reverse_kl": 2, "jsd": 3, "skew_kl": 4, "skew_reverse_kl": 5}


class SparseArgs(ctypes.Structure):
    """`SparseArgs` of `cuda/sparse_rows.cu`, field by field."""

    _fields_: ClassVar = [
        *((name, ctypes.c_void_p) for name in ("tile", "weights", "targets", "ids")),
        *((name, ctypes.c_void_p) for name in ("logprobs", "log_tail", "losses")),
        ("stride", ctypes.c_longlong),
        *((name, ctypes.c_int) for name in ("vocab", "k", "kind")),
        *((name, ctypes.c_float) for name in ("ce", "smoothing", "z_loss", "softcap", "scale")),
        *((name, ctypes.c_float) for name in ("kd_weight", "temperature", "share")),
        ("ce_losses", ctypes.c_void_p),
    ]


class DenseArgs(ctypes.Structure):
    """`DenseArgs` of `cuda/dense_rows.cu`, field by field."""

    _fields_: ClassVar = [
        *((name, ctypes.c_void_p) for name in ("tile", "teacher", "weights", "targets", "losses")),
        ("stride", ctypes.c_longlong),
        *((name, ctypes.c_int) for name in ("vocab", "kind")),
        *((name, ctypes.c_float) for name in ("ce", "smoothing", "z_loss", "softcap", "scale")),
        *((name, ctypes.c_float) for name in ("teacher_softcap", "teacher_scale")),
        *((name, ctypes.c_float) for name in ("kd_weight", "temperature", "share")),
        ("ce_losses", ctypes.c_void_p),
    ]


def sparse_args(tile: Tensor, rows: Rows, options: LossOptions, losses: Tensor) -> SparseArgs:
    """Arguments for `tile` [C, V] with rows `tile.stride(0)` apart; the tensors must stay alive.

    `rows` holds contiguous fp32 and int64 tensors. `losses` fp32 is written: [C], the total, or
    [2, C] with the part of the cross-entropy below it.
    """
    args = SparseArgs()
    _fill(args, tile, rows, options, losses)
    args.ids, args.logprobs = _pointer(rows.ids), _pointer(rows.logprobs)
    args.log_tail = _pointer(rows.log_tail)
    args.k = 0 if rows.ids is None else rows.ids.shape[1]
    return args


def dense_args(
    tile: Tensor, teacher: Tensor, rows: Rows, options: LossOptions, losses: Tensor
) -> DenseArgs:
    """Arguments for the student's `tile` and the `teacher`'s, alike in shape and strides."""
    assert tile.stride() == teacher.stride()
    assert tile.dtype == teacher.dtype == torch.float32
    args = DenseArgs()
    _fill(args, tile, rows, options, losses)
    args.teacher = teacher.data_ptr()
    args.teacher_softcap = options.teacher_softcap or 0.0
    args.teacher_scale = options.teacher_scale
    return args


def _fill(
    args: SparseArgs | DenseArgs, tile: Tensor, rows: Rows, options: LossOptions, losses: Tensor
) -> None:
    """The fields that both structs have."""
    assert tile.stride(1) == 1
    assert tile.stride(0) * tile.element_size() % 16 == 0
    assert tile.data_ptr() % 16 == 0
    args.tile, args.losses = tile.data_ptr(), losses.data_ptr()
    args.ce_losses = losses[1].data_ptr() if losses.dim() == 2 else None
    args.weights, args.targets = _pointer(rows.weights), _pointer(rows.targets)
    args.stride, args.vocab = tile.stride(0), tile.shape[1]
    args.ce, args.smoothing, args.z_loss = options.ce, options.label_smoothing, options.z_loss
    args.softcap, args.scale = options.softcap or 0.0, options.scale
    kd = options.kd
    args.kind, args.temperature = 0, 1.0
    if kd is not None:
        args.kind, args.kd_weight = KINDS[kd.kind], kd.weight
        args.temperature, args.share = kd.temperature, kd.share


def padded_tile(rows: int, vocab: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """An empty tile [rows, vocab] whose rows start on multiples of 16 bytes."""
    unit = 16 // dtype.itemsize
    padded = -(-vocab // unit) * unit
    return torch.empty(rows, padded, dtype=dtype, device=device)[:, :vocab]


def gradient_view(tile: Tensor, dtype: torch.dtype) -> Tensor:
    """The gradient [C, V] that a kernel left over `tile`, at the start of each row's bytes."""
    if dtype == tile.dtype:
        return tile
    whole = tile.as_strided((tile.shape[0], tile.stride(0)), (tile.stride(0), 1))
    return whole.view(dtype)[:, : tile.shape[1]]


def _pointer(tensor: Tensor | None) -> int | None:
    if tensor is None:
        return None
    assert tensor.is_contiguous()
    assert tensor.dtype in (torch.float32, torch.int64)
    return tensor.data_ptr()
