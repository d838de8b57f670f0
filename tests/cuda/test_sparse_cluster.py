"""`cuda/sparse_cluster.cu`, its clusters run on the CPU, against the reference in fp64."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.losses.cuda_args import KINDS, gradient_view, padded_tile, sparse_args
from distill.losses.cuda_cluster import slice_bytes
from distill.losses.options import LossOptions
from tests.cuda.test_sparse_rows import (
    BF16,
    DTYPES,
    FP32,
    Case,
    agree,
    expected,
    make,
    options,
    used,
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run(
    kernels: ctypes.CDLL,
    case: Case,
    options: LossOptions,
    dtype: torch.dtype,
    *,
    threads: int = 32,
    order: int = 0,
) -> tuple[Tensor, Tensor]:
    """Losses and gradient; each block has the shared memory that a launch on a GPU would give."""
    n, vocab = case.logits.shape
    tile = padded_tile(n, vocab, case.logits.dtype, torch.device("cpu"))
    tile.copy_(case.logits)
    losses = torch.empty(n)
    rows = used(case.rows, options)
    args = sparse_args(tile, rows, options, losses)
    kernels.run_sparse_cluster(
        ctypes.byref(args),
        tile.element_size(),
        dtype.itemsize,
        ctypes.c_longlong(n),
        threads,
        order,
        ctypes.c_size_t(slice_bytes(vocab, tile.element_size())),
    )
    return losses, gradient_view(tile, dtype).clone()


def with_teachers(case: Case) -> Case:
    """Without the row that has none: a divergence alone drops it before."""
    return Case(case.logits[1:], case.rows.part(slice(1, None)))


@pytest.mark.parametrize(("logit", "gradient"), DTYPES)
@pytest.mark.parametrize(
    "more",
    [{}, {"ce": 0.4, "label_smoothing": 0.2, "z_loss": 1e-3, "softcap": 30.0, "scale": -0.7}],
    ids=["plain", "everything"],
)
def test_cross_entropy(
    kernels: ctypes.CDLL, logit: torch.dtype, gradient: torch.dtype, more: dict[str, Any]
) -> None:
    case, opts = make(logit), options(None, **more)
    agree(run(kernels, case, opts, gradient), expected(case, opts), gradient)


@pytest.mark.parametrize(("logit", "gradient"), DTYPES)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("kind", KINDS)
def test_divergences(
    kernels: ctypes.CDLL,
    kind: str,
    temperature: float,
    logit: torch.dtype,
    gradient: torch.dtype,
) -> None:
    """By themselves, and with all that can go with them."""
    more = {"ce": 0.3, "label_smoothing": 0.1, "z_loss": 1e-2, "softcap": 25.0, "scale": 1.3}
    alone, mixed = options(kind, temperature, ce=0.0), options(kind, temperature, **more)
    case = make(logit)
    for part, opts in ((with_teachers(case), alone), (case, mixed)):
        agree(run(kernels, part, opts, gradient), expected(part, opts), gradient)


@pytest.mark.parametrize("vocab", [2, 3, 31, 32, 33, 63, 65, 127, 511, 513, 4099])
@pytest.mark.parametrize(("logit", "gradient"), DTYPES)
def test_odd_vocabularies(
    kernels: ctypes.CDLL, logit: torch.dtype, gradient: torch.dtype, vocab: int
) -> None:
    """Below 32 columns some blocks hold none; 4099 take more than one stretch of the copy."""
    case, opts = make(logit, n=4, vocab=vocab, k=1), options("forward_kl", ce=0.5)
    agree(run(kernels, case, opts, gradient), expected(case, opts), gradient)


@pytest.mark.parametrize("k", [1, 2, 31, 32, 33, 64, 127, 128])
def test_any_k(kernels: ctypes.CDLL, k: int) -> None:
    case, opts = make(FP32, n=4, k=k), options("jsd", ce=0.5)
    agree(run(kernels, case, opts, FP32), expected(case, opts), FP32)


def test_all_columns_special(kernels: ctypes.CDLL) -> None:
    case, opts = make(FP32, vocab=16, k=16), options("reverse_kl", ce=0.5)
    agree(run(kernels, case, opts, FP32), expected(case, opts), FP32)


def test_special_columns_on_both_sides_of_each_slice(kernels: ctypes.CDLL) -> None:
    """The first and the last column of every block."""
    case, opts = make(FP32, n=1, vocab=256, k=16), options("skew_kl", ce=0.5)
    ids = torch.tensor([[at for start in range(0, 256, 32) for at in (start, start + 31)]])
    log_p = torch.log_softmax(case.logits.double(), 1)
    tail = log_p.scatter(1, ids, -torch.inf).logsumexp(1).float()
    rows = case.rows._replace(ids=ids, logprobs=log_p.gather(1, ids).float(), log_tail=tail)
    for target in (0, 31, 32, 255, 100):
        case = Case(case.logits, rows._replace(targets=torch.tensor([target])))
        agree(run(kernels, case, opts, BF16), expected(case, opts), BF16)


@pytest.mark.parametrize(("logit", "gradient"), DTYPES)
@pytest.mark.parametrize("threads", [32, 96])
def test_blocks_and_their_order_change_nothing(
    kernels: ctypes.CDLL, threads: int, logit: torch.dtype, gradient: torch.dtype
) -> None:
    """Every order of blocks and threads between barriers gives the same bits."""
    case, opts = make(logit, n=3, vocab=2051), options("skew_kl", 2.0, ce=0.5)
    first = run(kernels, case, opts, gradient, threads=threads)
    agree(first, expected(case, opts), gradient)
    for order in (1, 2, 3):
        again = run(kernels, case, opts, gradient, threads=threads, order=order)
        assert torch.equal(first[0], again[0])
        assert torch.equal(first[1], again[1])


def test_a_row_of_weight_zero_has_neither_loss_nor_gradient(kernels: ctypes.CDLL) -> None:
    """The host drops such rows; the kernel must not make a NaN of one that comes through."""
    case, opts = make(FP32, n=3), options("forward_kl", ce=0.5)
    weights = torch.tensor([1.0, 0.0, 1.0])
    case = Case(case.logits, case.rows._replace(weights=weights))
    losses, gradient = run(kernels, case, opts, FP32)
    agree((losses, gradient), expected(case, opts), FP32)
    assert losses[1] == 0
    assert not gradient[1].any()


def test_a_confident_token_keeps_its_gradient(kernels: ctypes.CDLL) -> None:
    """p_y - 1 is -5.7e-7, less than ten roundings of fp32 next to 1."""
    case, opts = make(FP32, n=1, vocab=64, k=1), LossOptions()
    logits = torch.zeros(1, 64)
    logits[0, 5] = 18.52
    case = Case(logits, case.rows._replace(targets=torch.tensor([5]), weights=torch.ones(1)))
    loss, gradient = run(kernels, case, opts, FP32)
    want_loss, want = expected(case, opts)
    assert -6e-7 < want[0, 5] < -5e-7
    torch.testing.assert_close(gradient.double(), want, rtol=2e-6, atol=0)
    torch.testing.assert_close(loss.double(), want_loss, rtol=2e-6, atol=0)


def test_padding_of_the_tile_is_neither_read_nor_written(kernels: ctypes.CDLL) -> None:
    case, opts = make(FP32, vocab=301), LossOptions()
    whole = torch.full((5, 304), torch.nan)
    whole[:, :301] = case.logits
    losses = torch.empty(5)
    args = sparse_args(whole[:, :301], used(case.rows, opts), opts, losses)
    shared = ctypes.c_size_t(slice_bytes(301, 4))
    kernels.run_sparse_cluster(ctypes.byref(args), 4, 4, ctypes.c_longlong(5), 32, 0, shared)
    assert whole[:, 301:].isnan().all()
    agree((losses, whole[:, :301]), expected(case, opts), FP32)
