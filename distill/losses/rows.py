"""The row kernel in torch: a tile of raw logits in, losses out, the gradient in its place.

The logits of the special columns, the teacher's ids and the target, are taken out first, so that
the rest of the row is summed by itself. Shares and gradients then come from sums of positive terms,
never from `p - 1`: a target the student is sure of keeps its gradient, which is minus the mass of
the rest. Cross-entropy is the case without ids.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.losses.batch import Rows
from distill.losses.divergence import divergence, floored, logit_gradient
from distill.losses.options import Divergence, LossOptions


class Special(NamedTuple):
    """m columns of each row: the teacher's k ids, then the target if there is a cross-entropy.

    `columns` [C, m] are safe to write to: padding repeats another special column of its row.
    `logits` [C, m] are -inf in padding and in the slot of a target that is among the ids already.
    `target` [C, 1] is the target's logit; `at_target` [C, k] says which id it is, `padding` [C, k]
    which ids are none.
    """

    columns: Tensor
    logits: Tensor
    target: Tensor | None
    at_target: Tensor
    padding: Tensor


class Rest(NamedTuple):
    """The columns that are not special: `exp(z - max)` [C, V], logsumexp(z) [C], its sum [C]."""

    exp: Tensor
    lse: Tensor
    total: Tensor


class Term(NamedTuple):
    """One part of the loss: values [C], gradient [C, m], and mass [C] to spread over `rest`."""

    loss: Tensor
    special: Tensor
    mass: Tensor
    rest: Rest


def row_losses_(tile: Tensor, rows: Rows, options: LossOptions) -> Tensor:
    """Weighted losses [2, C] of raw logits `tile` [C, V], which becomes their gradient.

    The first row is the total, the second what of it is cross-entropy.
    """
    slope = cap_(tile, options.softcap, options.scale)
    loss = capped_losses_(tile, rows, options)
    if slope is not None:
        tile.mul_(slope)
    elif options.scale != 1.0:
        tile.mul_(options.scale)
    return loss


def cap_(raw: Tensor, softcap: float | None, scale: float) -> Tensor | None:
    """Scale and cap `raw` in place; returns du/dr [C, V], or None where it is `scale` all over."""
    if scale != 1.0:
        raw.mul_(scale)
    if softcap is None:
        return None
    raw.div_(softcap).tanh_()
    slope = torch.square(raw).neg_().add_(1.0).mul_(scale)
    raw.mul_(softcap)
    return slope


def capped_losses_(tile: Tensor, rows: Rows, options: LossOptions) -> Tensor:
    """Weighted losses [2, C] of capped logits `tile` [C, V], which becomes the gradient by them.

    Of `rows` this reads `weights`; `targets` where there is a cross-entropy; `ids`, `logprobs` and
    `log_tail` where there is a divergence.
    """
    kd = options.kd if rows.ids is not None else None
    mean = tile.mean(1) if options.ce and options.label_smoothing else None
    special = _take_special_(tile, rows, options)
    terms = []
    warm = None
    if kd is not None and kd.temperature != 1.0:
        warm = _exp_(tile / kd.temperature if options.ce else tile.div_(kd.temperature))
    plain = _exp_(tile) if options.ce or warm is None else warm
    if options.ce:
        terms.append(_cross_entropy(special, plain, mean, options))
    if kd is not None:
        terms.append(_sparse(kd, special, warm or plain, rows))
    _spread_(tile, terms, rows.weights)
    value = sum((term.special for term in terms), torch.zeros_like(special.logits))
    if mean is not None:
        even = options.ce * options.label_smoothing / tile.shape[1]
        tile.sub_((rows.weights * even)[:, None])
        value = value - even
    home = value[:, -1:] if special.target is not None else value[:, :1]
    k = special.padding.shape[1]
    value[:, :k] = torch.where(special.padding, home, value[:, :k])
    tile.scatter_(1, special.columns, rows.weights[:, None] * value)
    none = torch.zeros_like(rows.weights)
    ce = terms[0].loss if options.ce else none
    return rows.weights * torch.stack([sum((term.loss for term in terms), none), ce])


def _take_special_(tile: Tensor, rows: Rows, options: LossOptions) -> Special:
    """The special columns of `tile`, which holds -inf in their place afterwards."""
    count, device = len(tile), tile.device
    ids = rows.ids
    if ids is None or options.kd is None:
        ids = torch.empty(count, 0, dtype=torch.int64, device=device)
    padding = ids < 0
    if not options.ce:
        columns = torch.where(padding, ids[:, :1], ids)
        logits = tile.gather(1, columns).masked_fill_(padding, -torch.inf)
        tile.scatter_(1, columns, -torch.inf)
        return Special(columns, logits, None, torch.zeros_like(padding), padding)
    assert rows.targets is not None
    column = rows.targets[:, None]
    columns = torch.cat([torch.where(padding, column, ids), column], 1)
    logits = tile.gather(1, columns)
    at_target = ids == column
    target = logits[:, -1:].clone()
    among = at_target.any(1, keepdim=True)
    logits.masked_fill_(torch.cat([padding, among], 1), -torch.inf)
    tile.scatter_(1, columns, -torch.inf)
    return Special(columns, logits, target, at_target, padding)


def _exp_(tile: Tensor) -> Rest:
    """Turn `tile` [C, V] into `exp(z - max)`; a row of -inf alone has the sum 0, held as 1."""
    top = tile.amax(1)
    top = torch.where(top == -torch.inf, torch.zeros_like(top), top)
    total = tile.sub_(top[:, None]).exp_().sum(1)
    return Rest(tile, top + total.log(), torch.where(total == 0, torch.ones_like(total), total))


def _cross_entropy(special: Special, rest: Rest, mean: Tensor | None, options: LossOptions) -> Term:
    """Cross-entropy: `dl/du_j = s_j (1 + 2 z L) - e/V - (1 - e)[j = y]`, the e/V left out here.

    e is the smoothing, z the z-loss, L the logsumexp of the whole row.
    """
    assert special.target is not None
    smoothing, target = options.label_smoothing, special.target.squeeze(1)
    k = special.at_target.shape[1]
    others = special.logits[:, :k].masked_fill(special.at_target, -torch.inf)
    tail = torch.logaddexp(rest.lse, others.logsumexp(1)) if k else rest.lse
    lse = torch.logaddexp(tail, target)
    loss = (1 - smoothing) * F.softplus(tail - target) + options.z_loss * lse.square()
    if mean is not None:
        loss = loss + smoothing * (lse - mean)
    extra = 2 * options.z_loss * lse
    at_target = smoothing - torch.sigmoid(tail - target) + extra * torch.sigmoid(target - tail)
    entries = (1 + extra)[:, None] * (special.logits - lse[:, None]).exp()
    entries[:, -1] = at_target
    entries[:, :k] = torch.where(special.at_target, at_target[:, None], entries[:, :k])
    mass = (1 + extra) * (rest.lse - lse).exp()
    return Term(options.ce * loss, options.ce * entries, options.ce * mass, rest)


def _sparse(kd: Divergence, special: Special, rest: Rest, rows: Rows) -> Term:
    """The divergence of k + 1 buckets: the ids, and a tail that holds all other columns."""
    assert rows.logprobs is not None
    assert rows.log_tail is not None
    k = special.padding.shape[1]
    logits = special.logits / kd.temperature
    tail = rest.lse
    if special.target is not None:  # -inf where the target is an id
        tail = torch.logaddexp(tail, logits[:, -1])
    log_s = _log_shares(torch.cat([logits[:, :k], tail[:, None]], 1))
    log_q = rows.logprobs.masked_fill(special.padding, -torch.inf)
    log_tail = floored(kd, rows.log_tail).masked_fill(special.padding.all(1), 0.0)
    loss, slope = divergence(kd, torch.cat([log_q, log_tail[:, None]], 1), log_s)
    gradient = logit_gradient(slope, log_s)
    entries, into_tail = gradient[:, :k], gradient[:, k]
    mass = into_tail * (rest.lse - tail).exp().nan_to_num(0.0)
    if special.target is not None:
        at_id = (entries * special.at_target).sum(1)
        outside = into_tail * (logits[:, -1] - tail).exp().nan_to_num(0.0)
        entries = torch.cat([entries, (at_id + outside)[:, None]], 1)
    size = kd.weight * kd.temperature
    return Term(size * kd.temperature * loss, size * entries, size * mass, rest)


def _log_shares(logits: Tensor) -> Tensor:
    """log_softmax over the last axis, exact to the last digits also where one share is almost 1."""
    top, where = logits.max(-1, keepdim=True)
    shifted = logits - top
    others = shifted.exp().scatter_(-1, where, 0.0).sum(-1, keepdim=True)
    return shifted - torch.log1p(others)


def _spread_(tile: Tensor, terms: list[Term], weights: Tensor) -> None:
    """Fill `tile` with the gradient outside the special columns; the first rest lies in it."""
    first = terms[0].rest
    shared = [term for term in terms if term.rest is first]
    mass = sum((term.mass for term in shared), torch.zeros_like(weights))
    tile.mul_((weights * mass / first.total)[:, None])
    for term in terms:
        if term.rest is not first:
            tile.addcmul_(term.rest.exp, (weights * term.mass / term.rest.total)[:, None])
