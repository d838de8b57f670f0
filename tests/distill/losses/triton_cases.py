"""`triton_rows` against the reference in fp64, on the CPU by Triton's interpreter.

Triton chooses between compiling and interpreting when it is imported, so this file is run by
`test_triton.py` in a process of its own and is not collected otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.losses import triton_rows
from distill.losses.cuda_args import KINDS, gradient_view, padded_tile
from distill.losses.options import Divergence, LossOptions
from tests.cuda import test_dense_rows as dense_rows
from tests.cuda import test_sparse_rows as sparse_rows
from tests.cuda.test_sparse_rows import BF16, DTYPES, FP32, Case, Rows

# The interpreter is numpy, which warns of what masked lanes compute.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

EXHAUSTIVE = pytest.mark.exhaustive
# Of temperature and share of cross-entropy: two settings that differ in both, then the others.
SETTINGS = [
    (1.0, 0.0),
    (2.0, 0.5),
    pytest.param(1.0, 0.5, marks=EXHAUSTIVE),
    pytest.param(2.0, 0.0, marks=EXHAUSTIVE),
]
EVERYTHING: dict[str, Any] = {"label_smoothing": 0.1, "z_loss": 1e-2, "softcap": 25.0}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_rows, "BLOCK", 64)
    monkeypatch.setattr(triton_rows, "WARPS", 1)


def copied(logits: Tensor) -> Tensor:
    tile = padded_tile(*logits.shape, logits.dtype, torch.device("cpu"))
    return tile.copy_(logits)


def agree(got: tuple[Tensor, Tensor], want: tuple[Tensor, Tensor], dtype: torch.dtype) -> None:
    """As the CUDA kernels must, but that the interpreter cuts off to bf16 where a GPU rounds."""
    if dtype == FP32:
        return dense_rows.agree(got, want, FP32)
    dense_rows.agree((got[0], want[1]), want, FP32)
    torch.testing.assert_close(got[1].double(), want[1], rtol=2**-7, atol=4e-7)


def check_sparse(case: Case, options: LossOptions, dtype: torch.dtype) -> None:
    if not options.ce:  # rows without a teacher are dropped before
        case = Case(case.logits[1:], case.rows.part(slice(1, None)))
    tile, rows = copied(case.logits), sparse_rows.used(case.rows, options)
    got = triton_rows.sparse(tile, rows._replace(hidden=rows.hidden.to(dtype)), options)
    assert torch.equal(got[1], gradient_view(tile, dtype))
    agree((got[0][0], got[1]), sparse_rows.expected(case, options), dtype)
    plain = replace(options, kd=None) if options.ce else options
    part = sparse_rows.expected(case, plain)[0] * (options.ce > 0)
    torch.testing.assert_close(got[0][1].double(), part, rtol=2e-6, atol=2e-6)


def check_dense(case: dense_rows.Case, options: LossOptions, dtype: torch.dtype) -> None:
    rows = case.rows._replace(hidden=case.rows.hidden.to(dtype))
    teacher = copied(case.teacher)
    got = triton_rows.dense(copied(case.student), teacher, rows, options)
    assert torch.equal(teacher, case.teacher)
    agree((got[0][0], got[1]), dense_rows.expected(case, options), dtype)


@pytest.mark.parametrize(("logit", "gradient"), DTYPES)
@pytest.mark.parametrize("more", [{}, EVERYTHING, {"scale": -0.7}], ids=lambda more: len(more))
def test_cross_entropy(logit: torch.dtype, gradient: torch.dtype, more: dict[str, Any]) -> None:
    check_sparse(sparse_rows.make(logit), LossOptions(**more), gradient)


@pytest.mark.parametrize(("temperature", "ce"), SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_sparse_divergences(kind: Any, temperature: float, ce: float) -> None:
    options = LossOptions(ce, kd=Divergence(kind, 0.7, temperature))
    check_sparse(sparse_rows.make(FP32, n=4), options, FP32)


@pytest.mark.parametrize(("logit", "gradient"), DTYPES[1:])
@pytest.mark.parametrize("ce", [0.0, 0.5])
def test_narrow_logits_and_gradients(ce: float, logit: torch.dtype, gradient: torch.dtype) -> None:
    options = LossOptions(ce, kd=Divergence("skew_kl", 0.7, 2.0))
    check_sparse(sparse_rows.make(logit, n=4), options, gradient)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_sparse_divergences_with_everything_else(temperature: float) -> None:
    options = LossOptions(0.3, scale=1.3, kd=Divergence("jsd", 0.7, temperature), **EVERYTHING)
    check_sparse(sparse_rows.make(FP32, n=4), options, BF16)


@pytest.mark.usefixtures("short_blocks")
@pytest.mark.parametrize("vocab", [2, 65, pytest.param(301, marks=EXHAUSTIVE)])
@pytest.mark.parametrize(("logit", "gradient"), DTYPES)
def test_odd_vocabularies_in_several_stretches(
    logit: torch.dtype, gradient: torch.dtype, vocab: int
) -> None:
    case = sparse_rows.make(logit, n=3, vocab=vocab, k=1)
    check_sparse(case, LossOptions(0.5, kd=Divergence()), gradient)


@pytest.mark.parametrize("k", [1, 33, 128])
@pytest.mark.parametrize("ce", [0.0, 0.5])
def test_any_k(k: int, ce: float) -> None:
    check_sparse(sparse_rows.make(FP32, n=4, k=k), LossOptions(ce, kd=Divergence("jsd")), FP32)


def test_all_columns_special() -> None:
    options = LossOptions(0.5, kd=Divergence("reverse_kl"))
    check_sparse(sparse_rows.make(FP32, vocab=16, k=16), options, FP32)


def test_a_confident_token_keeps_its_gradient() -> None:
    """p_y - 1 is -5.7e-7, less than ten roundings of fp32 next to 1."""
    logits = torch.zeros(1, 64)
    logits[0, 5] = 18.52
    case = Case(logits, Rows(torch.empty(1, 0), torch.ones(1), torch.tensor([5])))
    (loss, _), gradient = triton_rows.sparse(copied(logits), case.rows, LossOptions())
    want_loss, want = sparse_rows.expected(case, LossOptions())
    assert -6e-7 < want[0, 5] < -5e-7
    torch.testing.assert_close(gradient.double(), want, rtol=2e-6, atol=0)
    torch.testing.assert_close(loss.double(), want_loss, rtol=2e-6, atol=0)


@pytest.mark.parametrize(("temperature", "ce"), SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_dense_divergences(kind: Any, temperature: float, ce: float) -> None:
    options = LossOptions(ce, kd=Divergence(kind, 0.7, temperature))
    check_dense(dense_rows.make(n=3), options, FP32)


@pytest.mark.parametrize("kind", KINDS)
def test_dense_divergences_with_everything_else(kind: Any) -> None:
    kd = Divergence(kind, 0.7, 2.0)
    more = {"scale": 1.3, "teacher_softcap": 20.0, "teacher_scale": -0.8}
    check_dense(dense_rows.make(n=3), LossOptions(0.3, kd=kd, **EVERYTHING, **more), FP32)


@pytest.mark.usefixtures("short_blocks")
@pytest.mark.parametrize("vocab", [2, 65, pytest.param(301, marks=EXHAUSTIVE)])
@pytest.mark.parametrize("dtype", [FP32, BF16])
def test_odd_dense_vocabularies(dtype: torch.dtype, vocab: int) -> None:
    case = dense_rows.make(n=3, vocab=vocab)
    check_dense(case, LossOptions(0.5, kd=Divergence("jsd")), dtype)
