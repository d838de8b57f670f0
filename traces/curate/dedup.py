"""Exact and near duplicates among texts. Every removal is verified exactly, none is a guess.

A trace is a copy of another when all of this holds:

- the Jaccard similarity of their sets of word 5-grams is at least the threshold;
- no 5-gram that one of them lacks is, its numbers aside, a 5-gram that the other lacks: maths
  traces in which a number stands for another are no copies, whatever else differs;
- for traces under 50 tokens, both contain the same numbers equally often, and so do their
  questions, which are near copies too: "The answer is B." to two questions is no copy. A longer
  trace, or one without a question, is a copy under any question.

Texts are taken best first and compared with those that are no copies themselves, so thirty thousand
copies of one refusal cost thirty thousand comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from traces.curate.nearby import Text, find_near
from traces.curate.scan import (
    U32,
    exact_hash,
    grams_of,
    number_hash,
    read_tokens,
    sketch,
    sketch_grams,
)

SHORT_TOKENS = 50
FLOOR = 0.7


class Copies(NamedTuple):
    """Of N texts: `same_as` the best text with the same digest (itself for most), i32 [N];
    `copy_of` the text it is nearly a copy of, -1 for none, i32 [N]; their `similarity`, f64 [N].
    """

    same_as: npt.NDArray[np.int32]
    copy_of: npt.NDArray[np.int32]
    similarity: npt.NDArray[np.float64]


def short_sketch(text: str, question: str) -> U32:
    """The sketch of a short text with its question."""
    mine, asked = read_tokens(text), read_tokens(question)
    # The complement keeps a question's n-grams apart from a trace's.
    both = sketch_grams(np.concatenate((grams_of(mine), ~grams_of(asked))))
    return both ^ np.uint32(number_hash(mine, asked) & 0xFFFFFFFF)


def find_copies(
    digests: Sequence[bytes],
    sketches: U32,
    order: Sequence[int],
    text_of: Callable[[int], Text],
    threshold: float | None,
    *,
    asked: bool = True,
) -> Copies:
    """What is a copy of what among the texts in `order`, best first; others are left alone.

    `sketches` u32 [N, 128]. A threshold of None looks for the same digests only. `asked`: whether
    some texts come with their questions.
    """
    count = len(sketches)
    same = np.arange(count, dtype=np.int32)
    copy_of, alike = np.full(count, -1, np.int32), np.zeros(count, np.float64)
    first: dict[bytes, int] = {}
    distinct = []
    for number in order:
        best = first.setdefault(digests[number], number)
        if best == number:
            distinct.append(number)
        else:
            same[number] = best
    if threshold is not None:
        near = find_near(sketches, distinct, text_of, threshold, asked=asked)
        for number, found in near.items():
            copy_of[number], alike[number] = found
    return Copies(same, copy_of, alike)


def distinct_texts(texts: Sequence[str], threshold: float) -> list[int]:
    """The texts that are no copies, as places in `texts`; of copies the shortest stays."""
    read = [sketch(text) for text in texts]
    sketches = np.stack([found for _, found in read]) if read else np.zeros((0, 128), np.uint32)
    order = sorted(range(len(texts)), key=lambda number: (read[number][0], number))
    digests = [exact_hash(text) for text in texts]
    found = find_copies(digests, sketches, order, lambda n: Text(texts[n]), threshold, asked=False)
    alone = (found.copy_of < 0) & (found.same_as == np.arange(len(texts)))
    return [int(number) for number in np.flatnonzero(alone)]
