"""The row kernel for a teacher known over the whole vocabulary: two tiles of logits."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from distill.losses.batch import Rows
from distill.losses.divergence import divergence, logit_gradient
from distill.losses.options import LossOptions
from distill.losses.rows import row_losses_
from distill.losses.sweeps import cap_

TILES = 6
"""Tiles of the size of the logits that are alive at once: what a chunk costs in memory."""


def dense_losses_(tile: Tensor, teacher: Tensor, rows: Rows, options: LossOptions) -> Tensor:
    """Weighted losses [2, C] of raw student logits `tile` [C, V], which becomes their gradient.

    The first row is the total, the second what of it is cross-entropy. `teacher` [C, V] holds the
    teacher's raw logits and is overwritten.
    """
    kd = options.kd
    assert kd is not None
    slope = cap_(tile, options.softcap, options.scale)
    cap_(teacher, options.teacher_softcap, options.teacher_scale)
    log_s = torch.log_softmax(tile.div(kd.temperature), 1)
    log_q = torch.log_softmax(teacher.div_(kd.temperature), 1)
    loss, by_share = divergence(kd, log_q, log_s)
    size = kd.weight * kd.temperature * rows.weights
    gradient = logit_gradient(by_share, log_s).mul_(size[:, None])
    total = size * kd.temperature * loss
    losses = torch.stack([total, torch.zeros_like(total)])
    if options.ce:
        plain = replace(options, kd=None, softcap=None, scale=1.0)
        losses += row_losses_(tile, rows, plain)[0]
        tile.add_(gradient)
    else:
        tile.copy_(gradient)
    tile.mul_(options.scale if slope is None else slope)
    return losses
