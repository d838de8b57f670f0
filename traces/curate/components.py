"""Which of many texts may have to do with each other: connected components, in plain numpy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

CROWD = 64  # of a larger group all pairs are not looked at: it becomes one component

Array = npt.NDArray[Any]


class Components:
    """Of N nodes: `roots` i64 [N], the smallest node of each one's component."""

    def __init__(self, count: int) -> None:
        self.roots: Array = np.arange(count)

    def join(self, a: Array, b: Array) -> None:
        """Put each of `a` into one component with its partner in `b`."""
        while True:
            left, right = self.roots[a], self.roots[b]
            apart = left != right
            if not apart.any():
                return
            a, b, left, right = a[apart], b[apart], left[apart], right[apart]
            np.minimum.at(self.roots, np.maximum(left, right), np.minimum(left, right))
            while not np.array_equal(further := self.roots[self.roots], self.roots):
                self.roots = further

    def groups(self, hashes: Array, chunk: int) -> Iterator[tuple[Array, Array]]:
        """Nodes with equal hashes that are not one component yet, about `chunk` nodes at a time.

        Nodes, i64 [M], group by group, each in ascending order; and where each group starts and
        the last one ends, i64 [G + 1].
        """
        nodes = np.argsort(hashes, kind="stable")
        if not len(nodes):
            return
        ordered = hashes[nodes]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        sizes = np.diff(np.r_[starts, len(nodes)])
        roots = self.roots[nodes]
        apart = np.logical_or.reduceat(roots != np.repeat(roots[starts], sizes), starts)
        nodes, sizes = nodes[np.repeat(apart, sizes)], sizes[apart]
        ends = np.cumsum(sizes)
        first = 0
        while first < len(sizes):
            before = ends[first] - sizes[first]
            last = max(first + 1, int(np.searchsorted(ends, before + chunk, "right")))
            yield nodes[before : ends[last - 1]], np.r_[0, ends[first:last] - before]
            first = last

    def link(self, nodes: Array, starts: Array, sketches: Array, least: int) -> None:
        """Join the nodes of each group that agree in `least` places; all of a large group.

        `nodes`, `starts` as from `groups`; `sketches` u32 [M, 128] of the nodes.
        """
        sizes = np.diff(starts)
        end = np.repeat(starts[1:], sizes)
        large = np.repeat(sizes > CROWD, sizes)
        self.join(nodes[large], nodes[np.repeat(starts[:-1], sizes)[large]])
        places = np.flatnonzero(~large)
        for gap in range(1, min(CROWD, int(sizes.max(initial=1)))):
            places = places[places + gap < end[places]]
            if not len(places):
                return
            alike = (sketches[places] == sketches[places + gap]).sum(axis=1) >= least
            self.join(nodes[places[alike]], nodes[places[alike] + gap])
