"""From a tile of raw logits to losses, and the gradient in its place: what every row kernel does.

The logits of the special columns, the teacher's ids and the target, are taken out first, so that
the rest of the row is summed by itself. Shares and gradients then come from sums of positive terms,
never from `p - 1`: a target the student is sure of keeps its gradient, which is minus the mass of
the rest. Cross-entropy is the case without ids.

The two sweeps over a row are given (`sweeps`, `triton_rows`). Between them lie k + 4 numbers per
row at most, all that the ranks of a split vocabulary exchange (`parallel`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.losses.batch import Rows
from distill.losses.divergence import divergence, floored, logit_gradient
from distill.losses.options import Divergence, LossOptions
from distill.losses.parallel import VocabShard
from distill.losses.special import Columns, Special, locate, read, sort_out, special_ids, write_
from distill.losses.sweeps import Mass, Rest, Sweeps, TorchSweeps

MakeSweeps = Callable[[Tensor, Columns, LossOptions], Sweeps]


class Term(NamedTuple):
    """One part of the loss: values [C], gradient [C, m], and mass [C] to spread over the rest."""

    loss: Tensor
    special: Tensor
    mass: Tensor


def row_losses_(
    tile: Tensor,
    rows: Rows,
    options: LossOptions,
    sweeps: MakeSweeps = TorchSweeps,
    shard: VocabShard | None = None,
) -> tuple[Tensor, Tensor]:
    """Weighted losses [2, C] of raw logits `tile` [C, V], and their gradient, which lies over it.

    The first row of the losses is the total, the second what of it is cross-entropy.
    Of `rows` this reads `weights`; `targets` where there is a cross-entropy; `ids`, `logprobs` and
    `log_tail` where there is a divergence. With a `shard` the tile holds its columns only.
    """
    ids, wanted = special_ids(rows, options)
    columns = locate(wanted, shard.start if shard else 0, tile.shape[1])
    u = read(tile, columns, options.softcap, options.scale)
    work = sweeps(tile, columns, options)
    rest = local = work.sums()
    if shard is not None:
        u, rest = shard.exchange(u, local)
    special = sort_out(u, ids, rows, options)
    loss, entries, mass = _head(
        special, rest, rows, options, shard.size if shard else tile.shape[1]
    )
    if shard is not None:
        mass = _part(mass, local, rest)
    gradient = work.gradient(mass)
    write_(gradient, columns, entries * _slope(u, options))
    return loss, gradient


def _head(
    special: Special, rest: Rest, rows: Rows, options: LossOptions, vocab: int
) -> tuple[Tensor, Tensor, Mass]:
    """Weighted losses [2, C], gradients [C, m] by the special u, and the gradient of the rest."""
    weights, terms = rows.weights, []
    even = None
    if options.ce:
        mean = None
        if rest.total is not None:
            finite = special.logits.masked_fill(special.logits == -torch.inf, 0.0)
            mean = (rest.total + finite.sum(1)) / vocab
            even = weights * (options.ce * options.label_smoothing / vocab)
        terms.append(_cross_entropy(special, rest.lse, mean, options))
    if options.kd is not None:
        lse = rest.lse if rest.warm is None else rest.warm
        terms.append(_sparse(options.kd, special, lse, rows))
    none = torch.zeros_like(weights)
    ce = terms[0].loss if options.ce else none
    loss = weights * torch.stack([sum((term.loss for term in terms), none), ce])
    entries = weights[:, None] * sum(term.special for term in terms)
    if even is not None:
        entries = entries - even[:, None]
    masses = [weights * term.mass for term in terms]
    if rest.warm is not None:
        return loss, entries, Mass(masses[0], masses[1], even)
    return loss, entries, Mass(torch.stack(masses).sum(0), None, even)


def _part(mass: Mass, local: Rest, whole: Rest) -> Mass:
    """The mass that falls to the columns of this rank: their share of the whole rest's."""

    def share(part: Tensor | None, here: Tensor | None, all_: Tensor | None) -> Tensor | None:
        if part is None or here is None or all_ is None:
            return None
        return part * (here - all_).exp().nan_to_num(0.0)

    lse = share(mass.lse, local.lse, whole.lse)
    assert lse is not None
    return Mass(lse, share(mass.warm, local.warm, whole.warm), mass.even)


def _slope(u: Tensor, options: LossOptions) -> Tensor | float:
    """du/dr of the special columns."""
    if options.softcap is None:
        return options.scale
    return options.scale * (1.0 - (u / options.softcap).square())


def _cross_entropy(
    special: Special, rest: Tensor, mean: Tensor | None, options: LossOptions
) -> Term:
    """Cross-entropy: `dl/du_j = s_j (1 + 2 z L) - e/V - (1 - e)[j = y]`, the e/V left out here.

    e is the smoothing, z the z-loss, L the logsumexp of the whole row, `rest` that of its rest.
    """
    assert special.target is not None
    smoothing, target = options.label_smoothing, special.target.squeeze(1)
    k = special.at_target.shape[1]
    others = special.logits[:, :k].masked_fill(special.at_target, -torch.inf)
    tail = torch.logaddexp(rest, others.logsumexp(1)) if k else rest
    lse = torch.logaddexp(tail, target)
    loss = (1 - smoothing) * F.softplus(tail - target) + options.z_loss * lse.square()
    if mean is not None:
        loss = loss + smoothing * (lse - mean)
    extra = 2 * options.z_loss * lse
    at_target = smoothing - torch.sigmoid(tail - target) + extra * torch.sigmoid(target - tail)
    entries = (1 + extra)[:, None] * (special.logits - lse[:, None]).exp()
    entries[:, -1] = at_target
    entries[:, :k] = torch.where(special.at_target, at_target[:, None], entries[:, :k])
    mass = (1 + extra) * (rest - lse).exp()
    return Term(options.ce * loss, options.ce * entries, options.ce * mass)


def _sparse(kd: Divergence, special: Special, rest: Tensor, rows: Rows) -> Term:
    """The divergence of k + 1 buckets: the ids, and a tail that holds all other columns."""
    assert rows.logprobs is not None
    assert rows.log_tail is not None
    k = special.padding.shape[1]
    logits = special.logits / kd.temperature
    tail = rest
    if special.target is not None:  # -inf where the target is an id
        tail = torch.logaddexp(tail, logits[:, -1])
    log_s = _log_shares(torch.cat([logits[:, :k], tail[:, None]], 1))
    log_q = rows.logprobs.masked_fill(special.padding, -torch.inf)
    log_tail = floored(kd, rows.log_tail).masked_fill(special.padding.all(1), 0.0)
    loss, slope = divergence(kd, torch.cat([log_q, log_tail[:, None]], 1), log_s)
    gradient = logit_gradient(slope, log_s)
    entries, into_tail = gradient[:, :k], gradient[:, k]
    mass = into_tail * (rest - tail).exp().nan_to_num(0.0)
    if special.target is not None:
        at_id = (entries * special.at_target).sum(1)
        outside = into_tail * (logits[:, -1] - tail).exp().nan_to_num(0.0)
        entries = torch.cat([entries, (at_id + outside)[:, None]], 1)
    size = kd.weight * kd.temperature
    return Term(size * kd.temperature * loss, size * entries, size * mass)


def _log_shares(logits: Tensor) -> Tensor:
    """log_softmax over the last axis, exact to the last digits also where one share is almost 1."""
    top, where = logits.max(-1, keepdim=True)
    shifted = logits - top
    others = shifted.exp().scatter_(-1, where, 0.0).sum(-1, keepdim=True)
    return shifted - torch.log1p(others)
