"""What is computed, apart from the tensors: typed, checked options. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

Impl = Literal["auto", "reference", "chunked", "triton", "cuda"]
IMPLS: tuple[str, ...] = get_args(Impl)
Reduction = Literal["sum", "mean"]
Kind = Literal["forward_kl", "reverse_kl", "jsd", "skew_kl", "skew_reverse_kl"]

IGNORE = -100
"""A target with this value drops its row, as in `torch.nn.functional.cross_entropy`."""

TAIL_FLOOR = 1e-8
"""Least teacher probability of the tail in a reverse KL, which is infinite at 0."""

_MIX = {"jsd": 0.5, "skew_kl": 0.1, "skew_reverse_kl": 0.1}


@dataclass(frozen=True)
class Divergence:
    """How far the student's distribution S is from the teacher's q, both at `temperature`.

    | kind | definition | mixture |
    |---|---|---|
    | `forward_kl` | `KL(q, S)` | |
    | `reverse_kl` | `KL(S, q)` | |
    | `jsd` | `mix KL(q, m) + (1 - mix) KL(S, m)` | `m = mix q + (1 - mix) S` |
    | `skew_kl` | `KL(q, m)` | `m = mix q + (1 - mix) S` |
    | `skew_reverse_kl` | `KL(S, m)` | `m = mix S + (1 - mix) q` |

    `weight * temperature**2` multiplies it, so that its gradient keeps its size when the
    temperature changes (Hinton et al. 2015). Generalized JSD: Agarwal et al. 2024 (GKD); skew
    forms: Ko et al. 2024 (DistiLLM). None but `jsd` at 0.5 is symmetric.

    Raises:
        ValueError: a value is out of range, or `mix` is given for a kind that has none.
    """

    kind: Kind = "forward_kl"
    weight: float = 1.0
    temperature: float = 1.0
    mix: float | None = None
    """Share in the mixture: 0.5 for `jsd` and 0.1 for the skew forms if not given."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind is {self.kind!r}; allowed: {', '.join(get_args(Kind))}")
        _within("weight", self.weight, 0.0, math.inf)
        _positive("temperature", self.temperature)
        if self.mix is not None and self.kind not in _MIX:
            raise ValueError(f"mix is {self.mix!r}, but {self.kind} has no mixture: leave it out")
        if self.mix is not None and not 0.0 < self.mix < 1.0:
            raise ValueError(f"mix is {self.mix!r}; allowed: between 0 and 1, both excluded")

    @property
    def share(self) -> float:
        """`mix` with its default; 0 where there is no mixture."""
        return _MIX.get(self.kind, 0.0) if self.mix is None else self.mix


@dataclass(frozen=True)
class LossOptions:
    """The loss of one row, from its raw logits `r = hidden @ weight.T + bias`.

    `u = softcap * tanh(scale * r / softcap)`, or `u = scale * r` without a softcap;
    `L = logsumexp(u)`; the row's loss is
    `ce * ((1 - label_smoothing) * (L - u[y]) + label_smoothing * (L - mean(u)) + z_loss * L**2)`
    plus the divergence `kd` of `softmax(u / temperature)` from the teacher. `teacher_softcap` and
    `teacher_scale` do to the teacher's own logits what the other two do to the student's.

    Raises:
        ValueError: a value is out of range; the message names it and what is allowed.
    """

    ce: float = 1.0
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    softcap: float | None = None
    scale: float = 1.0
    kd: Divergence | None = None
    teacher_softcap: float | None = None
    teacher_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.ce == 0.0 and self.kd is None:
            raise ValueError("ce is 0 and there is no kd: nothing to minimise")
        _within("ce", self.ce, 0.0, math.inf)
        _within("label_smoothing", self.label_smoothing, 0.0, 1.0)
        _within("z_loss", self.z_loss, 0.0, math.inf)
        for name in ("softcap", "teacher_softcap"):
            if getattr(self, name) is not None:
                _positive(name, getattr(self, name))
        for name in ("scale", "teacher_scale"):
            value = getattr(self, name)
            if not math.isfinite(value) or value == 0.0:
                raise ValueError(f"{name} is {value!r}; allowed: a finite number other than 0")

    def encode(self) -> tuple[str, list[float]]:
        """The options as a kind ("" for none) and numbers: what an operator's schema can hold."""
        plain = [self.ce, self.label_smoothing, self.z_loss, self.softcap or 0.0, self.scale]
        plain += [self.teacher_softcap or 0.0, self.teacher_scale]
        if self.kd is None:
            return "", plain
        mix = self.kd.share if self.kd.kind in _MIX else 0.0
        return self.kd.kind, [*plain, self.kd.weight, self.kd.temperature, mix]

    @staticmethod
    def decode(kind: str, numbers: Sequence[float]) -> LossOptions:
        """The options that `encode` gave."""
        kd = None
        if kind:
            weight, temperature, mix = numbers[7:]
            kd = Divergence(cast(Kind, kind), weight, temperature, mix or None)
        ce, smoothing, z_loss, softcap, scale, teacher_softcap, teacher_scale = numbers[:7]
        caps = softcap or None, teacher_softcap or None
        return LossOptions(ce, smoothing, z_loss, caps[0], scale, kd, caps[1], teacher_scale)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high or math.isinf(value):
        raise ValueError(f"{name} is {value!r}; allowed: {low:g} to {high:g}, finite")


def _positive(name: str, value: float) -> None:
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}; allowed: a finite number above 0")
