"""Which traces a harvest wants: the requests, their seeds and their keys.

A place is the number of a wanted trace: the samples of the first prompt, those of the second, and
so on. A plan holds 16 bytes for each, in its store where it has one; a request is built when it is
its turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from traces.digests import PIECE, WIDTH, Block, Digests, Index, digests_of
from traces.keys import RequestKeys, content_hash, plain_sampling, teacher_id
from traces.record import Message, Prompt, Sampling, TeacherRecord
from traces.rows import StructFile
from traces.store import TraceStore
from traces.teachers.protocol import Request

VERSION = 3
"""Of the way from a prompt to its keys."""
MOST = int(np.iinfo(np.int16).max)
_BLOCK = 1 << 14


def seen_by(record: TeacherRecord, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """All that the teacher sees: its own context, then the prompt.

    Chat templates allow one system message, at the start: the teacher's and the prompt's become
    one, the teacher's first.
    """
    return merged(record.context, messages)


def merged(before: tuple[Message, ...], messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """`before` and then `messages`, with one system message at most."""
    if not before and messages and messages[0].role != "system":
        return messages
    parts = (before, messages)
    system = [part[0].content for part in parts if part and part[0].role == "system"]
    rest = tuple(
        message
        for part in parts
        for message in (part[1:] if part and part[0].role == "system" else part)
    )
    return (Message("system", "\n\n".join(system)), *rest) if system else rest


def sample_seed(seed: int, prompt_id: str, sample: int) -> int:
    """A seed of 31 bits for one sample of one prompt.

    The prompt's id covers its reference, and the seed is part of the trace's key: a question whose
    reference was corrected is asked again, and no trace is checked against an answer that was not
    its own.
    """
    return int(content_hash([seed, prompt_id, sample])[:8], 16) >> 1


class Plan:
    """Which traces are wanted.

    Args:
        prompts: One that occurs twice is wanted once.
        record: Of the teacher.
        samples: Traces per prompt.
        sampling: `seed` in it is replaced by one for each sample.
        seed: From which those seeds are made, but for greedy decoding.
        store: What it remembers of the same plan is not made again, where `prompts` is a file.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        record: TeacherRecord,
        samples: int,
        sampling: Sampling,
        seed: int,
        store: TraceStore | None = None,
    ) -> None:
        self.prompts, self.samples = prompts, samples
        self._record = record
        self._sampling = plain_sampling(sampling)
        # Greedy decoding is the same whatever the run's seed.
        self._seed = seed if self._sampling.temperature else 0
        self.name = ""
        """What a store knows it by; empty where the prompts are not in a file."""
        if isinstance(prompts, StructFile):
            parts = [teacher_id(record), self._sampling, self._seed, samples]
            self.name = content_hash([VERSION, prompts.digest, *parts])
        known = store.plan(self.name) if store is not None and self.name else None
        self.known = known is not None
        """Whether the store remembered it; its prompts are stored then."""
        self.digests: Digests
        if known is not None:
            self.digests, kept = known
        elif store is not None and self.name and not store.readonly:
            self.digests, kept = store.write_digests(self.name, self._hashed()), None
        else:
            self.digests, kept = Block(b"".join(self._hashed())), None
        repeated = Index(self.digests).repeated() if kept is None else np.frombuffer(kept, "<i8")
        self.repeated = frozenset(repeated.tolist())
        """Places whose key an earlier place has; nothing is asked there."""

    def keep(self, store: TraceStore) -> None:
        """Have `store`, which holds all prompts, remember it, where they are in a file."""
        if self.name:
            repeated = np.array(sorted(self.repeated), dtype="<i8")
            store.keep_plan(self.name, self.digests, repeated.tobytes())

    def _hashed(self) -> Iterator[bytes]:
        """The digests, a piece at a time."""
        keys = RequestKeys(teacher_id(self._record), self._sampling)
        offers = self._record.kind == "endpoint"  # the others know no tools
        size, made = WIDTH * PIECE, bytearray()
        for prompt in self.prompts:
            made += keys.digests(
                self._seen(prompt),
                [sample_seed(self._seed, prompt.id, sample) for sample in range(self.samples)],
                prompt.tools if offers else (),
            )
            while len(made) >= size:
                yield bytes(made[:size])
                del made[:size]
        if made:
            yield bytes(made)

    def __len__(self) -> int:
        """How many traces are wanted."""
        return self.places - len(self.repeated)

    @property
    def places(self) -> int:
        """How many places there are, repeated prompts included."""
        return len(self.digests)

    def key(self, place: int) -> str:
        """The key that belongs at a place."""
        number, at = divmod(place, PIECE)
        return self.digests.piece(number)[WIDTH * at : WIDTH * (at + 1)].hex()

    def but(self, done: npt.NDArray[np.bool_]) -> Iterator[int]:
        """The places that are wanted and not true in `done`, in the order of asking."""
        for start in range(0, self.places, _BLOCK):
            for place in np.flatnonzero(~done[start : start + _BLOCK]).tolist():
                if start + place not in self.repeated:
                    yield start + place

    def keys(self, among: npt.NDArray[np.bool_] | None = None) -> Iterator[str]:
        """The keys in the order of asking; only of the places that are true in `among`."""
        left_out = np.zeros(self.places, dtype=np.bool_) if among is None else ~among
        return (self.key(place) for place in self.but(left_out))

    def distinct_prompts(self) -> Iterator[Prompt]:
        """The prompts, those that occur twice once."""
        for index, prompt in enumerate(self.prompts):
            if index * self.samples not in self.repeated:
                yield prompt

    def attempts(self, store: TraceStore) -> npt.NDArray[np.int16]:
        """The highest attempt that `store` holds for each place, -1 where it holds none.

        One above MOST is told as MOST.
        """
        found, index = np.full(self.places, -1, dtype=np.int16), Index(self.digests)

        def note(block: bytes, attempts: npt.NDArray[np.int32]) -> None:
            places = index.find(block)
            hit = places >= 0
            told = np.minimum(attempts[hit], MOST).astype(np.int16)
            np.maximum.at(found, places[hit], told)

        store.each_attempt(note)
        return found

    def find(self, keys: Sequence[str]) -> list[int]:
        """The places of those of `keys` that are wanted."""
        if not keys:
            return []
        places: list[int] = Index(self.digests).find(digests_of(keys)[0]).tolist()
        return [place for place in places if place >= 0]

    def request(self, place: int, attempt: int) -> Request:
        """The request that belongs at a place."""
        index, sample = divmod(place, self.samples)
        prompt = self.prompts[index]
        own_seed = sample_seed(self._seed, prompt.id, sample)
        sampling = msgspec.structs.replace(self._sampling, seed=own_seed)
        return Request(self.key(place), prompt, sample, attempt, self._seen(prompt), sampling)

    def _seen(self, prompt: Prompt) -> tuple[Message, ...]:
        return seen_by(self._record, merged(prompt.hidden, prompt.messages))
