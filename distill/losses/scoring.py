"""What a model says of given tokens: forward only, a chunk of rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from distill.losses import gemm
from distill.losses.batch import Head, Rows, accumulation_dtype, cast
from distill.losses.checks import check_shapes, check_values
from distill.losses.chunked import default_chunk
from distill.losses.kernels import TORCH
from distill.losses.options import IGNORE
from distill.losses.sweeps import cap_


class Scores(NamedTuple):
    """One entry per row, shaped like the hidden states without their last axis; fp32.

    `target` logprob of the target, NaN where there is none; `entropy` in nats; `ids` int64 and
    `logprobs` [..., k] of the likeliest tokens, sorted downwards, and `log_tail`, the log of the
    probability outside them, summed over the others and not subtracted from 1; `lse` [..., m], the
    logsumexp of the logits divided by each of the m temperatures asked for.
    """

    target: Tensor
    entropy: Tensor
    ids: Tensor
    logprobs: Tensor
    log_tail: Tensor
    lse: Tensor


@torch.no_grad()
def score(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor | None = None,
    *,
    k: int = 0,
    temperatures: Sequence[float] = (1.0,),
    bias: Tensor | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
    chunk: int | None = None,
) -> Scores:
    """Score every row of `hidden` [N, H] or [B, T, H] under the head `weight` [V, H].

    Logits are made and treated as in `fused_linear_loss`; all but `lse` is at temperature 1. Ties
    in the top k are broken as `torch.topk` does. Targets of -100 have no logprob (NaN).

    Raises:
        ValueError: shapes that do not fit, k or a target out of range.
        DistillError: a NaN or an infinity among the inputs; says where.
    """
    check_shapes(hidden, Head(weight, bias), targets, None)
    head = cast(Head(weight, bias), hidden.device.type)
    vocab, lead = head.weight.shape[0], hidden.shape[:-1]
    if not 0 <= k <= vocab:
        raise ValueError(f"k is {k!r}; allowed: 0 to {vocab}")
    exact = accumulation_dtype(head.weight.dtype)
    flat = hidden.reshape(-1, hidden.shape[-1]).to(head.weight.dtype)
    chosen = torch.full(lead, IGNORE, device=hidden.device) if targets is None else targets
    chosen = chosen.reshape(-1).to(torch.int64)
    check_values(
        Rows(flat, flat.new_ones(len(flat)), chosen.where(chosen != IGNORE, 0)), head, None
    )
    step = max(1, min(chunk or default_chunk(3 * vocab, TORCH.budget), len(flat)))
    tiles = torch.empty(step, vocab, dtype=exact, device=hidden.device)
    parts = []
    for start in range(0, max(len(flat), 1), step):
        part = flat[start : start + step]
        tile = tiles[: len(part)]
        gemm.logits(part, head.weight, head.bias, tile)
        cap_(tile, softcap, scale)
        parts.append(_score_(tile, chosen[start : start + step], k, temperatures))
    whole = (torch.cat(column) for column in zip(*parts, strict=True))
    return Scores._make(column.reshape(lead + column.shape[1:]) for column in whole)


def _score_(u: Tensor, targets: Tensor, k: int, temperatures: Sequence[float]) -> Scores:
    """Scores of capped logits `u` [C, V], which are overwritten."""
    lse = torch.stack([torch.logsumexp(u / t, 1) for t in temperatures], 1)
    total = torch.logsumexp(u, 1)
    at = u.gather(1, targets.clamp_min(0)[:, None]).squeeze(1) - total
    log_p = u.sub_(total[:, None])
    entropy = -(log_p.exp() * log_p).sum(1)
    logprobs, ids = log_p.topk(k, 1)
    log_tail = log_p.scatter_(1, ids, -torch.inf).logsumexp(1)
    return Scores(at.where(targets != IGNORE, torch.nan), entropy, ids, logprobs, log_tail, lse)
