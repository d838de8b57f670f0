"""The kernels compile for every architecture, on machines without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill.losses import cuda_rows, cuda_score, nvrtc
from distill.losses.cuda_rows import Compilable
from traces.errors import DistillError, MissingDependencyError

ARCHS = ["sm_80", "sm_90a", "sm_100a"]
OPS: dict[str, list[Any]] = {
    "sparse_rows": cuda_rows.specialisations("sparse_rows"),
    "dense_rows": cuda_rows.specialisations("dense_rows"),
    "score_rows": cuda_score.specialisations(),
    "sparse_cluster": cuda_rows.specialisations("sparse_cluster"),
}
PAIRS = [(op, arch) for op in OPS for arch in ARCHS if (op, arch) != ("sparse_cluster", "sm_80")]
SPECS = [spec for specs in OPS.values() for spec in specs]


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> nvrtc.Library:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        return nvrtc.library()
    except MissingDependencyError as error:
        pytest.skip(f"needs NVRTC: {error.hint}")


def check(spec: Compilable, arch: str, compiler: nvrtc.Library) -> None:
    compiled = cuda_rows.compile_spec(spec, arch, compiler)
    assert compiled.cubin[:4] == b"\x7fELF"
    assert "Used" in compiled.report
    assert nvrtc.spilled_bytes(compiled.report) == 0


@pytest.mark.parametrize(("op", "arch"), PAIRS)
def test_one_kernel_of_each_op_compiles_without_spills(
    compiler: nvrtc.Library, op: str, arch: str
) -> None:
    check(OPS[op][-1], arch, compiler)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("op", "arch"), PAIRS)
def test_every_specialisation_compiles_without_spills(
    compiler: nvrtc.Library, op: str, arch: str
) -> None:
    for spec in OPS[op]:
        check(spec, arch, compiler)


def test_a_second_compilation_comes_from_the_cache(compiler: nvrtc.Library) -> None:
    first = cuda_rows.compile_spec(SPECS[0], "sm_90", compiler)
    again = cuda_rows.compile_spec(SPECS[0], "sm_90", compiler)
    assert first.report
    assert not again.report
    assert again.cubin == first.cubin
    assert len(list(nvrtc.cache_folder().iterdir())) == 1


def test_other_flags_are_another_entry(compiler: nvrtc.Library) -> None:
    source = 'extern "C" __global__ void f(int* x) { *x = VALUE; }'
    for value in (1, 2):
        nvrtc.compile_cubin(source, {}, "sm_80", [f"-DVALUE={value}"], compiler)
    assert len(list(nvrtc.cache_folder().iterdir())) == 2


def test_a_fault_shows_the_compilers_log_and_caches_nothing(compiler: nvrtc.Library) -> None:
    with pytest.raises(DistillError, match=r'identifier "nonsense" is undefined'):
        nvrtc.compile_cubin("__global__ void f() { nonsense; }", {}, "sm_80", [], compiler)
    assert not nvrtc.cache_folder().exists()


def test_an_unwritable_cache_costs_only_the_compilation(
    compiler: nvrtc.Library, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "trace-distill").write_text("a file where the folder should be")
    source = 'extern "C" __global__ void f() {}'
    assert nvrtc.compile_cubin(source, {}, "sm_80", [], compiler).cubin
    assert "cannot keep compiled kernels" in caplog.text


def test_a_missing_compiler_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "_candidates", lambda major: iter(()))
    nvrtc.library.cache_clear()
    with pytest.raises(MissingDependencyError, match="pip install nvidia-cuda-nvrtc-cu12"):
        nvrtc.library("12")
    nvrtc.library.cache_clear()


def test_spills_are_counted() -> None:
    report = "64 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads"
    assert nvrtc.spilled_bytes(report) == 12
