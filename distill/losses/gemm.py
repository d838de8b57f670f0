"""The three products of a chunk, with fp32 results from bf16 factors on every device.

A CPU has no bf16 product with an fp32 result, so the head is widened there block by block: the
tile is exact and never more than `_BLOCK` rows of the head are held twice.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_BLOCK = 8192


def logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """`out` [C, V] = `hidden` [C, H] @ `weight` [V, H].T + `bias` [V]."""
    if hidden.dtype == out.dtype:
        torch.mm(hidden, weight.T, out=out)
    elif hidden.is_cuda:
        torch.mm(hidden, weight.T, out_dtype=out.dtype, out=out)
    else:
        wide = hidden.to(out.dtype)
        for rows, block in _widened(weight, out.dtype):
            torch.mm(wide, block.T, out=out[:, rows])
    if bias is not None:
        out.add_(bias)


def hidden_gradient(tile: Tensor, weight: Tensor) -> Tensor:
    """`tile` [C, V] @ `weight` [V, H], in the dtype of `weight`."""
    if weight.dtype == tile.dtype or weight.is_cuda:
        return torch.mm(tile.to(weight.dtype), weight)
    total = tile.new_zeros(tile.shape[0], weight.shape[1])
    for rows, block in _widened(weight, tile.dtype):
        total.addmm_(tile[:, rows], block)
    return total.to(weight.dtype)


def weight_gradient(tile: Tensor, hidden: Tensor, out: Tensor, *, first: bool) -> None:
    """`out` [V, H] += `tile` [C, V].T @ `hidden` [C, H]; the first chunk overwrites `out`."""
    add_product(out, tile.T, hidden, beta=0.0 if first else 1.0)


def add_product(out: Tensor, left: Tensor, right: Tensor, *, beta: float = 1.0) -> None:
    """`out` = `beta` `out` + `left` @ `right`, summed in the dtype of `out`."""
    if right.dtype == out.dtype or not right.is_cuda:
        torch.addmm(out, left.to(out.dtype), right.to(out.dtype), beta=beta, out=out)
    else:
        narrow = left.to(right.dtype)
        torch.addmm(out, narrow, right, out_dtype=out.dtype, beta=beta, out=out)


def _widened(weight: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, weight.shape[0], _BLOCK):
        rows = slice(start, min(start + _BLOCK, weight.shape[0]))
        yield rows, weight[rows].to(dtype)
