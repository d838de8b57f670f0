"""Training questions that are evaluation questions, wholly or in part.

A training question overlaps an evaluation question when at least `coverage` of its n-grams occur
there *and* both hold the same numbers equally often, or when the whole evaluation question, not
being short, stands in it word for word. Numbers are tokens: problems made from one template with
other numbers are different problems. Such pairs are found with all numbers masked, and labelled.

N-grams that occur in a tenth of all questions (three at least) are no evidence: they are the
template of a task, or the instruction that every prompt ends with. They count neither way.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from traces.curate.tokens import Vocabulary, numbers, question_tokens
from traces.errors import DataError
from traces.record import Prompt

COMMON_SHARE = 0.1
COMMON_LEAST = 3

Tokens = tuple[str, ...]


class Overlap(NamedTuple):
    """The evaluation question (its source) that a training question covers, and how far.

    `masked` says that they are alike only up to their numbers.
    """

    source: str
    coverage: float
    masked: bool


class Coverage(NamedTuple):
    """The evaluation questions that cover a training question best, by source, and how far.

    `share` counts those with equal numbers only, `masked_share` compares with numbers masked.
    """

    source: str
    share: float
    masked_source: str
    masked_share: float


def question_text(prompt: Prompt) -> str:
    """What the user says in `prompt`."""
    return "\n".join(message.content for message in prompt.messages if message.role == "user")


def exact_overlap(train: Iterable[Prompt], evaluation: Iterable[Prompt]) -> None:
    """Return where no evaluation question is a training question too.

    Case, white space, punctuation and LaTeX markup make no difference; numbers, operators and
    brackets do.

    Raises:
        DataError: some are; names the first three pairs by source, and how many there are.
    """
    asked = [(prompt, _tokens(prompt)) for prompt in evaluation]  # these are few
    same = dict.fromkeys((tokens for _, tokens in asked), "")
    for prompt in train if asked else ():
        tokens = _tokens(prompt)
        if same.get(tokens) == "":
            same[tokens] = name_of(prompt)
    shared = [f"{name_of(p)} is also {same[tokens]}" for p, tokens in asked if same[tokens]]
    if shared:
        more = f"\nand {len(shared) - 3} more" if len(shared) > 3 else ""
        plural = "problems are" if len(shared) > 1 else "problem is"
        raise DataError(
            f"{len(shared)} evaluation {plural} among the training prompts:\n"
            + "\n".join(shared[:3])
            + more,
            "take them out of one of the two, or give the task sources different seeds",
        )


def find_overlaps(
    train: Iterable[Prompt], evaluation: Iterable[Prompt], *, ngram: int, coverage: float
) -> dict[str, Overlap]:
    """The overlap of each training prompt that has one, by prompt id.

    Questions under `2 ngram` tokens use n-grams of half their length.
    """
    found: dict[str, Overlap] = {}
    for prompt_id, one in measure_overlaps(train, evaluation, ngram=ngram).items():
        if one.share >= coverage:
            found[prompt_id] = Overlap(one.source, one.share, masked=False)
        elif one.masked_share >= coverage:
            found[prompt_id] = Overlap(one.masked_source, one.masked_share, masked=True)
    return found


def measure_overlaps(
    train: Iterable[Prompt], evaluation: Iterable[Prompt], *, ngram: int
) -> dict[str, Coverage]:
    """How far each training prompt is covered, by prompt id; those that are not at all left out."""
    tested: dict[Tokens, str] = {}
    for prompt in evaluation:
        tested.setdefault(_tokens(prompt), name_of(prompt))
    if not tested:
        return {}
    known: dict[str, str] = {}  # a word that many questions have is held once
    asked = {
        prompt.id: tuple(known.setdefault(token, token) for token in _tokens(prompt))
        for prompt in train
    }
    search = _Search(list(tested), list(dict.fromkeys(asked.values())), ngram)
    sources = list(tested.values())
    measured: dict[Tokens, Coverage] = {}
    found: dict[str, Coverage] = {}
    for prompt_id, question in asked.items():
        if question not in measured:
            measured[question] = (
                Coverage(tested[question], 1.0, "", 0.0)
                if question in tested
                else search.measure(question, sources)
            )
        if measured[question].share or measured[question].masked_share:
            found[prompt_id] = measured[question]
    return found


def _tokens(prompt: Prompt) -> Tokens:
    return tuple(question_tokens(question_text(prompt)))


def name_of(prompt: Prompt) -> str:
    """Where a prompt was found, its id where that is not known."""
    return prompt.source or f"prompt {prompt.id}"


def _mask(question: Tokens) -> Tokens:
    return tuple("0" if token[0].isdigit() else token for token in question)


def _most(shares: dict[int, float]) -> int | None:
    """The index with the greatest share, the first of equals."""
    return max(shares, key=lambda index: (shares[index], -index), default=None)


class _Search:
    """Indices of the evaluation questions, one for each n that some training question needs."""

    def __init__(self, tested: list[Tokens], asked: list[Tokens], ngram: int) -> None:
        self.tested = tested
        self.asked = asked
        self.ngram = ngram
        self.numbers = [numbers(question) for question in tested]
        self.masked = [_mask(question) for question in tested]
        self.spelt = [f" {' '.join(question)} " for question in tested]
        self._indices: dict[tuple[int, bool], _Index] = {}

    def measure(self, question: Tokens, sources: Sequence[str]) -> Coverage:
        """The evaluation questions that cover it best, numbers being equal, and being masked."""
        n = min(self.ngram, max(1, (len(question) + 1) // 2))
        real = self._index(n, masked=False).coverage(question)
        same = numbers(question)
        spelt = f" {' '.join(question)} "
        inside = [i for i in real if len(self.tested[i]) >= self.ngram and self.spelt[i] in spelt]
        if inside:
            return Coverage(sources[inside[0]], 1.0, "", 0.0)
        equal = {i: share for i, share in real.items() if self.numbers[i] == same}
        alike = self._index(n, masked=True).coverage(_mask(question))
        best, masked = _most(equal), _most(alike)
        return Coverage(
            "" if best is None else sources[best],
            0.0 if best is None else round(equal[best], 4),
            "" if masked is None else sources[masked],
            0.0 if masked is None else round(alike[masked], 4),
        )

    def _index(self, n: int, *, masked: bool) -> _Index:
        if (n, masked) not in self._indices:
            tested = self.masked if masked else self.tested
            asked = [_mask(question) for question in self.asked] if masked else self.asked
            self._indices[n, masked] = _Index(tested, asked, n)
        return self._indices[n, masked]


class _Index:
    """Which evaluation questions hold an n-gram, leaving out those that are no evidence."""

    def __init__(self, tested: Sequence[Tokens], asked: Sequence[Tokens], n: int) -> None:
        self.n = n
        self.vocabulary = Vocabulary()
        held = array("Q")  # 8 bytes for each, where a Counter takes 130
        for question in {*tested, *asked}:
            held.frombytes(np.unique(self.vocabulary.ngrams(question, n)).tobytes())
        grams, counts = np.unique(np.frombuffer(held, np.uint64), return_counts=True)
        limit = max(COMMON_LEAST, COMMON_SHARE * (len(tested) + len(asked)))
        self.common = frozenset(grams[counts >= limit].tolist())
        self.holders: dict[int, list[int]] = {}
        for index, question in enumerate(tested):
            for gram in set(self._ngrams(question)) - self.common:
                self.holders.setdefault(gram, []).append(index)

    def _ngrams(self, question: Tokens) -> list[int]:
        grams: list[int] = self.vocabulary.ngrams(question, self.n).tolist()
        return grams

    def coverage(self, question: Tokens) -> dict[int, float]:
        """Share of the telling n-grams of `question` that each evaluation question holds."""
        telling = [gram for gram in self._ngrams(question) if gram not in self.common]
        hits = Counter(index for gram in telling for index in self.holders.get(gram, ()))
        return {index: count / len(telling) for index, count in sorted(hits.items())}
