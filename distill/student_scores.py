"""What the untouched student says of training rows: likelihood, ranks, and local naturalness.

nll      mean negative log-likelihood of the trained tokens, in nats
rank     mean rank of the trained tokens among the whole vocabulary, 1 the likeliest, each rank
         clipped at 100
rsr      rank / nll, the rank-surprisal ratio (arXiv:2601.14249: ranks clipped at 100, lower is
         more suited)
natural  local naturalness (arXiv:2510.03988, first version): each step's mean log-likelihood,
         given the question and at most four steps before it, averaged over the steps with equal
         weights. A step is a sentence or a line
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

import torch

from distill.artifacts import StudentScore
from distill.rows import Row
from distill.score import BATCH_TOKENS, batches, score_rows
from distill.teacher_rows import span_start
from traces.keys import content_hash
from traces.teachers.local import LocalTeacher

VERSION = 2
RANK_CLIP = 100
WINDOW = 4
LEAST = 3
"""Tokens of a step; a shorter one, such as the number of a list, goes with the next."""
DIGITS = 6  # kept of each score
AS_IT_IS = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}

Decode = Callable[[Sequence[int]], str]


def row_hash(row: Row) -> str:
    """A name for what is scored: the tokens of a row, and where the trained ones begin."""
    return content_hash([row.input_ids, span_start(row)])


class Student:
    """A model that scores rows, loaded when it is first asked.

    `name` is that of the model with all that its scores depend on.
    """

    def __init__(self, model: LocalTeacher, vocabulary: int) -> None:
        self._model, self._vocabulary = model, vocabulary
        self.name = content_hash([model.record.id, VERSION, RANK_CLIP, WINDOW, LEAST])
        self._steps = Steps(partial(model.tokenizer.decode, **AS_IT_IS))

    def score(self, rows: Sequence[Row], natural: Collection[str] = ()) -> list[StudentScore]:
        """One score for each row, with local naturalness of those whose key is in `natural`."""
        found = score_rows(self._model.loaded(), self._vocabulary, rows, ranks=True)
        scored = []
        for row, own in zip(rows, found, strict=True):
            nll = -float(own.target.double().mean())
            rank = float(own.rank.clamp_max(RANK_CLIP).double().mean())
            scored.append(
                StudentScore(
                    key=row.key,
                    row=row_hash(row),
                    scorer=self.name,
                    tokens=len(own.rank),
                    nll=round(nll, DIGITS),
                    rank=round(rank, DIGITS),
                    rsr=round(rank / max(nll, 1e-12), DIGITS),
                    natural=round(self.naturalness(row), DIGITS) if row.key in natural else None,
                )
            )
        return scored

    def naturalness(self, row: Row) -> float:
        """The mean over the steps of their mean log-likelihoods, each step in its window."""
        ends = self._steps.ends(row.input_ids[span_start(row) :])
        found = [
            own.target.double()
            for batch in batches(windows(row, ends), BATCH_TOKENS)
            for own in score_rows(self._model.loaded(), self._vocabulary, batch)
        ]
        steps = torch.cat(found).tensor_split(ends[:-1])
        return sum(float(step.mean()) for step in steps) / len(steps)


def windows(row: Row, ends: Sequence[int]) -> Iterator[Row]:
    """Rows whose trained tokens are those of a row, in order: the prompt, the window, the step.

    The first steps have all before them in their windows, so one row has them all; the others have
    a row each, for what a step is told by its window differs from window to window. `ends` are the
    places in the span where steps end, the last one that of the span.
    """
    start = span_start(row)
    prompt, span = row.input_ids[:start], row.input_ids[start:]
    starts = [0, *ends[:-1]]
    later = zip(starts[1:], starts[WINDOW + 1 :], ends[WINDOW + 1 :], strict=False)
    for first, begin, end in ((0, 0, ends[: WINDOW + 1][-1]), *later):
        ids = [*prompt, *span[first:end]]
        before = len(ids) - (end - begin)
        yield Row(row.key, row.prompt_id, ids, [0.0] * before + [1.0] * (end - begin))


class Steps:
    """Cuts token ids into sentences and lines; remembers what tokens read like."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._texts: dict[tuple[int, ...], str] = {}

    def ends(self, ids: Sequence[int]) -> list[int]:
        """Where the steps of `ids` end, the last of them at its length; none of no ids."""
        found, start = [], 0
        for place in range(1, len(ids)):
            if place - start >= LEAST and self._between(ids[place - 1], ids[place]):
                found.append(place)
                start = place
        if found and len(ids) - start < LEAST:
            found.pop()
        return [*found, len(ids)] if ids else []

    def _between(self, one: int, other: int) -> bool:
        """Whether a step ends between two tokens that follow each other."""
        text = self._text(one)
        if text.endswith("\n"):
            return not self._behind(one, other).startswith("\n")
        if text.rstrip("\"')]*").endswith((".", "!", "?")):
            behind = self._behind(one, other)
            return behind[:1].isspace() and behind[:1] != "\n"
        return text.endswith(("\u3002", "\uff01", "\uff1f"))

    def _behind(self, one: int, other: int) -> str:
        # Alone, some tokenizers' tokens lose the space that they begin with.
        return self._text(one, other)[len(self._text(one)) :]

    def _text(self, *ids: int) -> str:
        if ids not in self._texts:
            self._texts[ids] = self._decode(ids)
        return self._texts[ids]
