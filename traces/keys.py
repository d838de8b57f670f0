"""Content hashes: the names of prompts, teachers and requests."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from traces.record import Message, Reference, Sampling, TeacherRecord

SCHEMA = 1


def content_hash(value: Any) -> str:
    """32 hex digits of BLAKE2b-128 over the canonical JSON (sorted keys) of `value`."""
    payload = msgspec.json.encode(value, order="deterministic")
    return hashlib.blake2b(payload, digest_size=16).hexdigest()


def prompt_id(
    messages: tuple[Message, ...],
    reference: Reference | None,
    tools: tuple[dict[str, Any], ...] = (),
) -> str:
    """The name of a prompt: its messages, its tools and what its answer is checked against."""
    return content_hash([SCHEMA, messages, reference, *([tools] if tools else [])])


def teacher_id(record: TeacherRecord) -> str:
    """The name of a teacher: all of its record but `id`, `endpoint` and `server`."""
    return content_hash(msgspec.structs.replace(record, id="", endpoint="", server=""))


def trace_key(
    teacher: TeacherRecord, messages: tuple[Message, ...], sampling: Sampling, sample: int
) -> str:
    """The name of one request: same teacher, same messages, same sampling, same sample index.

    The endpoint's address, its key, timeouts and prices are not part of it, so a harvest resumes
    on another server of the same model.
    """
    return request_key(teacher_id(teacher), messages, plain_sampling(sampling), sample)


def request_key(
    teacher: str,
    messages: tuple[Message, ...],
    sampling: Sampling,
    sample: int,
    tools: tuple[dict[str, Any], ...] = (),
) -> str:
    """The name of one request to a teacher whose id was made before.

    `sampling` is a `plain_sampling`; `tools` are those that the teacher was offered, which
    `trace_key` knows nothing of.
    """
    return content_hash([SCHEMA, teacher, messages, sampling, sample, *([tools] if tools else [])])


class RequestKeys:
    """The digests of many requests that differ in messages, seed and sample alone.

    The same bytes as `request_key` hashes, of which what does not change is written once.
    """

    def __init__(self, teacher: str, sampling: Sampling) -> None:
        """`sampling` is a `plain_sampling`; its seed is of no account."""
        encode = msgspec.json.Encoder(order="deterministic").encode
        mark = b'"seed":1234567891'
        written = encode(msgspec.structs.replace(sampling, seed=1234567891))
        self._before, _, self._after = written.partition(mark)
        self._head = encode([SCHEMA, teacher])[:-1] + b","
        self._encode, self._teacher, self._sampling = encode, teacher, sampling

    def digests(
        self,
        messages: tuple[Message, ...],
        seeds: Sequence[int],
        tools: tuple[dict[str, Any], ...] = (),
    ) -> bytes:
        """The digests of a prompt's samples 0, 1, ..., which have these seeds, in one block."""
        end = b",%b]" % self._encode(tools) if tools else b"]"
        head = b"%b%b,%b" % (self._head, self._encode(messages), self._before)
        made = [
            hashlib.blake2b(
                b'%b"seed":%d%b,%d%b' % (head, seed, self._after, sample, end), digest_size=16
            ).digest()
            if seed
            else self._of_seed_0(messages, sample, tools)
            for sample, seed in enumerate(seeds)
        ]
        return b"".join(made)

    def _of_seed_0(
        self, messages: tuple[Message, ...], sample: int, tools: tuple[dict[str, Any], ...]
    ) -> bytes:
        """A default is not written, so this one has another form."""
        sampling = plain_sampling(msgspec.structs.replace(self._sampling, seed=0))
        return bytes.fromhex(request_key(self._teacher, messages, sampling, sample, tools))


def plain_sampling(sampling: Sampling) -> Sampling:
    """`sampling` with its defaults as such: an encoder knows a default by identity, not value."""
    names = Sampling.__struct_fields__
    defaults = Sampling.__struct_defaults__[-len(names) :]
    given = {name: getattr(sampling, name) for name in names}
    return Sampling(
        **{
            name: given[name]
            for name, default in zip(names, defaults, strict=True)
            if name == "extra" or given[name] != default
        }
    )
