"""A low-rank adapter on the lm_head: its logits are added without a full-size weight."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F


class LowRank(NamedTuple):
    """The head's weight is `weight + scale * b @ a`, which is never formed.

    `a` [r, H], `b` [V, r]. `hidden` [..., H] is what goes into `a` where that is not what goes
    into the head, as with a dropout in between. Gradients flow to all three.
    """

    a: Tensor
    b: Tensor
    scale: float = 1.0
    hidden: Tensor | None = None

    def inner(self, hidden: Tensor) -> Tensor:
        """`scale * hidden @ a.T` [..., r], through autograd: it is small."""
        given = hidden if self.hidden is None else self.hidden
        return self.scale * F.linear(given.to(self.a.dtype), self.a)
