"""The two sweeps over a row, in torch: sums of its logits, and the gradient over them.

What lies between, the k + 1 special columns of a row, is `rows`' business.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from distill.losses.options import LossOptions
from distill.losses.special import Columns, write_


class Rest(NamedTuple):
    """Of the columns that are not special, per row [C]: logsumexps, and the sum of u.

    `lse` is at the temperature of the cross-entropy, or of a divergence alone; `warm` at that of a
    divergence beside a cross-entropy, where they differ; `total` is given for label smoothing.
    """

    lse: Tensor
    warm: Tensor | None
    total: Tensor | None


class Mass(NamedTuple):
    """The gradient of the rest, per row [C].

    `dl/du_j = lse exp(u_j / t - rest.lse) + warm exp(u_j / T - rest.warm) - even`.
    """

    lse: Tensor
    warm: Tensor | None
    even: Tensor | None


class Sweeps(Protocol):
    """Two sweeps over one tile, called in this order."""

    def sums(self) -> Rest:
        """Sums over the columns that are not special."""

    def gradient(self, mass: Mass) -> Tensor:
        """The gradient [C, V] by the raw logits, over the tile; special columns hold anything."""


class Exps(NamedTuple):
    """`exp(z - max)` [C, V], its sum and logsumexp(z) [C]; a row of -inf alone has the sum 1."""

    exp: Tensor
    total: Tensor
    lse: Tensor


class TorchSweeps:
    """`Sweeps` in torch, on any device and in fp32 or fp64."""

    def __init__(self, tile: Tensor, columns: Columns, options: LossOptions) -> None:
        self.tile, self.columns, self.options = tile, columns, options
        self.slope: Tensor | None = None
        self.plain: Exps
        self.warm: Exps | None = None

    def sums(self) -> Rest:
        """See `Sweeps`."""
        tile, options = self.tile, self.options
        self.slope = cap_(tile, options.softcap, options.scale)
        total = None
        if options.ce and options.label_smoothing:
            self._fill(0.0)
            total = tile.sum(1)
        self._fill(-torch.inf)
        first, second = temperatures(options)
        if second is not None:
            self.warm = _exp_(tile / second)
        self.plain = _exp_(tile if first == 1.0 else tile.div_(first))
        return Rest(self.plain.lse, self.warm and self.warm.lse, total)

    def gradient(self, mass: Mass) -> Tensor:
        """See `Sweeps`."""
        tile = self.tile.mul_((mass.lse / self.plain.total)[:, None])
        if self.warm is not None and mass.warm is not None:
            tile.addcmul_(self.warm.exp, (mass.warm / self.warm.total)[:, None])
        if mass.even is not None:
            tile.sub_(mass.even[:, None])
        scale = self.options.scale
        if self.slope is not None:
            tile.mul_(self.slope)
        elif scale != 1.0:
            tile.mul_(scale)
        return tile

    def _fill(self, value: float) -> None:
        write_(self.tile, self.columns, self.tile.new_full(self.columns.column.shape, value))


def temperatures(options: LossOptions) -> tuple[float, float | None]:
    """The temperatures of `Rest.lse` and of `Rest.warm`."""
    kd = options.kd
    if kd is None:
        return 1.0, None
    if not options.ce:
        return kd.temperature, None
    return 1.0, kd.temperature if kd.temperature != 1.0 else None


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


def _exp_(tile: Tensor) -> Exps:
    top = tile.amax(1)
    top = torch.where(top == -torch.inf, torch.zeros_like(top), top)
    total = tile.sub_(top[:, None]).exp_().sum(1)
    lse = top + total.log()
    return Exps(tile, torch.where(total == 0, torch.ones_like(total), total), lse)
