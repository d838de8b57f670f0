"""`cuda/dense_rows.cu`, run on the CPU, against the reference in fp64."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from distill.losses import reference
from distill.losses.batch import Head, Rows
from distill.losses.cuda_args import KINDS, DenseArgs, dense_args, gradient_view, padded_tile
from distill.losses.options import Divergence, LossOptions

FP32, BF16 = torch.float32, torch.bfloat16


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class Case(NamedTuple):
    student: Tensor
    teacher: Tensor
    rows: Rows


def make(n: int = 4, vocab: int = 301) -> Case:
    """Row 0's target is its largest logit, row 1 is sure of it, row 2 has a tie at the top."""
    gen = torch.Generator().manual_seed(0)
    student = 3 * torch.randn(n, vocab, generator=gen)
    teacher = student + torch.randn(n, vocab, generator=gen)
    targets = torch.randint(0, vocab, (n,), generator=gen)
    targets[:2] = student[:2].argmax(1)
    student[1, targets[1]] = 30.0
    student[2, [0, vocab - 1]] = 12.0
    return Case(student, teacher, Rows(torch.empty(n, 0), torch.rand(n, generator=gen), targets))


def run(
    kernels: ctypes.CDLL,
    case: Case,
    options: LossOptions,
    dtype: torch.dtype,
    *,
    threads: int = 32,
    order: int = 0,
) -> tuple[Tensor, Tensor]:
    n, vocab = case.student.shape
    tile, teacher = (padded_tile(n, vocab, FP32, torch.device("cpu")) for _ in range(2))
    tile.copy_(case.student)
    teacher.copy_(case.teacher)
    losses = torch.empty(n)
    args = dense_args(tile, teacher, case.rows, options, losses)
    size = dtype.itemsize
    kernels.run_dense_rows(ctypes.byref(args), size, ctypes.c_longlong(n), threads, order)
    assert torch.equal(teacher, case.teacher)
    return losses, gradient_view(tile, dtype).clone()


def expected(case: Case, options: LossOptions) -> tuple[Tensor, Tensor]:
    logits = case.student.double().requires_grad_()
    eye = Head(torch.eye(logits.shape[1], dtype=torch.float64), None)
    u = reference.logits(logits, eye, options.softcap, options.scale)
    v = reference.logits(case.teacher.double(), eye, options.teacher_softcap, options.teacher_scale)
    kd = options.kd
    assert kd is not None
    log_s = torch.log_softmax(u / kd.temperature, 1)
    log_q = torch.log_softmax(v / kd.temperature, 1)
    loss = kd.weight * kd.temperature**2 * reference.between(kd, log_q, log_s)
    if options.ce:
        assert case.rows.targets is not None
        loss = loss + reference.cross_entropy(u, case.rows.targets, options)
    loss = loss * case.rows.weights
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    return loss.detach(), gradient


def agree(got: tuple[Tensor, Tensor], want: tuple[Tensor, Tensor], dtype: torch.dtype) -> None:
    """Losses within 4e-6 of a sum of 301 terms; gradients within fp32's, or bf16's, rounding."""
    scale = want[0].abs().clamp_min(1.0)
    assert ((got[0].double() - want[0]).abs() / scale).max() < 4e-6
    rounding = 1e-5 if dtype == FP32 else 2**-8
    torch.testing.assert_close(got[1].double(), want[1], rtol=rounding, atol=4e-7)


def test_the_arguments_have_the_same_size_on_both_sides(kernels: ctypes.CDLL) -> None:
    assert kernels.dense_args_size() == ctypes.sizeof(DenseArgs)


@pytest.mark.parametrize("dtype", [FP32, BF16])
@pytest.mark.parametrize("ce", [0.0, 0.5])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("kind", KINDS)
def test_divergences(
    kernels: ctypes.CDLL, kind: Any, temperature: float, ce: float, dtype: torch.dtype
) -> None:
    case, options = make(), LossOptions(ce, kd=Divergence(kind, 0.7, temperature))
    agree(run(kernels, case, options, dtype), expected(case, options), dtype)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("kind", KINDS)
def test_divergences_with_everything_else(
    kernels: ctypes.CDLL, kind: Any, temperature: float
) -> None:
    case, kd = make(), Divergence(kind, 0.7, temperature)
    options = LossOptions(0.3, 0.1, 1e-2, 25.0, 1.3, kd, 20.0, 0.8)
    agree(run(kernels, case, options, FP32), expected(case, options), FP32)
    bare = LossOptions(0.3, kd=kd, teacher_softcap=20.0, teacher_scale=-0.8)
    agree(run(kernels, case, bare, BF16), expected(case, bare), BF16)


@pytest.mark.parametrize("vocab", [2, 3, 5, 127, 128, 129, 1031])
@pytest.mark.parametrize("dtype", [FP32, BF16])
def test_odd_vocabularies(kernels: ctypes.CDLL, dtype: torch.dtype, vocab: int) -> None:
    case, options = make(vocab=vocab), LossOptions(0.5, kd=Divergence("jsd"))
    agree(run(kernels, case, options, dtype), expected(case, options), dtype)


@pytest.mark.parametrize("threads", [64, 96, 256])
@pytest.mark.parametrize("kind", ["forward_kl", "reverse_kl", "skew_kl"])
def test_threads_and_their_order_change_nothing(
    kernels: ctypes.CDLL, kind: Any, threads: int
) -> None:
    case, options = make(n=3, vocab=2051), LossOptions(0.5, kd=Divergence(kind, 0.5, 2.0))
    first = run(kernels, case, options, BF16, threads=threads)
    agree(first, expected(case, options), BF16)
    for order in (1, 2, 3):
        again = run(kernels, case, options, BF16, threads=threads, order=order)
        assert torch.equal(first[0], again[0])
        assert torch.equal(first[1], again[1])


@pytest.mark.parametrize("kind", KINDS)
def test_near_convergence_the_gradient_keeps_its_digits(kernels: ctypes.CDLL, kind: Any) -> None:
    """Student and teacher differ by 0.01 in a logit: the gradient is 0.5 % of a share or less."""
    case, options = make(), LossOptions(0.0, kd=Divergence(kind))
    gen = torch.Generator().manual_seed(1)
    near = case.student + 0.01 * torch.randn(case.student.shape, generator=gen)
    case = case._replace(teacher=near)
    got, want = run(kernels, case, options, FP32), expected(case, options)
    assert (got[1].double() - want[1]).norm() / want[1].norm() < 3e-4
