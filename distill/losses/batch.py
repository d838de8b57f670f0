"""The tensors of one call: flattened, and only the rows that count."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distill.losses.options import IGNORE
from distill.losses.teachers import DenseTeacher, SparseTeacher


class Head(NamedTuple):
    """The layer after the hidden states: `weight` [V, H], `bias` [V] or None.

    With `low_weight` [V, r], the B of a low-rank adapter, the logits have `low @ B.T` added; `low`
    is with the rows.
    """

    weight: Tensor
    bias: Tensor | None
    low_weight: Tensor | None = None


class Rows(NamedTuple):
    """n rows (tokens): `hidden` [n, H] and the rest in fp32 (fp64) or int64.

    `weights` [n]; `targets` [n] for a cross-entropy; `ids` and `logprobs` [n, k] and `log_tail`
    [n] for a sparse teacher; `teacher` [n, H'], the hidden states of a dense one; `low` [n, r],
    what a low-rank adapter of the head makes of `hidden`, in the dtype of the head.
    """

    hidden: Tensor
    weights: Tensor
    targets: Tensor | None = None
    ids: Tensor | None = None
    logprobs: Tensor | None = None
    log_tail: Tensor | None = None
    teacher: Tensor | None = None
    low: Tensor | None = None

    def part(self, rows: slice) -> Rows:
        """Some of the rows, as views."""
        return Rows._make(None if tensor is None else tensor[rows] for tensor in self)


def flatten(
    hidden: Tensor,
    head: Head,
    targets: Tensor | None,
    token_weights: Tensor | None,
    teacher: SparseTeacher | DenseTeacher | None,
    *,
    ce: float,
    low: Tensor | None = None,
) -> tuple[Rows, Head]:
    """The rows of `[..., H]` hidden states; weight 0 where nothing is learnt.

    That is where the target is `IGNORE`, and, without a cross-entropy, where a sparse teacher
    has nothing but padding. Hidden states are cast to the dtype of the head, and both to
    autocast's where it is on, as a linear layer there would; after the GEMM all is fp32 (fp64 for
    fp64 input).
    """
    head = cast(head, hidden.device.type)
    exact = accumulation_dtype(head.weight.dtype)
    lead = hidden.shape[:-1]
    weights = torch.ones(lead, dtype=exact, device=hidden.device)
    if token_weights is not None:
        weights = token_weights.detach().to(exact)
    if targets is not None:
        weights = torch.where(targets == IGNORE, 0.0, weights)
        targets = targets.to(torch.int64)
    rows = Rows(hidden.to(head.weight.dtype), weights, targets if ce else None)
    if low is not None:
        rows = rows._replace(low=low.to(head.weight.dtype))
    if isinstance(teacher, SparseTeacher):
        ids = teacher.ids.to(torch.int64)
        if not ce:
            weights = torch.where((ids < 0).all(-1), 0.0, weights)
        logprobs, log_tail = (part.detach().to(exact) for part in teacher[1:3])
        rows = rows._replace(weights=weights, ids=ids, logprobs=logprobs, log_tail=log_tail)
    elif teacher is not None:
        rows = rows._replace(teacher=teacher.hidden.detach())
    flat = (None if part is None else part.flatten(0, len(lead) - 1) for part in rows)
    return Rows._make(flat), head


def cast(head: Head, device: str) -> Head:
    """The head in autocast's dtype where autocast is on; the rest of it follows the weight."""
    dtype = head.weight.dtype
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    return Head._make(None if part is None else part.to(dtype) for part in head)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which logits, losses and weight gradients of `dtype` input are held."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def keep(rows: Rows) -> tuple[Rows, Tensor | None]:
    """The rows whose weight is not 0, and their indices (None where that is all of them).

    Exact: a dropped row adds nothing to the loss or to any gradient, whatever it holds.
    """
    index = rows.weights.nonzero().squeeze(1)
    if index.numel() == rows.weights.numel():
        return rows, None
    kept = (None if part is None else part.index_select(0, index) for part in rows)
    return Rows._make(kept), index
