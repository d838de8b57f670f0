"""Other implementations of the losses: those that run here, and why the others do not.

All are brought to a sum over the rows that count. Losses with a stored top k have no peer.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from loss_cases import Case, Step
from torch import Tensor
from torch.nn import functional as F

from distill.losses.options import IGNORE

CHUNK = 1024
NEEDS_GPU = "its kernels need a GPU"
LEFT_TO_GPUS = "left to GPUs: it has to be compiled for each shape first"


def peers(device: str) -> tuple[dict[str, Step], dict[str, str]]:
    """Steps by name, `provider/kind`, and for each that cannot run here the reason."""
    found: dict[str, Step] = {}
    absent: dict[str, str] = {}
    gpu = device == "cuda"
    for names, package, needs_gpu, build in (
        (("liger_flce/ce", "liger_flce_fp32/ce"), "liger_kernel", True, _liger_ce),
        (("liger_chunked/dense_jsd",), "liger_kernel", False, _liger_chunked),
        (("liger_fused/dense_jsd",), "liger_kernel", True, _liger_fused),
        (("cce/ce",), "cut_cross_entropy", True, _cce),
        (("trl/ce", "trl/dense_kl", "trl/dense_jsd"), "trl", False, _trl),
        (("compiled/ce",), "torch", True, _compiled),
        (("quack/ce",), "quack", True, _quack),
    ):
        reason = "" if find_spec(package) else f"{package} is not installed"
        if not reason and needs_gpu and not gpu:
            reason = LEFT_TO_GPUS if package == "torch" else NEEDS_GPU
        try:
            steps = {} if reason else build(device)
        except (ImportError, AttributeError) as error:
            reason = f"{package} has another interface here: {error}"
        if reason:
            absent |= dict.fromkeys(names, reason)
        else:
            found |= steps
    return found, absent


def _count(case: Case) -> Tensor:
    return (case.targets != IGNORE).sum()


def _liger_ce(device: str) -> dict[str, Step]:
    kind = import_module("liger_kernel.transformers").LigerFusedLinearCrossEntropyLoss
    plain = kind(reduction="sum", ignore_index=IGNORE)
    wide = kind(reduction="sum", ignore_index=IGNORE, accum_dtype=torch.float32)
    return {
        "liger_flce/ce": lambda case: plain(case.weight, case.hidden, case.targets),
        "liger_flce_fp32/ce": lambda case: wide(case.weight, case.hidden, case.targets),
    }


def _liger_chunked(device: str) -> dict[str, Step]:
    kind = import_module("liger_kernel.chunked_loss").LigerFusedLinearJSDLoss
    loss = kind(weight_hard_loss=0.0, weight_soft_loss=1.0, beta=0.5, compiled=device == "cuda")

    def step(case: Case) -> Tensor:
        dense = case.dense
        mean = loss(case.hidden, case.weight, dense.hidden, dense.weight, case.targets)
        return mean * _count(case)

    return {"liger_chunked/dense_jsd": step}


def _liger_fused(device: str) -> dict[str, Step]:
    loss = import_module("liger_kernel.transformers").LigerFusedLinearJSD(jsd_beta=0.5)

    def step(case: Case) -> Tensor:
        dense = case.dense
        mean = loss(case.hidden, case.weight, dense.hidden, dense.weight, case.targets)
        return mean * _count(case)

    return {"liger_fused/dense_jsd": step}


def _cce(device: str) -> dict[str, Step]:
    loss = import_module("cut_cross_entropy").linear_cross_entropy
    return {
        "cce/ce": lambda case: loss(
            case.hidden, case.weight, case.targets, reduction="sum", ignore_index=IGNORE
        )
    }


def _trl(device: str) -> dict[str, Step]:
    logprob = import_module("trl.kernels.chunked_logprob")
    divergence = import_module("trl.kernels.chunked_divergence").ChunkedDivergenceFunction
    tile = import_module("trl.trainer.utils")._CHUNKED_LOGPROB_CHUNK_SIZE

    def ce(case: Case) -> Tensor:
        rows = case.targets != IGNORE
        said = logprob.ChunkedLogProbFunction.apply(
            case.hidden[rows], case.weight, None, case.targets[rows], 1.0, tile, None, 1.0, ()
        )
        return -said[0].sum()

    def dense(beta: float) -> Step:
        def step(case: Case) -> Tensor:
            rows, other = case.targets != IGNORE, case.dense
            said = divergence.apply(
                case.hidden[rows], case.weight, None, other.hidden[rows], other.weight, None, beta
            )
            return said[0].sum()

        return step

    return {"trl/ce": ce, "trl/dense_kl": dense(0.0), "trl/dense_jsd": dense(0.5)}


def _compiled(device: str) -> dict[str, Step]:
    """The usual recipe: checkpointed chunks of logits under torch.compile."""
    from torch.utils.checkpoint import checkpoint

    @torch.compile(dynamic=False)
    def part(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        logits = F.linear(hidden, weight).float()
        return F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum")

    def step(case: Case) -> Tensor:
        total: Any = 0.0
        for start in range(0, len(case.hidden), CHUNK):
            rows = slice(start, start + CHUNK)
            total = total + checkpoint(
                part, case.hidden[rows], case.weight, case.targets[rows], use_reentrant=False
            )
        return total  # type: ignore[no-any-return]

    return {"compiled/ce": step}


def _quack(device: str) -> dict[str, Step]:
    loss = import_module("quack.linear_cross_entropy").chunked_linear_cross_entropy
    return {
        "quack/ce": lambda case: loss(
            case.hidden, case.weight, case.targets, ignore_index=IGNORE, reduction="sum"
        )
    }
