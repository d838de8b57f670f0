"""The loss and its gradients over chunks of rows: at most `[chunk, V]` logits exist.

The gradients are computed together with the loss, while a chunk's logits are there: three GEMMs in
all (logits, dX, dW), the least there is. What happens between the GEMMs is a row kernel's business.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distill.losses import gemm
from distill.losses.batch import Head, Rows, keep
from distill.losses.checks import check_values
from distill.losses.compaction import Compact, compact
from distill.losses.gradients import ProductGradients
from distill.losses.kernels import RowKernel
from distill.losses.options import LossOptions


class Wanted(NamedTuple):
    """Which gradients are needed. Without `weight` the head is frozen and costs no GEMM.

    `low` and `low_weight` are those of a low-rank adapter on the head.
    """

    hidden: bool
    weight: bool
    bias: bool
    low: bool = False
    low_weight: bool = False


class Sums(NamedTuple):
    """The loss (scalar) and its gradients, None where not wanted; `stats` [6] as in `Stats`."""

    loss: Tensor
    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    low: Tensor | None
    low_weight: Tensor | None
    stats: Tensor


def run(
    rows: Rows,
    head: Head,
    teacher: Head | None,
    options: LossOptions,
    wanted: Wanted,
    kernel: RowKernel,
    chunk: int | None = None,
    compact_below: float = 0.0,
    vocab_size: int | None = None,
) -> Sums:
    """The loss and the wanted gradients, outside autograd.

    `chunk` rows at a time, by default as many as keep the tiles within the kernel's budget (64 at
    least, 4096 at most). dW and the bias gradient are summed in fp32 and rounded once; dX has the
    dtype of the input. Rows of weight 0 are dropped before any GEMM. Above 0, `compact_below` is
    the threshold of `compaction.compact`. `vocab_size` counts the tokens where the head holds only
    some of them.
    """
    kept, index = keep(rows)
    check_values(kept, head, index, vocab_size)
    n, vocab = len(kept.weights), head.weight.shape[0]
    tiles = 1 if teacher is None else kernel.dense_tiles
    step = min(chunk or default_chunk(vocab * tiles, kernel.budget), max(n, 1))
    buffer = kernel.tile(step, vocab, kept, options)
    losses = kept.weights.new_zeros(2, n)
    columns = kept.weights.new_zeros(4)
    products = _products(kept, head, wanted, compact=compact_below > 0)
    d_bias = kept.weights.new_zeros(vocab) if wanted.bias else None
    for start in range(0, n, step):
        part = kept.part(slice(start, start + step))
        tile = buffer[: len(part.weights)]
        gemm.logits(part.hidden, head.weight, head.bias, tile)
        if part.low is not None and head.low_weight is not None:
            gemm.add_product(tile, part.low, head.low_weight.T)
        if teacher is None:
            loss, gradient = kernel.sparse(tile, part, options)
        else:
            assert part.teacher is not None
            other = kernel.tile(len(part.weights), vocab, part, options)
            gemm.logits(part.teacher, teacher.weight, teacher.bias, other)
            loss, gradient = kernel.dense(tile, other, part, options)
        assert loss.shape == (2, len(tile))
        losses[:, start : start + step] = loss
        if d_bias is not None:
            d_bias.add_(gradient.sum(0, dtype=d_bias.dtype))
        effective: Tensor | Compact = gradient
        if compact_below > 0:
            found, account = compact(gradient, compact_below, part.weights.dtype)
            columns += account
            effective = gradient if found is None else found
        for product in products:
            product.add(start, effective)
    del buffer
    d_hidden, d_weight = products[0].finish()
    d_low, d_low_weight = products[1].finish() if len(products) > 1 else (None, None)
    loss, ce = losses.sum(1)
    return Sums(
        loss,
        _spread(d_hidden, index, rows.hidden),
        d_weight,
        None if d_bias is None or head.bias is None else d_bias.to(head.bias.dtype),
        _spread(d_low, index, rows.low),
        d_low_weight,
        torch.cat([torch.stack([ce, loss - ce]), columns]),
    )


def default_chunk(columns: int, budget: int) -> int:
    """Rows of `columns` fp32 logits in `budget` bytes: fewer cost speed, more cost memory."""
    return max(64, min(4096, budget // (4 * columns)))


def _products(kept: Rows, head: Head, wanted: Wanted, *, compact: bool) -> list[ProductGradients]:
    """The products that make up the logits: the head's, and that of a low-rank adapter."""
    exact = kept.weights.dtype
    both = (wanted.hidden, wanted.weight)
    products = [ProductGradients(kept.hidden, head.weight, both, exact, compact=compact)]
    if kept.low is not None and head.low_weight is not None:
        both = (wanted.low, wanted.low_weight)
        products.append(ProductGradients(kept.low, head.low_weight, both, exact, compact=compact))
    return products


def _spread(gradient: Tensor | None, index: Tensor | None, like: Tensor | None) -> Tensor | None:
    """The kept rows' gradient at their places among all rows, 0 elsewhere."""
    if gradient is None or index is None or like is None:
        return gradient
    return torch.zeros_like(like).index_copy_(0, index, gradient)
