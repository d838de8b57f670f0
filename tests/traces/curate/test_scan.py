from __future__ import annotations

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traces.curate.characters import SCRIPTS, foreign_share, script_of, table
from traces.curate.scan import (
    TAIL_KEY,
    TAIL_REPEATS,
    exact_hash,
    grams_of,
    identify,
    letters,
    measure,
    read_tokens,
    scan,
    sketch,
    sketch_grams,
)
from traces.curate.tokens import canonical, tokens

PROSE = " ".join(f"word{i} means {i * i}" for i in range(200))
MIXED = st.text(
    alphabet=st.sampled_from(
        "ab1 2.\u00e9e\u0301\u00b2_+=-\u2212\n\u4e2dA\u0660\u03a3\u0130\u2003"
    ),
    max_size=60,
)
HEADS = [" " * (n % 2) + "a1 " * (n // 3) + "ab"[: n % 3] for n in range(52, 70)]
HEADS += [
    "",
    "1" * 63,
    "1" * 62 + ".",
    "1" * 61 + ".5",
    "\u4e2d" * 21,
    "\u0661" * 31,
    "\u2003" * 21,
]
"""Blocks are of 64 bytes: what follows these begins near the end of one."""


LONG = st.builds(lambda head, text: head + text, st.sampled_from(HEADS), MIXED)


@settings(max_examples=200, deadline=None)
@given(LONG)
def test_the_compiled_tokens_are_the_plain_ones(text: str) -> None:
    found = tokens(text)
    read = read_tokens(text)
    hashes = read.hashes.tolist()
    size = max(1, min(5, len(found)))
    plain = {tuple(found[i : i + size]) for i in range(len(found) - size + 1)}
    assert len(hashes) == len(found) == measure(text).tokens
    assert len(set(zip(found, hashes, strict=True))) == len(set(found)) == len(set(hashes))
    assert len(set(grams_of(read).tolist())) == (len(plain) if found else 0)
    assert [n > 0 for n in read.numbers] == [bool(re.match(r"\d", token)) for token in found]


@settings(max_examples=100, deadline=None)
@given(LONG, st.integers(1, 40))
def test_every_way_to_a_sketch_gives_the_same(text: str, times: int) -> None:
    text *= times
    count, found = sketch(text)
    digests, counts, several = identify([text + " ", text, ""], b"key")
    same_count, same = counts[1], several[1]
    measures, scanned = scan(text)
    assert count == same_count == measures.tokens == len(tokens(text))
    by_set = sketch_grams(np.unique(grams_of(read_tokens(text)))[::-1])
    assert (found == same).all()
    assert (found == scanned).all()
    assert (found == by_set).all()
    assert digests[0].tolist() != digests[1].tolist()


@settings(max_examples=100, deadline=None)
@given(LONG)
def test_a_token_has_the_same_hash_in_every_text(text: str) -> None:
    found = tokens(text)
    alone = [read_tokens(token).hashes.tolist() for token in found]
    assert [hash_ for one in alone for hash_ in one] == read_tokens(text).hashes.tolist()


@settings(max_examples=200, deadline=None)
@given(LONG, MIXED)
def test_the_exact_hash_is_equal_where_the_canonical_texts_are(text: str, other: str) -> None:
    assert exact_hash(text) == exact_hash(canonical(text))
    assert (exact_hash(text) == exact_hash(other)) == (canonical(text) == canonical(other))
    assert exact_hash(text) != exact_hash(text[:-1] + "q" + text[-1:])
    assert (exact_hash("q", text) == exact_hash("q" + text)) is False


def plain_tail(text: str) -> int:
    """The definition of the periodic tail, where few places are tried."""
    text = text.rstrip()
    longest = 0
    for period in range(1, len(text) - TAIL_KEY + 1):
        if text[-TAIL_KEY - period : len(text) - period] == text[-TAIL_KEY:]:
            same = TAIL_KEY
            while same < len(text) - period and text[-1 - same] == text[-1 - same - period]:
                same += 1
            if same + period >= TAIL_REPEATS * period:
                longest = max(longest, same + period)
    return longest


@settings(max_examples=150, deadline=None)
@given(st.text("ab\u00e9\u4e2d\U0001f600 ", min_size=12, max_size=50), st.integers(1, 7), MIXED)
def test_the_tail_is_counted_in_characters(unit: str, times: int, head: str) -> None:
    text = unicodedata.normalize("NFC", head + unit * times + unit[: len(unit) // 2])
    if not {"\u03a3", "\u0130"} & set(text):  # these change where the text is made lower case
        assert measure(text).tail == plain_tail(text)


@pytest.mark.parametrize("unit", ["wait, no. ", "ab", "x", "a rather long sentence " * 9 + "\n"])
@pytest.mark.parametrize("head", [PROSE, PROSE + "\u00e9"])
def test_a_looping_end_is_measured_and_prose_is_not_one(unit: str, head: str) -> None:
    looped = head + " | " + unit * (2000 // len(unit) + 3)
    assert measure(looped).tail >= 1990
    assert measure(looped + unit[: len(unit) // 2]).tail >= 1990
    assert measure(head).tail == 0
    assert measure("").tail == 0
    assert measure(unit * 2 + head).tail == 0


@settings(deadline=None)
@given(st.text("abc", min_size=1, max_size=30), st.integers(3, 9), st.text("xyz", max_size=200))
def test_a_tail_repeated_often_enough_is_found_whole(unit: str, times: int, head: str) -> None:
    if len(unit) * times >= 96:
        assert measure(head + unit * times).tail >= len(unit) * times


@settings(deadline=None)
@given(st.lists(st.sampled_from("ab1"), max_size=60))
def test_the_repeated_share_is_the_plain_definition(found: list[str]) -> None:
    for masked in (False, True):
        plain = ["0" if masked and token == "1" else token for token in found]
        grams = [tuple(plain[i : i + 10]) for i in range(len(found) - 9)]
        share = 1 - len(set(grams)) / len(grams) if grams else 0.0
        one = measure(" ".join(found))
        assert (one.repeated_masked if masked else one.repeated) == pytest.approx(share)


def test_letters_are_counted_by_script() -> None:
    found = dict(
        zip(
            SCRIPTS, letters("abc \u00e9 \u03b1x1 \u0434\u0430 \u4e2d\u6587 \u306e 12"), strict=True
        )
    )
    want = {"Latin": 5, "Greek": 1, "Cyrillic": 2, "Han": 2, "Kana": 1}
    assert found == {**dict.fromkeys(SCRIPTS, 0), **want}


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("LATIN SMALL LETTER A WITH MACRON", "Latin"),
        ("DOUBLE-STRUCK CAPITAL R", "Latin"),
        ("GREEK SMALL LETTER OMEGA WITH PSILI", "Greek"),
        ("CYRILLIC SMALL LETTER YA", "Cyrillic"),
        ("ARABIC LETTER BEH", "Arabic"),
        ("DEVANAGARI LETTER KA", "Indic"),
        ("THAI CHARACTER KO KAI", "Thai"),
        ("HANGUL SYLLABLE GA", "Hangul"),
        ("HIRAGANA LETTER A", "Kana"),
        ("CJK UNIFIED IDEOGRAPH-20000", "Han"),
        ("ETHIOPIC SYLLABLE HA", "other"),
    ],
)
def test_a_letter_has_the_script_of_its_name(name: str, script: str) -> None:
    letter = unicodedata.lookup(name)
    assert script_of(letter) == script
    assert letters(letter)[SCRIPTS.index(script)] == 1
    assert SCRIPTS[table(False)[ord(letter)] >> 24] == script


def test_letters_of_the_questions_scripts_are_not_foreign() -> None:
    trace = letters("we see \u4e2d\u6587 here")
    assert foreign_share(trace, letters("a question")) == pytest.approx(2 / 11)
    assert foreign_share(trace, letters("\u4e2d?")) == 0
    assert foreign_share(trace, letters("\u306e?")) == 0
    assert foreign_share(letters("12 + 3"), letters("")) == 0
    assert foreign_share(np.zeros(13, np.int64), letters("a")) == 0
