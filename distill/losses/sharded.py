"""Parameters that FSDP2 has sharded, whole for the one moment they are needed."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial

MaybeTensor = TypeVar("MaybeTensor", Tensor, Tensor | None)


def whole(tensor: MaybeTensor) -> MaybeTensor:
    """All of a `DTensor`, and a plain tensor as it is.

    The gradient goes back as FSDP's does: the mean over the ranks, each with its own shard. So a
    head whose parent's hooks gathered it already (a plain tensor here) and one that was sharded by
    itself learn the same.
    """
    if not isinstance(tensor, DTensor):
        return tensor
    mesh = tensor.device_mesh
    full = tensor.full_tensor(grad_placements=[Partial()] * mesh.ndim)
    scaled: Tensor = _ScaledGradient.apply(full, 1.0 / mesh.size())  # type: ignore[no-untyped-call]
    return scaled


class _ScaledGradient(torch.autograd.Function):
    """The identity, with its gradient multiplied: gloo has no mean of its own."""

    @staticmethod
    def forward(ctx: object, tensor: Tensor, factor: float) -> Tensor:
        ctx.factor = factor  # type: ignore[attr-defined]
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None  # type: ignore[attr-defined]
