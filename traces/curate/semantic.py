"""Questions that ask the same in other words, by any encoder of texts; an option, off by default.

Pairs are noted with their cosine similarity, and a threshold decides on them afterwards. Questions
with different numbers are different problems and never a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from traces.curate.drops import Drops
from traces.curate.ledger import RIGHT
from traces.curate.overlap import question_text
from traces.curate.tokens import numbers, question_tokens
from traces.errors import DataError, MissingDependencyError, UserError
from traces.record import Prompt

FLOOR = 0.8
_BLOCK = 1024

Encoder = Callable[[Sequence[str]], npt.ArrayLike]
"""From N texts to their vectors, [N, H]; lengths do not matter, directions do."""


class Alike(msgspec.Struct, frozen=True, array_like=True):
    """Two prompts, by id, and the cosine similarity of their questions, to four digits."""

    one: str
    other: str
    similarity: float


def load_encoder(name: str) -> Encoder:
    """The encoder at the dotted path `package.module:function`, else a sentence-transformers model.

    Raises:
        UserError: there is none.
        MissingDependencyError: sentence-transformers is not installed.
    """
    module, _, attribute = name.partition(":")
    if attribute:
        try:
            found: Encoder = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise UserError(f"cannot load the encoder {name!r}: {error}") from error
        return found
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingDependencyError(
            f"the encoder {name!r} needs sentence-transformers",
            "pip install 'trace-distill[semantic]', or name your own package.module:function",
        ) from error
    try:
        loaded: Encoder = SentenceTransformer(name).encode
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load the encoder {name!r}: {error}") from error
    return loaded


def alike_questions(
    prompts: Iterable[Prompt], encode: Encoder, *, floor: float = FLOOR
) -> list[Alike]:
    """Pairs of prompts whose questions hold the same numbers and are alike by at least `floor`.

    The order of `prompts` makes no difference. Time is quadratic in the prompts with equal numbers.

    Raises:
        DataError: the encoder gives another number of vectors than texts, or none that is finite.
    """
    texts = {prompt.id: question_text(prompt) for prompt in prompts}
    ids = sorted(key for key, text in texts.items() if text.strip())
    groups: dict[Any, list[int]] = {}
    for place, key in enumerate(ids):
        groups.setdefault(numbers(question_tokens(texts[key])), []).append(place)
    shared = sorted(place for group in groups.values() if len(group) > 1 for place in group)
    if not shared:
        return []
    vectors = directions(encode([texts[ids[place]] for place in shared]), len(shared))
    row_of = {place: row for row, place in enumerate(shared)}
    found = []
    for group in groups.values():
        if len(group) > 1:
            mine = vectors[[row_of[place] for place in group]]
            for one, other, alike in _pairs(mine, floor):
                found.append(Alike(ids[group[one]], ids[group[other]], alike))
    return sorted(found, key=lambda pair: (pair.one, pair.other))


def drop_alike(drops: Drops, pairs: Sequence[Alike], threshold: float) -> None:
    """Drop the traces of each question that is alike to one that stays.

    Questions are taken those with most right traces first, then those with most traces.
    """
    ledger = drops.ledger
    names, codes = ledger.prompt.names, ledger.prompt.codes
    right = np.bincount(codes[drops.alive & (ledger.answer == RIGHT)], minlength=len(names))
    count = np.bincount(codes[drops.alive], minlength=len(names))
    partners: dict[str, list[tuple[float, str]]] = {}
    for pair in pairs:
        if pair.similarity >= threshold:
            partners.setdefault(pair.one, []).append((pair.similarity, pair.other))
            partners.setdefault(pair.other, []).append((pair.similarity, pair.one))
    stays: set[str] = set()
    gone: dict[int, str] = {}
    there = np.flatnonzero(count).tolist()
    for code in sorted(there, key=lambda c: (-right[c], -count[c], names[c])):
        near = [(alike, of) for alike, of in partners.get(names[code], ()) if of in stays]
        if near:
            alike, of = max(near)
            gone[code] = f"{alike:.4f} of {of}"
        else:
            stays.add(names[code])
    mask = np.isin(codes, list(gone))
    drops.drop("semantic_duplicate", mask, lambda row: gone[int(codes[row])], threshold)


def directions(found: npt.ArrayLike, count: int) -> npt.NDArray[np.float64]:
    """What an encoder gave for `count` texts, at length 1, [N, H]; zeros stay zeros.

    Raises:
        DataError: it is another number of vectors, or some are not finite.
    """
    vectors = np.asarray(found, np.float64)
    if vectors.ndim != 2 or len(vectors) != count or not np.isfinite(vectors).all():
        raise DataError(
            f"the encoder made an array of shape {vectors.shape} from {count} questions",
            "it must give one vector of finite numbers for each",
        )
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1.0)


def _pairs(vectors: npt.NDArray[np.float64], floor: float) -> Iterable[tuple[int, int, float]]:
    for start in range(0, len(vectors), _BLOCK):
        alike = np.round(vectors[start : start + _BLOCK] @ vectors.T, 4)
        for one, other in np.argwhere(alike >= floor).tolist():
            if start + one < other:
                yield start + one, other, float(alike[one, other])
