from __future__ import annotations

import sys

import pytest
import torch

from benchmarks import gpu_check


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", *arguments])
    return gpu_check.main()


def test_the_torch_path_passes_the_checks_meant_for_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(monkeypatch, "--device", "cpu", "--small")
    said = capsys.readouterr().out
    assert code == 0, said
    assert "cuda: not checked, because the tensors are on cpu" in said
    assert "chunked: 84 cases, 0 wrong" in said


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    assert run(monkeypatch) == 2
    assert "torch sees no CUDA device" in capsys.readouterr().out
