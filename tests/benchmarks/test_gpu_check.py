from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_check.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])}
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_torch_path_passes_the_checks_meant_for_a_gpu() -> None:
    done = run("--device", "cpu", "--small")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cuda: not checked, because the tensors are on cpu" in done.stdout
    assert "chunked: 84 cases, 0 wrong" in done.stdout


def test_without_a_gpu_it_says_so() -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    done = run()
    assert done.returncode == 2
    assert "torch sees no CUDA device" in done.stdout
