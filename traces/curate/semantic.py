"""Questions that ask the same in other words, by any encoder of texts; an option, off by default.

Pairs are noted with their cosine similarity, and a threshold decides on them afterwards. Questions
with different numbers are different problems and never a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from traces.curate.drops import Drops
from traces.curate.ledger import RIGHT
from traces.curate.overlap import question_text
from traces.curate.tokens import numbers, question_tokens
from traces.dotted import dotted
from traces.errors import DataError, MissingDependencyError, UserError
from traces.record import Prompt

FLOOR = 0.8
VERSION = 2
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
        UserError: there is none, or it is no function.
        MissingDependencyError: sentence-transformers is not installed.
    """
    if ":" in name:
        found: Encoder = dotted(name, "encoder")
        if not callable(found):
            raise UserError(f"the encoder {name!r} is no function but {type(found).__name__}")
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
    groups: dict[Any, list[str]] = {}
    for key in sorted(key for key, text in texts.items() if text.strip()):
        groups.setdefault(numbers(question_tokens(texts[key])), []).append(key)
    shared = [group for group in groups.values() if len(group) > 1]
    ids = [key for group in shared for key in group]
    if not ids:
        return []
    vectors = directions(encode([texts[key] for key in ids]), len(ids))
    found, start = [], 0
    for group in shared:
        for one, other, alike in _pairs(vectors[start : start + len(group)], floor):
            found.append(Alike(group[one], group[other], alike))
        start += len(group)
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


def directions(found: npt.ArrayLike, count: int) -> npt.NDArray[np.float32]:
    """What an encoder gave for `count` texts, copied and at length 1, [N, H]; zeros stay zeros.

    Raises:
        DataError: it is another number of vectors, or some are not finite.
    """
    vectors = np.array(found, np.float32)
    if vectors.ndim != 2 or len(vectors) != count or not np.isfinite(vectors).all():
        raise DataError(
            f"the encoder made an array of shape {vectors.shape} from {count} questions",
            "it must give one vector of finite numbers for each",
        )
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(norms > 0, norms, np.float32(1))
    return vectors


def _pairs(vectors: npt.NDArray[np.float32], floor: float) -> Iterable[tuple[int, int, float]]:
    for start in range(0, len(vectors), _BLOCK):
        alike = np.round(vectors[start : start + _BLOCK] @ vectors.T, 4)
        for one, other in np.argwhere(alike >= np.float32(floor)).tolist():
            if start + one < other:
                yield start + one, other, round(float(alike[one, other]), 4)
