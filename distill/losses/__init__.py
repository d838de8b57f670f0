"""Losses between the last hidden states and the vocabulary, without the logits in memory.

`fused_linear_loss` is the one to call. `reference` is the meaning in plain torch; the other
implementations must agree with it, and `impl` changes speed and memory, never the result.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.losses.linear import fused_linear_loss
    from distill.losses.low_rank import LowRank
    from distill.losses.options import Divergence
    from distill.losses.parallel import VocabShard
    from distill.losses.parallel_loss import vocab_parallel_loss
    from distill.losses.scoring import Scores, score
    from distill.losses.stats import LossStats, Stats
    from distill.losses.teachers import DenseTeacher, SparseTeacher, tempered

_HOMES = {
    "DenseTeacher": "teachers",
    "Divergence": "options",
    "LossStats": "stats",
    "LowRank": "low_rank",
    "Scores": "scoring",
    "SparseTeacher": "teachers",
    "Stats": "stats",
    "VocabShard": "parallel",
    "fused_linear_loss": "linear",
    "score": "scoring",
    "tempered": "teachers",
    "vocab_parallel_loss": "parallel_loss",
}

__all__ = [
    "DenseTeacher",
    "Divergence",
    "LossStats",
    "LowRank",
    "Scores",
    "SparseTeacher",
    "Stats",
    "VocabShard",
    "fused_linear_loss",
    "score",
    "tempered",
    "vocab_parallel_loss",
]


def __getattr__(name: str) -> Any:
    """The public names, imported on first use: torch is heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
