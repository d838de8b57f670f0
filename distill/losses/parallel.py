"""A vocabulary split over the ranks of a process group."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from distill.losses.sweeps import Rest


class VocabShard(NamedTuple):
    """Which rows of the lm_head this rank holds: from `start` on, of `size` in all.

    The shards of the ranks of `group` are disjoint and cover the vocabulary; hidden states,
    targets and the teacher's ids are the same on every rank, ids counted over the whole vocabulary.
    """

    group: dist.ProcessGroup
    start: int
    size: int

    def exchange(self, u: Tensor, rest: Rest) -> tuple[Tensor, Rest]:
        """The special logits [C, m] and the sums of the whole row, the same bits on every rank.

        One all-gather of m + 1 to m + 3 numbers per row; u is -inf where a column is elsewhere.
        """
        m = u.shape[1]
        packed = torch.cat([u, *(part[:, None] for part in rest if part is not None)], 1)
        parts = [torch.empty_like(packed) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(parts, packed, group=self.group)
        ranks = torch.stack(parts)
        sums = iter(ranks[..., m:].unbind(-1))
        lse = next(sums).logsumexp(0)
        warm = None if rest.warm is None else next(sums).logsumexp(0)
        total = None if rest.total is None else next(sums).sum(0)
        return ranks[..., :m].amax(0), Rest(lse, warm, total)
