from __future__ import annotations

import gc

import pytest

from traces.garbage import FIRST, seldom_collected


@pytest.mark.parametrize(
    ("before", "inside"),
    [((700, 10, 10), FIRST), ((0, 10, 10), 0), ((FIRST * 2, 5, 5), FIRST * 2)],
)
def test_collection_is_rarer_inside_and_as_before_afterwards(
    before: tuple[int, int, int], inside: int
) -> None:
    found = gc.get_threshold()
    gc.set_threshold(*before)
    try:
        with seldom_collected():
            assert gc.get_threshold() == (inside, *before[1:])
        assert gc.get_threshold() == before
    finally:
        gc.set_threshold(*found)
