"""Inputs of the loss benchmark, our providers, and the bare products they are held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from distill.losses import DenseTeacher, Divergence, SparseTeacher, fused_linear_loss, score
from distill.losses.options import IGNORE, Impl

TEMPERATURE, K, BELOW = 1.0, 20, 2.0**-12
REGIMES = {
    "flat": "random hidden states and weights",
    "peaked": "hidden states that point at their target by varying degrees, as in a trained model",
    "masked": "like peaked, with 30 % of the rows left out",
}
KINDS = ("ce", "forward_kl", "jsd", "dense_kl", "dense_jsd", "score")
FLOORS = {"dense_kl": "G4", "dense_jsd": "G4", "score": "G1"}  # all others: G3


class Case(NamedTuple):
    hidden: Tensor
    weight: Tensor
    targets: Tensor
    teacher: SparseTeacher
    dense: DenseTeacher


class Shape(NamedTuple):
    rows: int
    vocab: int
    width: int


Step = Callable[[Case], Tensor]


def make(
    shape: Shape, regime: str, dtype: torch.dtype, device: str, *, resident: bool = True
) -> Case:
    """Inputs of one regime; the stored top k contains the target, the dense teacher is 2 H wide.

    Where none is `resident` it is left empty.
    """
    gen = torch.Generator(device).manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=gen, device=device)

    weight = normal(shape.vocab, shape.width) / shape.width**0.5
    targets = torch.randint(0, shape.vocab, (shape.rows,), generator=gen, device=device)
    hidden = normal(shape.rows, shape.width)
    if regime != "flat":
        sure = torch.rand(shape.rows, 1, generator=gen, device=device)
        hidden = hidden + 20 * sure * weight[targets]
    if regime == "masked":
        targets[torch.rand(shape.rows, generator=gen, device=device) < 0.3] = IGNORE
    first = targets.clamp_min(0)[:, None]
    ids = (first + torch.arange(K, device=device) * 7) % shape.vocab
    shares = torch.softmax(normal(shape.rows, K + 1) - torch.arange(K + 1, device=device) / 2, 1)
    log_q = shares.log()
    teacher = SparseTeacher(ids, log_q[:, :K].contiguous(), log_q[:, K].contiguous(), TEMPERATURE)
    if not resident:
        none = DenseTeacher(hidden[:, :0], weight[:, :0])
        return Case(hidden.to(dtype), weight.to(dtype), targets, teacher, none)
    other = normal(shape.vocab, 2 * shape.width) / (2 * shape.width) ** 0.5
    states = torch.cat([hidden, 0.3 * normal(*hidden.shape)], 1)
    other[:, : shape.width] += weight
    dense = DenseTeacher(states.to(dtype), other.to(dtype))
    return Case(hidden.to(dtype), weight.to(dtype), targets, teacher, dense)


def first_rows(case: Case, rows: int) -> Case:
    """The case of the first `rows` rows."""
    teacher = SparseTeacher(*(part[:rows] for part in case.teacher[:3]), TEMPERATURE)
    dense = case.dense._replace(hidden=case.dense.hidden[:rows])
    return Case(case.hidden[:rows], case.weight, case.targets[:rows], teacher, dense)


def precise(case: Case) -> Case:
    """The case in fp64."""
    dense = case.dense._replace(
        hidden=case.dense.hidden.double(), weight=case.dense.weight.double()
    )
    return case._replace(hidden=case.hidden.double(), weight=case.weight.double(), dense=dense)


def ours(impl: Impl, kind: str, compact_below: float = 0.0) -> Step:
    """Our loss of a kind: a sum over the rows; half cross-entropy with a stored teacher."""
    if kind == "score":
        return scored
    more: dict[str, Any] = {"impl": impl, "compact_below": compact_below}

    def step(case: Case) -> Tensor:
        options: dict[str, Any] = {}
        if kind.startswith("dense_"):
            name = "jsd" if kind == "dense_jsd" else "forward_kl"
            kd = Divergence(name, 1.0, TEMPERATURE)  # type: ignore[arg-type]
            options = {"ce": 0.0, "kd": kd, "teacher": case.dense}
        elif kind != "ce":
            kd = Divergence(kind, 0.5, TEMPERATURE)  # type: ignore[arg-type]
            options = {"ce": 0.5, "kd": kd, "teacher": case.teacher}
        return fused_linear_loss(case.hidden, case.weight, case.targets, **options, **more)

    return step


def scored(case: Case) -> Tensor:
    """The summed logprob of the targets, with entropy and top k computed beside it."""
    return score(case.hidden, case.weight, case.targets, k=K).target.nansum()


def floor(name: str) -> Step:
    """Bare products over the same chunks, no loss in them: G1 logits; G3 also dX and dW; G4 also
    the teacher's logits, at twice the width."""

    def step(case: Case) -> Tensor:
        rows = 4096 if case.hidden.is_cuda else 256
        with torch.no_grad():
            for start in range(0, len(case.hidden), rows):
                part = case.hidden[start : start + rows]
                tile = part @ case.weight.T
                if name == "G4":
                    case.dense.hidden[start : start + rows] @ case.dense.weight.T
                if name != "G1":
                    tile @ case.weight
                    tile.T @ part
        return case.hidden.new_zeros((), requires_grad=True)

    return step
