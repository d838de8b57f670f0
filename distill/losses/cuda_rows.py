"""The row kernels of `cuda/`: specialise, compile once per device, launch."""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from distill.assets import asset
from distill.losses import cuda_cluster, nvrtc
from distill.losses.batch import Rows
from distill.losses.cuda_args import MAX_K, dense_args, gradient_view, padded_tile, sparse_args
from distill.losses.driver import Kernel
from distill.losses.options import LossOptions

log = logging.getLogger(__name__)

THREADS = 512

_NAMES = {torch.float32: "float", torch.bfloat16: "bf16"}


class Compilable(Protocol):
    """What names a source of `cuda/` and picks one of its specialisations; hashable."""

    @property
    def op(self) -> str:
        """The source's name."""

    def defines(self) -> list[str]:
        """The macros of the specialisation."""

    def __hash__(self) -> int:
        """Kernels are compiled once."""


class Spec(NamedTuple):
    """What a kernel is compiled for: the op, dtypes of logits and gradient, and two switches.

    `warm`: cross-entropy and divergence at different temperatures; `cap`: a logit softcap; `two`:
    a dense forward or reverse KL, whose loss the first sweep gives.
    """

    op: str
    logit: torch.dtype
    gradient: torch.dtype
    warm: bool
    cap: bool
    two: bool = False

    def defines(self) -> list[str]:
        """The macros that pick this specialisation; a dense one has float logits always."""
        logit, gradient = _NAMES[self.logit], _NAMES[self.gradient]
        switches = [f"-DOF_WARM={int(self.warm)}", f"-DOF_CAP={int(self.cap)}"]
        switches.append(f"-DOF_TWO={int(self.two)}")
        return [f"-DOF_LOGIT={logit}", f"-DOF_GRAD={gradient}", *switches]


def specialisations(op: str) -> list[Spec]:
    """Every specialisation of `op` that can be asked for."""
    fp32, bf16 = torch.float32, torch.bfloat16
    dtypes = [(fp32, fp32), (fp32, bf16)]
    if op != "dense_rows":
        dtypes.append((bf16, bf16))
    return [
        Spec(op, logit, gradient, warm, cap, two)
        for logit, gradient in dtypes
        for warm in (False, True)
        for cap in (False, True)
        for two in ((False, True) if op == "dense_rows" else (False,))
    ]


def tile(rows: int, vocab: int, like: Rows, options: LossOptions) -> Tensor:
    """An empty tile: fp32 logits, but bf16 for a cross-entropy alone on bf16 input.

    Logits rounded to bf16 cost a divergence its gradient as the student nears the teacher; a
    cross-entropy loses 0.6 % of dX, as in every bf16 implementation.
    """
    narrow = options.kd is None and like.hidden.dtype == torch.bfloat16
    dtype = torch.bfloat16 if narrow else torch.float32
    return padded_tile(rows, vocab, dtype, like.hidden.device)


def sparse(tile: Tensor, rows: Rows, options: LossOptions) -> tuple[Tensor, Tensor]:
    """Weighted losses [2, C] of the raw logits `tile` [C, V], and the gradient left over them.

    The first row is the total, the second what of it is cross-entropy.

    Raises:
        ValueError: more than 128 ids per row.
    """
    if rows.ids is not None and rows.ids.shape[1] > MAX_K:
        raise ValueError(f"the teacher has {rows.ids.shape[1]} ids per row; allowed: {MAX_K}")
    losses = rows.weights.new_empty(2, len(rows.weights))
    args = sparse_args(tile, rows, options, losses)
    return losses, _launch("sparse_rows", args, tile, rows, options)


def dense(tile: Tensor, teacher: Tensor, rows: Rows, options: LossOptions) -> tuple[Tensor, Tensor]:
    """The same against the raw logits `teacher` [C, V] of a resident teacher."""
    losses = rows.weights.new_empty(2, len(rows.weights))
    args = dense_args(tile, teacher, rows, options, losses)
    return losses, _launch("dense_rows", args, tile, rows, options)


def spec_for(op: str, tile: Tensor, rows: Rows, options: LossOptions) -> Spec:
    """The specialisation that `op` needs for these options and dtypes."""
    kd = options.kd
    warm = bool(options.ce) and kd is not None and kd.temperature != 1.0
    cap = options.softcap is not None or options.teacher_softcap is not None
    two = op == "dense_rows" and kd is not None and kd.kind in ("forward_kl", "reverse_kl")
    return Spec(op, tile.dtype, rows.hidden.dtype, warm, cap, two)


def compile_spec(spec: Compilable, arch: str, compiler: nvrtc.Library) -> nvrtc.Compiled:
    """The cubin of one specialisation for `arch`."""
    folder = asset("cuda")
    source = (folder / f"{spec.op}.cu").read_text()
    headers = {path.name: path.read_text() for path in folder.glob("*.cuh")}
    return nvrtc.compile_cubin(source, headers, arch, spec.defines(), compiler)


def ready() -> None:
    """Compile and load one kernel on the current device, to see that this works at all.

    Raises:
        MissingDependencyError: there is no runtime compiler.
        DistillError: it, or the driver, refuses.
    """
    fp32 = torch.float32
    _kernel(Spec("sparse_rows", fp32, fp32, False, False), torch.cuda.current_device())


def launch(spec: Compilable, args: ctypes.Structure, tile: Tensor) -> None:
    """Run a kernel with one block per row of `tile`, on its device."""
    with torch.cuda.device(tile.device):
        _kernel(spec, torch.cuda.current_device()).launch(args, len(tile), THREADS)


def clusters_unfit(spec: Spec, vocab: int) -> str:
    """Why `spec` does not run with a cluster of blocks per row here, or "" if it does."""
    if spec.op != "sparse_rows":
        return f"{spec.op} is built for one block per row"
    shared = cuda_cluster.slice_bytes(vocab, spec.logit.itemsize)
    return cuda_cluster.switched_off() or _cluster_unfit(
        _clustered(spec), torch.cuda.current_device(), shared
    )


def row_form(vocab: int) -> str:
    """How a row of `vocab` fp32 logits is held on the current device, for a reader."""
    spec = Spec("sparse_rows", torch.float32, torch.float32, False, False)
    reason = clusters_unfit(spec, vocab)
    row = f"a row of {vocab} fp32 logits"
    if reason:
        return f"{row} in one block, because {reason}"
    return f"{row} in a cluster of {cuda_cluster.BLOCKS} blocks"


def _launch(
    op: str, args: ctypes.Structure, tile: Tensor, rows: Rows, options: LossOptions
) -> Tensor:
    """Run `op` on the rows of `tile`; returns the gradient it leaves there."""
    spec = spec_for(op, tile, rows, options)
    with torch.cuda.device(tile.device):
        if clusters_unfit(spec, tile.shape[1]):
            launch(spec, args, tile)
        else:
            shared = cuda_cluster.slice_bytes(tile.shape[1], tile.element_size())
            kernel = _kernel(_clustered(spec), torch.cuda.current_device())
            kernel.launch(args, cuda_cluster.BLOCKS * len(tile), THREADS, shared)
    return gradient_view(tile, spec.gradient)


def _clustered(spec: Spec) -> Spec:
    return spec._replace(op="sparse_cluster")


@cache
def _cluster_unfit(spec: Spec, device: int, shared: int) -> str:
    major = torch.cuda.get_device_capability(device)[0]
    reason = cuda_cluster.unfit(lambda: _kernel(spec, device), major, THREADS, shared)
    log.info("rows of the loss: %s", f"one block each, because {reason}" if reason else "clusters")
    return reason


@cache
def _kernel(spec: Compilable, device: int) -> Kernel:
    major, minor = torch.cuda.get_device_capability(device)
    version = torch.version.cuda
    compiler = nvrtc.library(version.split(".")[0] if version else None)
    compiled = compile_spec(spec, f"sm_{major}{minor}", compiler)
    return Kernel(compiled.cubin, "row_kernel")
