"""Where rows may be held by clusters of blocks."""

from __future__ import annotations

import ctypes

import pytest
import torch

from distill.losses import cuda_cluster, cuda_rows, driver
from distill.losses.cuda_cluster import slice_bytes, unfit
from distill.losses.cuda_rows import Spec
from traces.errors import DistillError

H100_BYTES = 232_448 - 1_584


class Kernel:
    """A loaded kernel on a device with such limits."""

    def __init__(self, room: int = H100_BYTES, clusters: int = 32) -> None:
        self.room, self.clusters = room, clusters

    def allow_shared(self) -> int:
        return self.room

    def active_clusters(self, cluster: int, threads: int, shared: int) -> int:
        del cluster, threads, shared
        return self.clusters


def refuse() -> Kernel:
    raise DistillError("the driver\nsays no")


@pytest.mark.parametrize(
    ("vocab", "itemsize", "want"),
    [(1, 4, 16), (4, 4, 16), (32, 4, 16), (33, 4, 32), (64, 2, 16), (65, 2, 32)],
)
def test_a_slice_is_an_eighth_of_a_row_in_whole_16_bytes(
    vocab: int, itemsize: int, want: int
) -> None:
    assert slice_bytes(vocab, itemsize) == want


def test_the_slices_cover_every_row() -> None:
    for vocab in (1, 7, 301, 50_257, 151_936, 262_144):
        for itemsize in (2, 4):
            size = slice_bytes(vocab, itemsize)
            assert 8 * size >= vocab * itemsize
            assert 8 * size < vocab * itemsize + 9 * 16


def test_vocabularies_that_an_h100_can_hold() -> None:
    """262,144 columns of fp32 fit; 470,000 do in bf16 only."""
    for vocab, itemsize, fits in ((262_144, 4, True), (470_000, 4, False), (470_000, 2, True)):
        assert (unfit(Kernel, 9, 512, slice_bytes(vocab, itemsize)) == "") == fits


def test_the_reason_names_what_is_missing() -> None:
    assert unfit(refuse, 8, 512, 16) == "compute capability 8 has no clusters, 9 does"
    assert unfit(refuse, 9, 512, 16) == "the driver says no"
    small, full = Kernel(room=48), Kernel(clusters=0)
    assert "takes 64 bytes of shared memory, a block has 48" in unfit(lambda: small, 9, 512, 64)
    assert "no room for 8 such blocks" in unfit(lambda: full, 9, 512, 16)


def test_the_switch_turns_clusters_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cuda_cluster.SWITCH, "0")
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    spec = Spec("sparse_rows", torch.float32, torch.float32, False, False)
    assert cuda_rows.clusters_unfit(spec, 1000) == "TRACE_DISTILL_CLUSTERS is 0"
    assert cuda_rows.row_form(1000).endswith("in one block, because TRACE_DISTILL_CLUSTERS is 0")


def test_a_dense_teacher_has_one_block_per_row() -> None:
    spec = Spec("dense_rows", torch.float32, torch.float32, False, False)
    assert "built for one block per row" in cuda_rows.clusters_unfit(spec, 1000)


def test_the_drivers_structures_have_the_sizes_of_cuda_h() -> None:
    """`sizeof` and `offsetof` of CUlaunchConfig and CUlaunchAttribute in CUDA 12 and 13."""
    config, attribute = driver.LaunchConfig, driver.LaunchAttribute
    assert ctypes.sizeof(config) == 56
    assert [config.shared.offset, config.stream.offset] == [24, 32]
    assert [config.attributes.offset, config.count.offset] == [40, 48]
    assert (ctypes.sizeof(attribute), attribute.shape.offset) == (72, 8)
