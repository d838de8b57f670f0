"""Say clearly what does not fit: shapes before any work, values on the rows that count."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.losses.batch import Head, Rows
from distill.losses.low_rank import LowRank
from distill.losses.options import IGNORE, IMPLS, Divergence
from distill.losses.teachers import DenseTeacher, SparseTeacher
from traces.errors import DistillError


def check_call(
    impl: str, reduction: str, chunk: int | None, compact_below: float, *, dense: bool
) -> None:
    """Check how the loss is to be computed.

    Raises:
        ValueError: an option is out of range or does not go with another.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction is {reduction!r}; allowed: 'sum', 'mean'")
    if impl not in IMPLS:
        raise ValueError(f"impl is {impl!r}; allowed: {', '.join(IMPLS)}")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk is {chunk!r}; allowed: None or 1 and up")
    if not 0.0 <= compact_below < 1.0:
        raise ValueError(f"compact_below is {compact_below!r}; allowed: 0 (exact) to 1, 1 excluded")
    if compact_below and (dense or impl == "reference"):
        what = "a DenseTeacher" if dense else "impl 'reference'"
        raise ValueError(f"compact_below is {compact_below!r}, but {what} knows no compaction")


def check_low_rank(low_rank: LowRank, hidden: Tensor, head: Head) -> None:
    """Check that an adapter fits the head.

    Raises:
        ValueError: it does not.
    """
    vocab, width = head.weight.shape
    a, b = tuple(low_rank.a.shape), tuple(low_rank.b.shape)
    if len(a) != 2 or a[1] != width or b != (vocab, a[0]):
        raise ValueError(
            f"low_rank has a {a} and b {b}; a head of shape {(vocab, width)} needs "
            "a [r, H] and b [V, r]"
        )
    own = low_rank.hidden
    if own is not None and own.shape != hidden.shape:
        raise ValueError(
            f"low_rank.hidden has shape {tuple(own.shape)}, hidden {tuple(hidden.shape)}"
        )


def check_shapes(
    hidden: Tensor, head: Head, targets: Tensor | None, token_weights: Tensor | None
) -> None:
    """Check what every loss needs.

    Raises:
        ValueError: shapes or dtypes do not fit.
    """
    if head.weight.dim() != 2 or hidden.dim() < 2 or hidden.shape[-1] != head.weight.shape[1]:
        raise ValueError(
            f"hidden {tuple(hidden.shape)} and weight {tuple(head.weight.shape)} do not fit: "
            "expected [N, H] or [B, T, H], and [V, H]"
        )
    if head.bias is not None and head.bias.shape != head.weight.shape[:1]:
        raise ValueError(f"bias has shape {tuple(head.bias.shape)}, not [V]")
    _leading("targets", targets, hidden)
    _leading("token_weights", token_weights, hidden)
    if targets is not None and targets.is_floating_point():
        raise ValueError(f"targets are {targets.dtype}; allowed: integers")


def check_teacher(
    hidden: Tensor, head: Head, teacher: SparseTeacher | DenseTeacher, kd: Divergence
) -> None:
    """Check that a teacher fits the student's rows, vocabulary and temperature.

    Raises:
        ValueError: it does not.
    """
    if isinstance(teacher, DenseTeacher):
        _leading("the teacher's hidden", teacher.hidden, hidden, extra=1)
        if teacher.weight.shape[0] != head.weight.shape[0]:
            raise ValueError(
                f"the teacher's head has {teacher.weight.shape[0]} rows, the student's "
                f"{head.weight.shape[0]}; where only the padding differs, slice both to the real "
                "vocabulary, and where the tokenizers differ there is no token-level divergence"
            )
        return
    _leading("the teacher's ids", teacher.ids, hidden, extra=1)
    _leading("the teacher's log_tail", teacher.log_tail, hidden)
    if teacher.logprobs.shape != teacher.ids.shape:
        raise ValueError(
            f"the teacher's logprobs have shape {tuple(teacher.logprobs.shape)}, "
            f"its ids {tuple(teacher.ids.shape)}"
        )
    if teacher.temperature != kd.temperature:
        raise ValueError(
            f"the divergence is at temperature {kd.temperature}, the teacher is stored at "
            f"{teacher.temperature}: `tempered` moves it, given the log partition at that "
            "temperature; the top k alone do not tell it"
        )


def check_values(rows: Rows, head: Head, index: Tensor | None, vocab: int | None = None) -> None:
    """Name the first kept row or head entry that no loss is defined for.

    `index` are the places of the kept rows among those that were given (see `batch.keep`), `vocab`
    the number of tokens where that is not the head's.

    Raises:
        ValueError: an id is outside the vocabulary, or twice in its row.
        DistillError: a NaN, or an infinity where none may be.
    """
    if not rows.weights.numel():
        return
    vocab = head.weight.shape[0] if vocab is None else vocab
    if rows.targets is not None:
        _check_ids("a target", rows.targets, 0, vocab, f", or {IGNORE} to leave the row out")
    if rows.ids is not None and rows.ids.numel():
        _check_ids("a teacher's id", rows.ids, None, vocab, ", negative for padding")
        _check_distinct(rows.ids, index)
    _check_finite("token_weights", rows.weights, index)
    _check_finite("hidden", rows.hidden, index)
    _check_finite("weight", head.weight, None)
    if head.bias is not None:
        _check_finite("bias", head.bias, None)
    if head.low_weight is not None and rows.low is not None:
        _check_finite("low_rank.b", head.low_weight, None)
        _check_finite("hidden @ low_rank.a.T", rows.low, index)
    if rows.teacher is not None:
        _check_finite("the teacher's hidden", rows.teacher, index)
    if rows.logprobs is not None and rows.ids is not None and rows.log_tail is not None:
        _check_finite("the teacher's logprobs", rows.logprobs.masked_fill(rows.ids < 0, 0.0), index)
        none = (rows.ids < 0).all(1)
        _check_finite("the teacher's log_tail", rows.log_tail.masked_fill(none, 0.0).exp(), index)


def _leading(name: str, part: Tensor | None, hidden: Tensor, extra: int = 0) -> None:
    """Refuse a tensor whose shape, but for the last `extra` axes, is not that of the rows."""
    if part is None:
        return
    want = tuple(hidden.shape[:-1])
    if part.dim() != len(want) + extra or tuple(part.shape[: len(want)]) != want:
        raise ValueError(
            f"{name} has shape {tuple(part.shape)}; hidden states of shape "
            f"{tuple(hidden.shape)} need {want}" + " and one axis more" * extra
        )


def _check_ids(name: str, ids: Tensor, least: int | None, vocab: int, or_else: str) -> None:
    low, high = (int(bound) for bound in torch.aminmax(ids))
    too_low = least is not None and low < least
    if too_low or high >= vocab:
        raise ValueError(
            f"{name} is {low if too_low else high}; allowed: 0 to {vocab - 1}{or_else}"
        )


def _check_distinct(ids: Tensor, index: Tensor | None) -> None:
    ordered = ids.sort(1).values
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).nonzero()
    if len(twice):
        row, slot = twice[0].tolist()
        place = row if index is None else int(index[row])
        raise ValueError(
            f"the teacher's ids hold {int(ordered[row, slot])} twice in row {place}; allowed: once"
        )


def _check_finite(name: str, tensor: Tensor, index: Tensor | None) -> None:
    """Raise for the first entry that is not finite; `index` are the true places of its rows."""
    if bool(torch.isfinite(tensor.detach().sum(dtype=torch.float32))):
        return
    faults = (~torch.isfinite(tensor)).nonzero()
    if len(faults):  # a mere overflow of the sum is none
        first = faults[0].tolist()
        value = float(tensor.detach()[tuple(first)])
        if index is not None:
            first[0] = int(index[first[0]])
        raise DistillError(
            f"{name}{first} is {value} ({len(faults)} such entries where it counts)",
            "the model diverged or its input is broken: lower the learning rate, look at that row",
        )
