"""The gradients of one product of the logits, `rows @ head.T`, filled chunk by chunk."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.losses import gemm
from distill.losses.compaction import Compact


class ProductGradients:
    """The gradients of `rows` [n, H] and `head` [V, H], None where not wanted.

    `rows` has the dtype of the input; `head` is summed in `exact`, fp32 or fp64. The first chunk
    writes, so nothing is filled with zeros, unless columns may be left out (`compact`).
    """

    def __init__(
        self,
        rows: Tensor,
        head: Tensor,
        wanted: tuple[bool, bool],
        exact: torch.dtype,
        *,
        compact: bool,
    ) -> None:
        self._rows, self._head, self._filled = rows, head, compact or not len(rows)
        self.rows = torch.empty_like(rows) if wanted[0] else None
        new = head.new_zeros if self._filled else head.new_empty
        self.head = new(head.shape, dtype=exact) if wanted[1] else None
        self._tails: list[tuple[Tensor, Tensor]] = []

    def add(self, start: int, gradient: Tensor | Compact) -> None:
        """Take in the `gradient` [C, V] of the logits of the rows from `start` on."""
        if isinstance(gradient, Compact):
            self._add_compact(start, gradient)
            return
        part = slice(start, start + len(gradient))
        if self.rows is not None:
            self.rows[part] = gemm.hidden_gradient(gradient, self._head)
        if self.head is not None:
            gemm.weight_gradient(gradient, self._rows[part], self.head, first=not self._filled)
            self._filled = True

    def _add_compact(self, start: int, gradient: Compact) -> None:
        """The same with the kept columns, and one more that stands for all the others."""
        columns, kept, share = gradient
        part = slice(start, start + len(kept))
        if self.rows is not None:
            others = gemm.hidden_gradient(share[None], self._head)
            head = torch.cat([self._head.index_select(0, columns), others])
            self.rows[part] = gemm.hidden_gradient(kept, head)
        if self.head is not None:
            own = torch.cat(
                [self.head.index_select(0, columns), self.head.new_zeros(1, self.head.shape[1])]
            )
            gemm.weight_gradient(kept, self._rows[part], own, first=False)
            self.head.index_copy_(0, columns, own[:-1])
            self._tails.append((share, own[-1]))

    def finish(self) -> tuple[Tensor | None, Tensor | None]:
        """Both gradients, each in the dtype of what it is the gradient of."""
        if self.head is not None and self._tails:
            shares, sums = (torch.stack(each) for each in zip(*self._tails, strict=True))
            self.head.addmm_(shares.T.to(self.head.dtype), sums)
        return self.rows, None if self.head is None else self.head.to(self._head.dtype)
