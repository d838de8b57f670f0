"""Which traces a harvest wants: the requests, their seeds and their keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from traces.keys import content_hash, plain_sampling, request_key, teacher_id
from traces.record import Message, Prompt, Sampling, TeacherRecord
from traces.teachers.protocol import Request


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
    """Which traces are wanted. Holds names only: a request is built when it is its turn."""

    def __init__(
        self,
        prompts: Sequence[Prompt],
        record: TeacherRecord,
        samples: int,
        sampling: Sampling,
        seed: int,
    ) -> None:
        self._prompts = prompts
        self._record = record
        self._teacher = teacher_id(record)
        self._sampling = plain_sampling(sampling)
        self._seed = seed
        self.wanted: dict[str, tuple[int, int]] = {}
        """Index of the prompt and of the sample, by key, in the order in which they are asked."""
        for index in range(len(prompts)):
            for sample in range(samples):
                key = self.request(index, sample, attempt=1).key
                self.wanted.setdefault(key, (index, sample))

    def distinct_prompts(self) -> Iterator[Prompt]:
        """The prompts, those that occur twice once."""
        for index, sample in self.wanted.values():
            if sample == 0:
                yield self._prompts[index]

    def prompt_of(self, key: str) -> tuple[int, Prompt]:
        """Number and text of the prompt that a key asks."""
        index = self.wanted[key][0]
        return index, self._prompts[index]

    def request(self, index: int, sample: int, attempt: int) -> Request:
        """The request for one sample of one prompt."""
        prompt = self._prompts[index]
        messages = seen_by(self._record, merged(prompt.hidden, prompt.messages))
        # Greedy decoding is the same whatever the run's seed.
        seed = self._seed if self._sampling.temperature else 0
        own_seed = sample_seed(seed, prompt.id, sample)
        sampling = msgspec.structs.replace(self._sampling, seed=own_seed)
        key = request_key(self._teacher, messages, sampling, sample)
        return Request(key, prompt, sample, attempt, messages, sampling)
