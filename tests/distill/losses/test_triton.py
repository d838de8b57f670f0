"""The Triton kernels: right on the CPU by the interpreter, compiled for GPUs that are not here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import distill.losses
from distill.losses import kernels

pytest.importorskip("triton", reason="needs triton")
CASES = Path(__file__).with_name("triton_cases.py")
GPUS = [("cuda", 90, 32), ("hip", "gfx942", 64)]


@pytest.mark.parametrize(
    "which", ["not exhaustive", pytest.param("exhaustive", marks=pytest.mark.exhaustive)]
)
def test_kernels_equal_the_reference_in_the_interpreter(which: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, "-m", which, str(CASES)],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        cwd=CASES.parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr


def compiled(name: str, target: tuple[Any, ...], **types: Any) -> Any:
    """A kernel for `target`; arguments are fp32, 64-bit where they are strides, but for `types`."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from distill.losses import triton_kernels

    kernel = getattr(triton_kernels, f"{name}_kernel")
    constants = {key: value for key, value in types.items() if key.isupper()}
    signature = dict.fromkeys(kernel.arg_names, "fp32")
    signature |= {key: "i64" for key in kernel.arg_names if key.endswith("stride")}
    signature |= dict.fromkeys(constants, "constexpr")
    signature |= {key: value for key, value in types.items() if key not in constants}
    source = ASTSource(kernel, signature=signature, constexprs=constants)
    return triton.compile(source, target=GPUTarget(*target), options={"num_warps": 8})


@pytest.mark.parametrize("target", GPUS, ids=lambda target: f"{target[0]}-{target[1]}")
def test_kernels_compile_for_gpus_that_are_not_here(
    target: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import triton

    monkeypatch.setattr(triton.knobs.cache, "dir", str(tmp_path))
    tile = {"tile": "*fp32", "rows": "i32", "vocab": "i32", "CAP": True, "WARM": True}
    sparse = {**tile, "BLOCK": 4096}
    built = [
        compiled("sums", target, stats="*fp32", **sparse),
        compiled("gradient", target, out="*bf16", factors="*fp32", **sparse),
        compiled(
            "dense",
            target,
            **dict.fromkeys(("teacher", "weights", "losses"), "*fp32"),
            **{"out": "*bf16", "targets": "*i64", "KIND": 3, "CE": True, "TEACHER_CAP": True},
            **tile,
            BLOCK=2048,
        ),
    ]
    for kernel in built:
        binary = kernel.asm["cubin" if target[0] == "cuda" else "hsaco"]
        assert binary[:4] == b"\x7fELF"
        text = kernel.asm.get("amdgcn", "")  # for NVIDIA, spills are known when a cubin is loaded
        assert re.findall(r"_spill_count: +[1-9]", text) == []


def test_a_cpu_is_refused_and_told_why() -> None:
    assert kernels.unfit("triton", "cpu", torch.float32) == "the tensors are on cpu"
    assert "float64" in kernels.unfit("triton", "cuda", torch.float64)


def test_a_missing_triton_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(distill.losses, "triton_rows", raising=False)
    monkeypatch.setitem(sys.modules, "distill.losses.triton_rows", None)
    kernels._triton_ready.cache_clear()
    assert kernels.unfit("triton", "cuda", torch.float32).startswith("triton is not installed")
    kernels._triton_ready.cache_clear()


def test_a_device_that_triton_cannot_start_is_reported_in_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    kernels._triton_ready.cache_clear()
    reason = kernels.unfit("triton", "cuda", torch.float32)
    assert reason.startswith("triton fails here: ")
    assert "\n" not in reason
    kernels._triton_ready.cache_clear()
