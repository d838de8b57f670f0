from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traces.curate.scan import identify

BLOCK = 64
SOME = st.lists(st.text("ab \u00e9\ud800", max_size=150), max_size=8)


def digests(texts: list[str], key: bytes = b"key") -> list[bytes]:
    return [bytes(one) for one in identify(texts, key).digests]


@settings(max_examples=100, deadline=None)
@given(SOME, SOME)
def test_texts_have_one_digest_where_they_are_the_same_and_only_there(
    texts: list[str], others: list[str]
) -> None:
    mine, theirs = digests(texts + texts), digests(others)
    assert mine[: len(texts)] == mine[len(texts) :]
    for text, one in zip(texts, mine, strict=False):
        for other, two in zip(others, theirs, strict=True):
            assert (one == two) == (text == other)


@pytest.mark.parametrize("size", [1, 8, 16, 63, 64, 65, 128, 1000])
def test_every_bit_of_a_text_changes_half_of_its_digest(size: int) -> None:
    text = "a" * size
    changed = [text[:n] + other + text[n + 1 :] for n in range(size) for other in "`ceiqA!"]
    first, *found = digests([text, *changed, text + " ", text[1:], text + "\0"])
    assert len({first, *found}) == len(found) + 1
    apart = np.frombuffer(b"".join(found), np.uint8).reshape(-1, 16) ^ np.frombuffer(
        first, np.uint8
    )
    assert abs(np.unpackbits(apart).mean() - 0.5) < 0.1
    assert np.unpackbits(apart, axis=1).sum(axis=1).min() > 30


def test_blocks_and_words_that_change_places_change_the_digest() -> None:
    words = [f"{n:08d}" for n in range(24)]
    texts = ["".join(words)]
    for gap in (1, 2, 8, 16):
        moved = words.copy()
        moved[0], moved[gap] = moved[gap], moved[0]
        texts.append("".join(moved))
    assert len(set(digests(texts))) == len(texts)


def test_digests_of_another_key_are_others() -> None:
    texts = ["", "a", "b" * 100]
    assert not set(digests(texts)) & set(digests(texts, b"other"))
