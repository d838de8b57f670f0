"""`fused_linear_loss` with cross-entropy against its definition, differentiated in fp64."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distill.losses import fused_linear_loss, gemm, kernels
from traces.errors import DistillError

IMPLS = ["reference", "chunked"]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.1},
    {"z_loss": 1e-2},
    {"softcap": 5.0},
    {"scale": 0.3},
    {"ce": 0.25},
    {"ce": 0.5, "label_smoothing": 0.2, "z_loss": 1e-3, "softcap": 8.0, "scale": 1.7},
]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class Case(NamedTuple):
    hidden: Tensor
    weight: Tensor
    targets: Tensor
    token_weights: Tensor
    bias: Tensor


def make(
    n: int = 13, vocab: int = 37, width: int = 9, dtype: torch.dtype = torch.float64, seed: int = 0
) -> Case:
    gen = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=gen, dtype=torch.float64).to(dtype)

    targets = torch.randint(0, vocab, (n,), generator=gen)
    token_weights = torch.rand(n, generator=gen, dtype=torch.float64) + 0.1
    return Case(normal(n, width), normal(vocab, width), targets, token_weights, normal(vocab))


def defined(
    case: Case,
    ce: float = 1.0,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    scale: float = 1.0,
) -> Tensor:
    """The formulas of the design, from raw logits, in the dtype of the case."""
    u = scale * (case.hidden @ case.weight.T + case.bias)
    if softcap is not None:
        u = softcap * torch.tanh(u / softcap)
    lse = torch.log(torch.exp(u - u.amax()).sum(1)) + u.amax()
    at = u[torch.arange(len(u)), case.targets.clamp_min(0)]
    smooth = label_smoothing * (lse - u.mean(1))
    rows = (1 - label_smoothing) * (lse - at) + smooth + z_loss * lse.square()
    counted = torch.where(case.targets == -100, 0.0, case.token_weights)
    return torch.sum(ce * rows * counted)


def exact(case: Case) -> Case:
    return Case(*(part.double() if part.is_floating_point() else part for part in case))


def gradients(case: Case, loss: Any) -> list[Tensor]:
    """The loss and its gradients for hidden, weight and bias."""
    leaves = [case.hidden, case.weight, case.bias]
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    value = loss(Case(leaves[0], leaves[1], case.targets, case.token_weights, leaves[2]))
    return [value.detach(), *torch.autograd.grad(value, leaves)]


def ours(case: Case, **options: Any) -> list[Tensor]:
    return gradients(
        case,
        lambda c: fused_linear_loss(
            c.hidden, c.weight, c.targets, token_weights=c.token_weights, bias=c.bias, **options
        ),
    )


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want.double()).norm() / want.double().norm().clamp_min(1e-30))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options) or "plain")
def test_loss_and_gradients_equal_the_definition(impl: str, options: dict[str, Any]) -> None:
    case = make()
    case.targets[4] = -100
    for got, want in zip(
        ours(case, impl=impl, chunk=5, **options),
        gradients(case, lambda c: defined(c, **options)),
        strict=True,
    ):
        assert relative(got, want) < 1e-13


@given(
    n=st.integers(1, 12),
    vocab=st.integers(1, 40),
    width=st.integers(1, 8),
    chunk=st.integers(1, 14),
    seed=st.integers(0, 2**16),
    masked=st.integers(0, 12),
)
@settings(max_examples=60, deadline=None)
def test_any_size_chunk_and_mask_give_the_reference(
    n: int, vocab: int, width: int, chunk: int, seed: int, masked: int
) -> None:
    case = make(n, vocab, width, seed=seed)
    case.targets[:masked] = -100
    options = {"label_smoothing": 0.1, "z_loss": 1e-3}
    for got, want in zip(
        ours(case, impl="chunked", chunk=chunk, **options),
        ours(case, impl="reference", **options),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("impl", IMPLS)
def test_bf16_input_costs_no_more_than_its_rounding(impl: str) -> None:
    """Logits and dW are held in fp32: only the rounding of the results is left, 2^-9 each."""
    case = make(n=200, vocab=501, width=32, dtype=torch.bfloat16)
    want = gradients(exact(case), defined)
    got = ours(case, impl=impl, chunk=64)
    assert got[0].dtype == torch.float32
    assert [part.dtype for part in got[1:]] == [torch.bfloat16] * 3
    assert relative(got[0], want[0]) < 1e-6
    assert max(relative(g, w) for g, w in zip(got[1:], want[1:], strict=True)) < 2**-8


def test_fp32_error_is_that_of_plain_torch() -> None:
    case = make(n=64, vocab=1003, width=48, dtype=torch.float32)
    right = gradients(exact(case), defined)
    plain, chunks = gradients(case, defined), ours(case, impl="chunked", chunk=10)
    for got, naive, want in zip(chunks, plain, right, strict=True):
        assert relative(got, want) < 2 * relative(naive, want) + 1e-7


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_all_rows_masked_give_zero_and_zero_gradients(impl: str, reduction: str) -> None:
    case = make()
    case.targets.fill_(-100)
    for part in ours(case, impl=impl, reduction=reduction):
        assert not part.any()


@pytest.mark.parametrize("impl", IMPLS)
def test_dropped_rows_may_hold_anything(impl: str) -> None:
    case, clean = make(), make()
    case.hidden[3], case.hidden[5] = torch.nan, torch.inf
    case.targets[3] = clean.targets[3] = -100
    case.token_weights[5] = clean.token_weights[5] = 0.0
    case.targets[5] = 10**9
    for got, want in zip(ours(case, impl=impl), ours(clean, impl=impl), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_confident_token_keeps_its_gradient(smoothing: float) -> None:
    """p_y - 1 is -1.7e-7 here: fp32 cannot hold p_y closer to 1 than 6e-8."""
    weight = torch.tensor([[17.0], [0.0], [1.0], [-1.0]])
    case = Case(
        torch.ones(1, 1), weight, torch.zeros(1, dtype=torch.int64), torch.ones(1), torch.zeros(4)
    )
    got = ours(case, impl="chunked", label_smoothing=smoothing)
    want = ours(exact(case), impl="reference", label_smoothing=smoothing)
    assert got[2][0] != 0.0
    for part, true in zip(got, want, strict=True):
        torch.testing.assert_close(part.double(), true, rtol=1e-6, atol=0)


def test_batches_are_rows_and_mean_divides_by_the_weights() -> None:
    case = make(n=12)
    case.targets[7] = -100
    rows = fused_linear_loss(case.hidden, case.weight, case.targets, token_weights=None)
    batch = fused_linear_loss(case.hidden.view(3, 4, -1), case.weight, case.targets.view(3, 4))
    mean = fused_linear_loss(case.hidden, case.weight, case.targets, reduction="mean")
    torch.testing.assert_close(batch, rows, rtol=0, atol=0)
    torch.testing.assert_close(mean, rows / 11, rtol=1e-14, atol=0)


def test_a_frozen_head_gets_no_gradient_and_costs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("dW was computed for a frozen head")

    monkeypatch.setattr(gemm, "weight_gradient", forbidden)
    case = make()
    hidden = case.hidden.requires_grad_()
    loss = fused_linear_loss(hidden, case.weight, case.targets)
    assert torch.autograd.grad(loss, hidden)[0].any()
    with torch.no_grad():
        assert not fused_linear_loss(hidden, case.weight, case.targets).requires_grad


def test_backward_scales_by_the_upstream_gradient_and_may_run_twice() -> None:
    case = make()
    hidden = case.hidden.requires_grad_()
    loss = fused_linear_loss(hidden, case.weight, case.targets)
    (once,) = torch.autograd.grad(loss, hidden, retain_graph=True)
    (again,) = torch.autograd.grad(0.5 * loss, hidden)
    torch.testing.assert_close(again, 0.5 * once)


def test_accumulated_micro_batches_equal_one_batch() -> None:
    case = make(n=12)
    whole = ours(case)
    halves = [
        ours(Case(case.hidden[s], case.weight, case.targets[s], case.token_weights[s], case.bias))
        for s in (slice(0, 5), slice(5, 12))
    ]
    for index in (0, 2, 3):
        torch.testing.assert_close(halves[0][index] + halves[1][index], whole[index])
    torch.testing.assert_close(torch.cat([halves[0][1], halves[1][1]]), whole[1])


def test_autocast_takes_both_factors_in_its_dtype() -> None:
    case = make(n=20, vocab=50, width=16, dtype=torch.float32)
    narrow = case.hidden.bfloat16(), case.weight.bfloat16()
    want = fused_linear_loss(*narrow, case.targets)
    with torch.autocast("cpu", torch.bfloat16):
        got = fused_linear_loss(case.hidden, case.weight, case.targets)
        plain = fused_linear_loss(case.hidden, case.weight, case.targets, impl="reference")
    torch.testing.assert_close(got, want, rtol=0, atol=0)
    torch.testing.assert_close(plain, want)


def test_repeated_calls_are_bitwise_equal() -> None:
    case = make(n=100, vocab=301, dtype=torch.float32)
    for first, second in zip(ours(case, chunk=16), ours(case, chunk=16), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"impl": "fast"}, "impl is 'fast'; allowed: auto, reference, chunked"),
        ({"reduction": "none"}, "reduction is 'none'; allowed"),
        ({"chunk": 0}, "chunk is 0; allowed"),
        ({"ce": -1.0}, "ce is -1.0; allowed"),
        ({"label_smoothing": 1.5}, "label_smoothing is 1.5; allowed: 0 to 1"),
        ({"z_loss": float("nan")}, "z_loss is nan"),
        ({"softcap": 0.0}, "softcap is 0.0"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"hidden": torch.zeros(4, 3)}, r"hidden \(4, 3\) and weight \(37, 9\) do not fit"),
        ({"targets": torch.zeros(4, dtype=torch.long)}, r"targets has shape \(4,\)"),
        ({"targets": torch.zeros(13)}, "targets are torch.float32; allowed: integers"),
        ({"targets": torch.full((13,), 37)}, "a target is 37; allowed: 0 to 36, or -100"),
        ({"targets": torch.full((13,), -1)}, "a target is -1"),
        ({"token_weights": torch.ones(2)}, r"token_weights has shape \(2,\)"),
        ({"bias": torch.ones(2)}, r"bias has shape \(2,\), not \[V\]"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_misuse_names_the_argument(change: dict[str, Any], message: str) -> None:
    case = make()
    given = {"hidden": case.hidden, "weight": case.weight, "targets": case.targets} | change
    with pytest.raises(ValueError, match=message):
        fused_linear_loss(**given)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("name", ["hidden", "weight", "bias", "token_weights"])
def test_a_nan_is_named_with_its_place(impl: str, name: str) -> None:
    case = make()
    case.targets[0] = -100
    broken = case._asdict()[name]
    broken.view(-1)[-1] = torch.nan
    last = ", ".join(str(size - 1) for size in broken.shape)
    with pytest.raises(DistillError, match=rf"{name}\[{last}\] is nan \(1 such"):
        ours(case, impl=impl)


def test_auto_logs_its_choice_once(caplog: pytest.LogCaptureFixture) -> None:
    kernels._automatic.cache_clear()
    caplog.set_level(logging.INFO, logger="distill.losses")
    case = make()
    for _ in range(2):
        fused_linear_loss(case.hidden, case.weight, case.targets)
    assert [record.message for record in caplog.records] == [
        "loss implementation: chunked; not cuda, because the tensors are on cpu; "
        "not triton, because the tensors are on cpu"
    ]
