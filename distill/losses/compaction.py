"""Leave out the columns of a gradient in which hardly anything is, and keep what they add up to.

Of the gradient g [C, V] by a chunk's logits, columns are kept in which some `|g_ij|` reaches the
threshold times the largest of all. For a cross-entropy, whose largest is about 1, that is the usual
threshold; for a divergence, which shrinks as the student nears the teacher, it keeps the relative
error where an absolute one would drop everything.

The rest is replaced by the rank-1 matrix `m_i p_j`: `m_i = sum_j g_ij` over the columns left out,
and `p_j = sum_i |g_ij|`, divided by its sum. So every row of the gradient still adds up to what it
did, and where the rest is one distribution times one number per row (in a cross-entropy and in a
divergence from a stored top k it is: the student's own) its bulk survives. In both GEMMs the
correction is one more column: `m` beside the kept ones, `p @ W` below the kept rows of W.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

STEP = 256
"""Kept columns, with the one of the correction, come in multiples of this."""


class Compact(NamedTuple):
    """`columns` [P] kept of V, `kept` [C, P + 1] with the mass m of the rest last, `share` [V].

    `share` is p, 0 in the kept columns; it sums to 1, or to 0 where nothing was left out.
    """

    columns: Tensor
    kept: Tensor
    share: Tensor


def compact(
    gradient: Tensor, threshold: float, exact: torch.dtype
) -> tuple[Compact | None, Tensor]:
    """The `gradient` [C, V] by the logits of C rows, or None where half of V stays.

    The tensor beside it holds columns kept, V, and the sums of `|g|` left out and in all.

    A column is kept if some `|g_ij|` is `threshold` times the largest or more; the columns kept
    beyond, up to a multiple of `STEP`, are the next largest. Sums are in `exact`. Waits once for
    the device, for the number of columns.
    """
    vocab = gradient.shape[1]
    largest = torch.linalg.vector_norm(gradient, torch.inf, dim=0)
    in_columns = torch.linalg.vector_norm(gradient, 1, dim=0, dtype=exact)
    total = in_columns.sum()
    count = int((largest >= threshold * largest.amax()).sum())
    step = min(STEP, max(2, vocab // 8))
    width = -(-(count + 1) // step) * step  # with the column of the correction
    if width > vocab // 2:
        return None, torch.stack([*total.new_tensor([vocab, vocab, 0.0]), total])
    columns = largest.topk(width - 1).indices.sort().values
    kept = gradient.index_select(1, columns)
    mass = gradient.sum(1, dtype=exact) - kept.sum(1, dtype=exact)
    share = in_columns.index_fill_(0, columns, 0.0)
    dropped = share.sum()
    share = share / dropped.where(dropped > 0, 1.0)
    found = Compact(columns, torch.cat([kept, mass[:, None].to(kept.dtype)], 1), share)
    return found, torch.stack([*total.new_tensor([width - 1, vocab]), dropped, total])
