"""Keys by the million: 16 bytes each in one block, where a dict of names would take ten times that.

A digest is the 16 bytes that a key of 32 hex digits spells. Blocks of digests are `bytes`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

WIDTH = 16
_KIND = f"S{WIDTH}"
Places = npt.NDArray[np.int64]


def digests_of(names: Sequence[str]) -> tuple[bytes, Places]:
    """The digests of `names` and the index of each; names of another form are left out."""
    joined = "".join(names)
    if len(joined) == 2 * WIDTH * len(names) and all(len(name) == 2 * WIDTH for name in names):
        try:
            block = bytes.fromhex(joined)
        except ValueError:
            pass
        else:
            if len(block) == WIDTH * len(names):
                return block, np.arange(len(names))
    found = [(number, digest) for number, name in enumerate(names) if (digest := _digest(name))]
    return b"".join(d for _, d in found), np.array([n for n, _ in found], dtype=np.int64)


def _digest(name: str) -> bytes:
    """The digest that `name` spells, empty where it spells none."""
    try:
        digest = bytes.fromhex(name)
    except ValueError:
        return b""
    return digest if len(digest) == WIDTH and digest.hex() == name else b""


class Index:
    """Finds digests in a block. Takes 24 bytes for each while it lives."""

    def __init__(self, block: bytes | bytearray) -> None:
        digests = np.frombuffer(block, _KIND)
        self._order = np.argsort(digests, kind="stable")
        self._sorted = digests[self._order]

    def find(self, block: bytes) -> Places:
        """The place of each digest of `block`, the first where there are several; -1 for none."""
        wanted = np.frombuffer(block, _KIND)
        if not len(self._sorted):
            return np.full(len(wanted), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        found: Places = np.where(self._sorted[at] == wanted, self._order[at], -1)
        return found

    def repeated(self) -> Places:
        """The places of digests that occur at an earlier place too."""
        again = self._sorted[1:] == self._sorted[:-1]
        places: Places = self._order[1:][again]
        return places
