"""Rows held in the shared memory of eight blocks, and where that can be done.

A cluster of blocks reads its row from memory once (`cuda/sparse_cluster.cu`), a block by itself
twice. `TRACE_DISTILL_CLUSTERS=0` in the environment switches clusters off, so that the two can be
compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from traces.errors import DistillError

BLOCKS = 8
"""Blocks of a cluster: `CLUSTER` in the source, and the most that every device must allow."""
SWITCH = "TRACE_DISTILL_CLUSTERS"


class Loaded(Protocol):
    """What a loaded kernel (`driver.Kernel`) tells about itself."""

    def allow_shared(self) -> int:
        """The bytes of dynamic shared memory that a block may have, from now on."""

    def active_clusters(self, cluster: int, threads: int, shared: int) -> int:
        """How many clusters the device can hold at once."""


def slice_bytes(vocab: int, itemsize: int) -> int:
    """Dynamic shared memory of a block: its slice of a row of logits, in whole 16 bytes."""
    packs = -(-vocab * itemsize // 16)
    return -(-packs // BLOCKS) * 16


def switched_off() -> str:
    """Why clusters are not wanted, or ""."""
    return f"{SWITCH} is 0" if os.environ.get(SWITCH) == "0" else ""


def unfit(load: Callable[[], Loaded], major: int, threads: int, shared: int) -> str:
    """Why a device of compute capability `major` cannot run `load`'s kernel, or "" if it can.

    `shared` bytes of dynamic shared memory for each block. The kernel is not loaded where the
    capability is too low.
    """
    if major < 9:
        return f"compute capability {major} has no clusters, 9 does"
    try:
        kernel = load()
        room = kernel.allow_shared()
        if shared > room:
            return f"a slice takes {shared} bytes of shared memory, a block has {room}"
        if not kernel.active_clusters(BLOCKS, threads, shared):
            return f"the device has no room for {BLOCKS} such blocks at once"
    except DistillError as error:
        return " ".join(str(error).split())
    return ""
