"""Copies and evaluation questions among the rows of any file, without a recipe or a store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from traces.curate.overlap import find_overlaps
from traces.curate.reworded import nearest_questions
from traces.curate.semantic import Encoder
from traces.curate.texts import Texts, text_of
from traces.errors import DataError
from traces.jsonio import Fault, Faults, read_each
from traces.record import Message, Prompt

if TYPE_CHECKING:
    from traces.curate.dedup import Copies

QUESTION_FIELDS = ("question", "problem", "prompt", "text")


class DedupRow(NamedTuple):
    """Row `row` (from 0) is represented by row `cluster`, to which it is similar by `jaccard`."""

    row: int
    cluster: int
    kept: bool
    jaccard: float

    def as_line(self) -> dict[str, Any]:
        """What is printed of it."""
        return {**self._asdict(), "jaccard": round(self.jaccard, 4)}


class OverlapRow(NamedTuple):
    """The evaluation question that a row covers.

    `label`: empty, `same`, `overlap`, `masked` where they differ in numbers, or `reworded` where an
    encoder finds them alike by `similarity`. `match` is the `file:line` of the evaluation question,
    empty where there is none.
    """

    row: int
    label: str
    coverage: float
    match: str
    similarity: float = 0.0


class Rewording(NamedTuple):
    """Look for other words by `encode`: at the `top` nearest questions, from `threshold` on."""

    encode: Encoder
    top: int
    threshold: float


def dedup_rows(path: Path, *, field: str, threshold: float, faults: Faults) -> Iterator[DedupRow]:
    """What is a copy of what in `path`, one result per row in order.

    Broken rows are kept, each by itself, and noted in `faults`.

    Raises:
        DataError: the file is missing or unreadable, or no row has the field.
    """
    with Texts(path, field, faults) as texts:
        found = _copies(texts, threshold)
    yield from rows_of(found)


def rows_of(found: Copies) -> Iterator[DedupRow]:
    """One result per text in order."""
    copy_of, similarity = found.copy_of.tolist(), found.similarity.tolist()
    for number, same in enumerate(found.same_as.tolist()):
        if copy_of[same] >= 0:
            yield DedupRow(number, copy_of[same], False, similarity[same])
        else:
            yield DedupRow(number, same, same == number, 1.0)


def _copies(texts: Texts, threshold: float) -> Copies:
    import numpy as np

    from traces.curate.dedup import find_copies
    from traces.curate.nearby import Text
    from traces.curate.scan import PLACES, identify

    key = os.urandom(16)  # no choice of a text depends on it
    sketches = np.zeros((1024, PLACES), np.uint32)
    digests: list[bytes] = []
    lengths: list[int] = []
    full: list[bool] = []
    for some in texts.every():
        found, count = identify(some, key), len(digests)
        while count + len(some) > len(sketches):
            sketches = np.concatenate((sketches, np.zeros_like(sketches)))
        sketches[count : count + len(some)] = found.sketches
        digests += found.digests.view("V16")[:, 0].tolist()
        lengths += found.tokens.tolist()
        full += map(bool, some)
    order = sorted(compress(range(len(full)), full), key=lengths.__getitem__)

    def read(number: int) -> Text:
        return Text(texts.text(number))

    return find_copies(digests, sketches[: len(texts)], order, read, threshold, asked=False)


def decontaminate_rows(
    path: Path,
    against: Sequence[Path],
    *,
    field: str | None,
    ngram: int,
    coverage: float,
    faults: Faults,
    rewording: Rewording | None = None,
) -> Iterator[OverlapRow]:
    """Which evaluation question each row of `path` covers, one result per row in order.

    Without `field` a row is compared by the first of question, problem, prompt and text it has.
    With `rewording` rows that cover none are looked at once more, by an encoder.

    Raises:
        DataError: a file is missing or unreadable, a row of `against` is broken, no row has the
            field, or the encoder gives no vectors.
    """
    fields = (field,) if field else QUESTION_FIELDS
    tests = [
        _prompt(place, place, text) for file in against for place, text in _whole(file, fields)
    ]
    texts = _texts(path, fields, faults)
    asked = [_prompt(str(n), place, text) for n, (place, text) in enumerate(texts) if text]
    found = find_overlaps(asked, tests, ngram=ngram, coverage=coverage)
    near = {}
    if rewording is not None:
        others = [prompt for prompt in asked if prompt.id not in found]
        pairs = nearest_questions(others, tests, **rewording._asdict())
        near = {pair.prompt: pair for pair in reversed(pairs)}
    for number in range(len(texts)):
        overlap = found.get(str(number))
        if overlap is None:
            pair = near.get(str(number))
            yield (
                OverlapRow(number, "reworded", 0.0, pair.source, pair.similarity)
                if pair
                else OverlapRow(number, "", 0.0, "")
            )
            continue
        label = "masked" if overlap.masked else "same" if overlap.coverage == 1.0 else "overlap"
        yield OverlapRow(number, label, overlap.coverage, overlap.source)


def _texts(path: Path, fields: Sequence[str], faults: Faults) -> list[tuple[str, str]]:
    """Place and text of every row; the text is empty where the row is broken."""
    found = []
    for row in read_each(path):
        text = text_of(row, fields)
        if isinstance(text, Fault):
            faults.add(*text)
        found.append((row.place, text if isinstance(text, str) else ""))
    if found and not any(text for _, text in found):
        faults.raise_if_any("broken rows", f"choose another field than {' or '.join(fields)}")
    return found


def _whole(path: Path, fields: Sequence[str]) -> list[tuple[str, str]]:
    """As `_texts`, where every row must be good."""
    faults = Faults()
    found = _texts(path, fields, faults)
    faults.raise_if_any("broken rows", "every evaluation question is needed: mend the file")
    if not found:
        raise DataError(f"{path}: the file is empty")
    return found


def _prompt(key: str, source: str, text: str) -> Prompt:
    return Prompt(key, (Message("user", text),), source=source)
