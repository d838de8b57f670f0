from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from traces.digests import WIDTH, Block, DigestSet, Index, digests_of

ALIKE = st.binary(min_size=8, max_size=8).map(lambda end: bytes(8) + end)
DIGESTS = st.lists(
    st.binary(min_size=WIDTH, max_size=WIDTH) | st.just(bytes(WIDTH)) | ALIKE, max_size=40
)


PART = st.sampled_from([1, 3, 1 << 18])


@given(DIGESTS, DIGESTS, PART)
def test_each_digest_is_found_at_its_first_place_and_no_other(
    held: list[bytes], more: list[bytes], part: int
) -> None:
    asked = held + more
    found = Index(Block(b"".join(held)), part).find(b"".join(asked)).tolist()
    assert found == [held.index(one) if one in held else -1 for one in asked]


@given(DIGESTS, PART)
def test_repeated_places_are_those_with_an_earlier_one(held: list[bytes], part: int) -> None:
    found = sorted(Index(Block(b"".join(held)), part).repeated().tolist())
    assert found == [n for n, one in enumerate(held) if held.index(one) < n]


def test_digests_that_end_or_begin_with_zeros_stay_apart() -> None:
    low, high = bytes(15) + b"\1", b"\1" + bytes(15)
    index = Index(Block(low + high + bytes(16)))
    assert index.find(high + bytes(16) + low).tolist() == [1, 2, 0]


def test_names_that_are_no_digests_are_left_out() -> None:
    good = [os.urandom(WIDTH).hex() for _ in range(3)]
    assert digests_of(good)[0].hex() == "".join(good)
    assert digests_of(["F" * 32, "F" * 32])[0] == b""
    mixed = [good[0], "a", good[1].upper().replace("A", "B"), " " * 32, good[2], "é" * 32]
    mixed[2] = "F" * 32  # keys are written small: this is another name
    block, places = digests_of(mixed)
    assert (block.hex(), places.tolist()) == (good[0] + good[2], [0, 4])


def test_digests_are_found_in_any_order_of_asking() -> None:
    held = [os.urandom(WIDTH) for _ in range(500)]
    asked = held[::-1] + sorted(held)
    found = Index(Block(b"".join(held)), 1).find(b"".join(asked)).tolist()
    assert [held[place] for place in found] == asked


@given(
    st.lists(st.binary(min_size=16, max_size=16).map(bytes.hex) | st.text(max_size=33)),
    st.lists(st.binary(min_size=16, max_size=16).map(bytes.hex) | st.text(max_size=33)),
)
def test_a_set_of_digests_holds_what_a_set_of_names_holds(
    names: list[str], others: list[str]
) -> None:
    found = DigestSet(names)
    assert len(found) == len(set(names))
    assert found.common(DigestSet(others)) == len(set(names) & set(others))
    assert [name in found for name in names + others] == [
        name in set(names) for name in names + others
    ]
