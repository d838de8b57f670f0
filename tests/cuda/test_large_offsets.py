"""Tiles of more than 2^31 logits: rows a billion apart, in memory that is only promised."""

from __future__ import annotations

import ctypes
import mmap

import pytest
import torch
from torch import Tensor

from distill.losses.cuda_args import dense_args, gradient_view, sparse_args
from distill.losses.cuda_cluster import slice_bytes
from distill.losses.cuda_score import score_args
from distill.losses.options import Divergence, LossOptions
from tests.cuda import test_dense_rows as dense_rows
from tests.cuda import test_score_rows as score_rows
from tests.cuda import test_sparse_rows as sparse_rows

ROWS, STRIDE = 3, 2**30 + 8
NORESERVE = 0x4000  # MAP_NORESERVE of Linux, which Python's mmap does not name everywhere
BF16 = torch.bfloat16


@pytest.fixture
def spaced() -> list[Tensor]:
    """Two tiles [3, 301] whose last row starts at element 2^31 + 16."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE
    try:
        maps = [mmap.mmap(-1, 4 * ROWS * STRIDE, flags=flags) for _ in range(2)]
    except OSError as error:
        pytest.skip(f"needs 26 GB of address space: {error}")
    return [
        torch.frombuffer(place, dtype=torch.float32).view(ROWS, STRIDE)[:, :301] for place in maps
    ]


def test_sparse_rows(kernels: ctypes.CDLL, spaced: list[Tensor]) -> None:
    case, options = sparse_rows.make(torch.float32, n=3), LossOptions(0.5, kd=Divergence("jsd"))
    tile, losses = spaced[0].copy_(case.logits), torch.empty(ROWS)
    args = sparse_args(tile, case.rows, options, losses)
    kernels.run_sparse_rows(ctypes.byref(args), 4, 2, ctypes.c_longlong(ROWS), 32, 0)
    got = losses, gradient_view(tile, BF16)
    sparse_rows.agree(got, sparse_rows.expected(case, options), BF16)


def test_sparse_cluster(kernels: ctypes.CDLL, spaced: list[Tensor]) -> None:
    case, options = sparse_rows.make(torch.float32, n=3), LossOptions(0.5, kd=Divergence("jsd"))
    tile, losses = spaced[0].copy_(case.logits), torch.empty(ROWS)
    args = sparse_args(tile, case.rows, options, losses)
    shared = ctypes.c_size_t(slice_bytes(301, 4))
    rows = ctypes.c_longlong(ROWS)
    kernels.run_sparse_cluster(ctypes.byref(args), 4, 2, rows, 32, 0, shared)
    got = losses, gradient_view(tile, BF16)
    sparse_rows.agree(got, sparse_rows.expected(case, options), BF16)


@pytest.mark.parametrize("kind", ["forward_kl", "jsd"])
def test_dense_rows(kernels: ctypes.CDLL, spaced: list[Tensor], kind: str) -> None:
    case = dense_rows.make(n=3)
    options = LossOptions(0.5, kd=Divergence(kind))  # type: ignore[arg-type]
    tile, teacher = spaced[0].copy_(case.student), spaced[1].copy_(case.teacher)
    losses = torch.empty(ROWS)
    args = dense_args(tile, teacher, case.rows, options, losses)
    kernels.run_dense_rows(ctypes.byref(args), 2, ctypes.c_longlong(ROWS), 32, 0)
    got = losses, gradient_view(tile, BF16)
    dense_rows.agree(got, dense_rows.expected(case, options), BF16)


def test_score_rows(kernels: ctypes.CDLL, spaced: list[Tensor]) -> None:
    logits, targets = score_rows.make(ROWS, 301)
    args, out = score_args(spaced[0].copy_(logits), targets, 7, (1.0,), None, 1.0)
    kernels.run_score_rows(ctypes.byref(args), 1, ctypes.c_longlong(ROWS), 32, 0)
    score_rows.agree(out, logits.double(), targets, (1.0,))
