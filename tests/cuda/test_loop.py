"""The chunk loop around the CUDA kernels, with the kernels' sources run on the CPU."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.losses import chunked, cuda_rows, reference
from distill.losses.batch import Head, Rows
from distill.losses.cuda_args import dense_args, gradient_view, sparse_args
from distill.losses.kernels import TORCH, RowKernel
from distill.losses.options import Divergence, LossOptions


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def shim(kernels: ctypes.CDLL) -> RowKernel:
    def sparse(tile: Tensor, rows: Rows, options: LossOptions) -> tuple[Tensor, Tensor]:
        dtype, losses = rows.hidden.dtype, rows.weights.new_empty(2, len(rows.weights))
        args = sparse_args(tile, rows, options, losses)
        sizes = tile.element_size(), dtype.itemsize, ctypes.c_longlong(len(tile))
        kernels.run_sparse_rows(ctypes.byref(args), *sizes, 32, 0)
        return losses, gradient_view(tile, dtype)

    def dense(
        tile: Tensor, teacher: Tensor, rows: Rows, options: LossOptions
    ) -> tuple[Tensor, Tensor]:
        dtype, losses = rows.hidden.dtype, rows.weights.new_empty(2, len(rows.weights))
        args = dense_args(tile, teacher, rows, options, losses)
        sizes = dtype.itemsize, ctypes.c_longlong(len(tile))
        kernels.run_dense_rows(ctypes.byref(args), *sizes, 32, 0)
        return losses, gradient_view(tile, dtype)

    return TORCH._replace(name="shim", tile=cuda_rows.tile, sparse=sparse, dense=dense)


def make(dtype: torch.dtype) -> tuple[Rows, Head]:
    gen = torch.Generator().manual_seed(0)
    n, vocab, width, k = 23, 131, 16, 4
    hidden = torch.randn(n, width, generator=gen).to(dtype)
    weight = torch.randn(vocab, width, generator=gen).to(dtype)
    weights = torch.rand(n, generator=gen)
    weights[::5] = 0.0
    targets = torch.randint(0, vocab, (n,), generator=gen)
    log_p = torch.log_softmax(torch.randn(n, vocab, generator=gen), 1)
    top = log_p.topk(k, 1)
    tail = log_p.scatter(1, top.indices, -torch.inf).logsumexp(1)
    rows = Rows(hidden, weights, targets, top.indices, top.values, tail)
    return rows, Head(weight, torch.randn(vocab, generator=gen).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize(
    "options",
    [LossOptions(), LossOptions(ce=0.5, kd=Divergence("jsd", 0.5, 2.0), softcap=20.0)],
    ids=["ce", "ce+jsd"],
)
def test_the_loop_gives_the_gradients_of_the_reference(
    shim: RowKernel, dtype: torch.dtype, options: LossOptions, resident: bool
) -> None:
    """fp32 to rounding; bf16 within what rounding logits (2^-9 of about 10) and dZ once costs."""
    rows, head = make(dtype)
    if options.kd is None:
        rows = rows._replace(ids=None, logprobs=None, log_tail=None)
    teacher = None
    if resident and options.kd is not None:
        gen = torch.Generator().manual_seed(1)
        rows = rows._replace(teacher=torch.randn(23, 24, generator=gen).to(dtype))
        teacher = Head(torch.randn(131, 24, generator=gen).to(dtype), None)
    got = chunked.run(rows, head, teacher, options, chunked.Wanted(True, True, True), shim, 6)
    leaves = [rows.hidden.double(), head.weight.double()]
    if head.bias is not None:
        leaves.append(head.bias.double())
    for leaf in leaves:
        leaf.requires_grad_()
    exact = Rows._make(
        part.double() if part is not None and part.is_floating_point() else part for part in rows
    )
    loss = reference.linear_loss(
        exact._replace(hidden=leaves[0]), Head(*leaves[1:]), teacher, options
    )
    wants: list[Any] = [loss.detach(), *torch.autograd.grad(loss, leaves)]
    for part, want in zip(got[:4], wants, strict=True):
        assert part is not None
        error = (part.double() - want).norm() / want.norm()
        assert error < (2e-6 if dtype == torch.float32 else 1.2e-2)
    parts = reference.linear_parts(exact, Head(*leaves[1:]), teacher, options)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(
        got.stats[:2].double(), torch.stack(parts).detach(), rtol=tolerance, atol=tolerance
    )


def test_a_divergence_gets_fp32_logits_and_cross_entropy_those_of_the_input() -> None:
    rows, _ = make(torch.bfloat16)
    assert cuda_rows.tile(2, 131, rows, LossOptions()).dtype == torch.bfloat16
    assert cuda_rows.tile(2, 131, rows, LossOptions(kd=Divergence())).dtype == torch.float32
