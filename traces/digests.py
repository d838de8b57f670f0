"""Keys by the million: 16 bytes each, where a dict of names would take ten times that.

A digest is the 16 bytes that a key of 32 hex digits spells. Blocks of digests are `bytes`; what is
too many to hold is read in pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

WIDTH = 16
_KIND = f"S{WIDTH}"
_HALF = np.dtype(np.uint64)
_PAGE = 16_384
PIECE = 16_384
"""Of very many digests so many are read at a time."""
_PART = 1 << 17
"""An index sorts about so many at a time, in 32 bytes each, and reads all once for each part."""
Places = npt.NDArray[np.int64]


def digests_of(names: Sequence[str]) -> tuple[bytes, Places]:
    """The digests of `names` and the index of each; names of another form are left out."""
    joined = "".join(names)
    if all(len(name) == 2 * WIDTH for name in names):
        try:
            block = bytes.fromhex(joined)
        except ValueError:
            pass
        else:
            if block.hex() == joined:
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


class DigestSet:
    """A set of keys in 16 bytes each. Those of another form are kept as they are."""

    def __init__(self, names: Iterable[str]) -> None:
        blocks, self._others = [b""], set[str]()
        rest = iter(names)
        while page := list(islice(rest, _PAGE)):
            block, known = digests_of(page)
            blocks.append(block)
            self._others.update(set(page).difference([page[n] for n in known.tolist()]))
        self._digests = np.unique(np.frombuffer(b"".join(blocks), _KIND))

    def __len__(self) -> int:
        return len(self._digests) + len(self._others)

    def common(self, other: DigestSet) -> int:
        """How many are in both."""
        both = np.intersect1d(self._digests, other._digests, assume_unique=True)
        return len(both) + len(self._others & other._others)

    def __contains__(self, name: str) -> bool:
        digest = _digest(name)
        if not digest:
            return name in self._others
        at = int(np.searchsorted(self._digests, np.frombuffer(digest, _KIND)[0]))
        return at < len(self._digests) and self._digests[at : at + 1].tobytes() == digest


class Digests(Protocol):
    """Digests by their place, wherever they are kept."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def piece(self, number: int) -> bytes:
        """Those from place number * PIECE, PIECE many but for the last piece."""
        ...


class Block:
    """Digests in memory."""

    def __init__(self, block: bytes) -> None:
        self._block = block

    def __len__(self) -> int:
        return len(self._block) // WIDTH

    def piece(self, number: int) -> bytes:
        """Those from place number * PIECE."""
        return self._block[number * PIECE * WIDTH : (number + 1) * PIECE * WIDTH]


def pieces(digests: Digests) -> Iterator[bytes]:
    """All of them, a piece at a time."""
    return (digests.piece(number) for number in range(-(-len(digests) // PIECE)))


class Index:
    """Finds digests among others, part by part, so that it takes little memory.

    Quick where digests are looked for in their order: the part that was last used is kept. A part
    has about `part` digests, where there are no more than 256 parts.
    """

    def __init__(self, digests: Digests, part: int = _PART) -> None:
        self._digests = digests
        self._parts = 1
        while len(digests) > part * self._parts and self._parts < 256:
            self._parts *= 2
        self._last: tuple[int, _Part] | None = None

    def find(self, block: bytes) -> Places:
        """The place of each digest of `block`, the first where there are several; -1 for none."""
        wanted = np.frombuffer(block, _KIND)
        found = np.full(len(wanted), -1, dtype=np.int64)
        parts = self._part_of(wanted)
        for number in np.flatnonzero(np.bincount(parts)).tolist():
            here = np.flatnonzero(parts == number)
            part, digests = self._part(number), wanted[here]
            if len(part.digests):
                at = np.searchsorted(part.ranks, _ranks(digests, part.ranks.dtype))
                at = np.minimum(at, len(part.digests) - 1)
                hit = part.digests[at] == digests
                found[here[hit]] = part.places[at[hit]]
        return found

    def repeated(self) -> Places:
        """The places of digests that occur at an earlier place too."""
        found = []
        for number in range(self._parts):
            part = self._part(number)
            found.append(part.places[1:][part.digests[1:] == part.digests[:-1]])
        return np.concatenate(found)

    def _part_of(self, digests: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint16]:
        """The number of the part of each, by its first byte."""
        first = digests.view(np.uint8)[::WIDTH].astype(np.uint16)
        parts: npt.NDArray[np.uint16] = first * np.uint16(self._parts) >> np.uint16(8)
        return parts

    def _part(self, number: int) -> _Part:
        if self._last is None or self._last[0] != number:
            self._last = None  # free it first
            blocks, places = [np.empty(0, _KIND)], [np.empty(0, np.int64)]
            for n, piece in enumerate(pieces(self._digests)):
                digests = np.frombuffer(piece, _KIND)
                here = np.flatnonzero(self._part_of(digests) == number)
                blocks.append(digests[here])
                places.append(here + n * PIECE)
            found = np.concatenate(blocks)
            order, ranks = _sorted(found)
            self._last = number, _Part(ranks, found[order], np.concatenate(places)[order])
        return self._last[1]


class _Part(NamedTuple):
    """The digests that begin alike, sorted, with what they are sorted by and the place of each."""

    ranks: npt.NDArray[Any]
    digests: npt.NDArray[np.bytes_]
    places: Places


def _sorted(digests: npt.NDArray[np.bytes_]) -> tuple[Places, npt.NDArray[Any]]:
    """What sorts them, equal ones left in their order, and what they are sorted by.

    That is their first half as a number, if it tells them apart: it takes a fraction of the time
    that comparing 16 bytes takes.
    """
    ranks = _ranks(digests, _HALF)
    order = np.argsort(ranks)
    ranked = ranks[order]
    if not (ranked[1:] == ranked[:-1]).any():
        return order, ranked
    order = np.argsort(ranks, kind="stable")
    ranked, ordered = ranks[order], digests[order]
    if (ordered[1:] == ordered[:-1])[ranked[1:] == ranked[:-1]].all():
        return order, ranked
    order = np.argsort(digests, kind="stable")
    return order, digests[order]


def _ranks(digests: npt.NDArray[np.bytes_], kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """The first half of each as a number where `kind` is one; else the digests."""
    return digests.view(">u8")[::2].astype(_HALF) if kind == _HALF else digests
