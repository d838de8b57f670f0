"""What a model says of given tokens: forward only, a chunk of rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from distill.losses import cuda_score, gemm
from distill.losses.batch import Head, Rows, accumulation_dtype, cast
from distill.losses.checks import check_shapes, check_values
from distill.losses.chunked import default_chunk
from distill.losses.cuda_args import padded_tile
from distill.losses.kernels import CUDA, TORCH, unfit
from distill.losses.options import IGNORE
from distill.losses.sweeps import cap_
from traces.errors import DistillError


class Scores(NamedTuple):
    """One entry per row, shaped like the hidden states without their last axis; fp32.

    `target` logprob of the target, NaN where there is none; `entropy` in nats; `ids` int64 and
    `logprobs` [..., k] of the likeliest tokens, sorted downwards, and `log_tail`, the log of the
    probability outside them, summed over the others and not subtracted from 1; `lse` [..., m], the
    logsumexp of the logits divided by each of the m temperatures asked for; `rank` int64, 1 for the
    likeliest token, 0 where there is no target or no ranks were asked for.
    """

    target: Tensor
    entropy: Tensor
    ids: Tensor
    logprobs: Tensor
    log_tail: Tensor
    lse: Tensor
    rank: Tensor


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
    ranks: bool = False,
    chunk: int | None = None,
    impl: Literal["auto", "chunked", "cuda"] = "auto",
) -> Scores:
    """Score every row of `hidden` [N, H] or [B, T, H] under the head `weight` [V, H].

    Logits are made and treated as in `fused_linear_loss`; all but `lse` is at temperature 1. Of
    equal logprobs the lower id comes first. Targets of -100 have no logprob (NaN). `ranks` asks for
    the ranks of the targets: one more than the columns with a greater logit, which costs one more
    reading of the logits. `cuda` is one sweep over them, for up to 128 ids and 4 temperatures;
    `auto` takes it where it runs.

    Raises:
        ValueError: shapes that do not fit, k or a target out of range.
        DistillError: a NaN or an infinity among the inputs; says where; or `impl` cannot run here.
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
    on_gpu = _on_gpu(impl, head.weight, k, temperatures)
    tiles, budget = (1, CUDA.budget) if on_gpu else (3, TORCH.budget)
    step = max(1, min(chunk or default_chunk(tiles * vocab, budget), len(flat)))
    buffer = padded_tile(step, vocab, exact, hidden.device)
    parts = []
    for start in range(0, max(len(flat), 1), step):
        part, tokens = flat[start : start + step], chosen[start : start + step]
        tile = buffer[: len(part)]
        gemm.logits(part, head.weight, head.bias, tile)
        rank = _ranks(tile, tokens, scale) if ranks else torch.zeros_like(tokens)
        if on_gpu:
            out = cuda_score.score(tile, tokens, k, temperatures, softcap, scale)
        else:
            cap_(tile, softcap, scale)
            out = _score_(tile, tokens, k, temperatures)
        parts.append(Scores(*out, rank))
    whole = (torch.cat(column) for column in zip(*parts, strict=True))
    return Scores._make(column.reshape(lead + column.shape[1:]) for column in whole)


def _ranks(tile: Tensor, targets: Tensor, scale: float) -> Tensor:
    """Ranks [C] of the targets among raw logits `tile` [C, V]; a softcap keeps their order."""
    at = tile.gather(1, targets.clamp_min(0)[:, None])
    greater = tile > at if scale > 0 else tile < at
    return (1 + greater.sum(1)).where(targets != IGNORE, 0)


def _score_(
    u: Tensor, targets: Tensor, k: int, temperatures: Sequence[float]
) -> cuda_score.Outputs:
    """Scores of capped logits `u` [C, V], which are overwritten."""
    lse = torch.stack([torch.logsumexp(u / t, 1) for t in temperatures], 1)
    total = torch.logsumexp(u, 1)
    at = u.gather(1, targets.clamp_min(0)[:, None]).squeeze(1) - total
    log_p = u.sub_(total[:, None])
    entropy = -(log_p.exp() * log_p).sum(1)
    logprobs, ids = top(log_p, k)
    log_tail = log_p.scatter_(1, ids, -torch.inf).logsumexp(1)
    target = at.where(targets != IGNORE, torch.nan)
    return cuda_score.Outputs(target, entropy, ids, logprobs, log_tail, lse)


def top(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row of `values` [C, V], and their columns; of equals the lower first.

    `torch.topk` leaves open which of equal values it takes. Rows where that matters, because values
    equal to the k-th are left out, are sorted whole.
    """
    found, columns = values.topk(k, 1)
    if not k:
        return found, columns
    least = found[:, -1:]
    cut = ((values == least).sum(1) != (found == least).sum(1)).nonzero().squeeze(1)
    if len(cut):
        columns[cut] = values[cut].sort(dim=1, descending=True, stable=True).indices[:, :k]
    columns = columns.sort(1).values
    found, order = values.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return found, columns.gather(1, order)


def _on_gpu(impl: str, weight: Tensor, k: int, temperatures: Sequence[float]) -> bool:
    """Whether the CUDA kernel does it."""
    if impl == "chunked":
        return False
    reason = unfit("cuda", weight.device.type, weight.dtype)
    if not reason and not cuda_score.fits(k, temperatures):
        reason = f"k is {k} and there are {len(temperatures)} temperatures: it does 128 and 4"
    if reason and impl == "cuda":
        raise DistillError(f"impl is 'cuda', but {reason}", "impl='auto' takes what runs")
    return not reason
