"""Records to bytes and back: MessagePack in a zstd frame with a checksum.

Top-k logprobs inside a record are laid out to compress well, and back (`traces.compact`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import zstandard

from traces.compact import compact, expand
from traces.record import TopLogprobs

Record = TypeVar("Record")

_TEXT_LEVEL, _LOGPROBS_LEVEL = 1, 3
"""English prose is 3 % larger than at level 3, at two thirds of the cycles; logprobs are most of
what a store holds of them, and 3 % of that is more."""
_per_thread = threading.local()  # zstd contexts must not be shared between threads


def encode(record: msgspec.Struct) -> bytes:
    """The bytes of `record`. Lone surrogates, which no UTF-8 can hold, become U+FFFD."""
    level = _TEXT_LEVEL if getattr(record, "logprobs", None) is None else _LOGPROBS_LEVEL
    record = _with_logprobs(record, compact)
    try:
        plain = msgspec.msgpack.encode(record)
    except UnicodeEncodeError:
        plain = msgspec.msgpack.encode(without_surrogates(msgspec.to_builtins(record)))
    return _compressor(level).compress(plain)


def decode(blob: bytes, kind: type[Record]) -> Record:
    """The record in `blob`.

    Raises:
        ValueError: the bytes are damaged, or hold another kind of record.
    """
    try:
        return _with_logprobs(
            msgspec.msgpack.decode(_decompressor().decompress(blob), type=kind), expand
        )
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _with_logprobs(record: Record, change: Callable[[TopLogprobs], TopLogprobs]) -> Record:
    """`record` with `change` done to its top-k logprobs, if it has any."""
    top = getattr(record, "logprobs", None)
    if not isinstance(top, TopLogprobs):
        return record
    changed: Record = msgspec.structs.replace(record, logprobs=change(top))  # type: ignore[type-var]
    return changed


def without_surrogates(value: Any) -> Any:
    """`value` with each lone surrogate in its strings replaced by U+FFFD, and pairs joined."""
    if isinstance(value, str):
        if value.isascii():
            return value
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, dict):
        return {without_surrogates(k): without_surrogates(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_surrogates(item) for item in value]
    return value


def _compressor(level: int) -> zstandard.ZstdCompressor:
    if not hasattr(_per_thread, "compressors"):
        _per_thread.compressors = {}
    known: dict[int, zstandard.ZstdCompressor] = _per_thread.compressors
    if level not in known:
        known[level] = zstandard.ZstdCompressor(level=level, write_checksum=True)
    return known[level]


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_per_thread, "decompressor"):
        _per_thread.decompressor = zstandard.ZstdDecompressor()
    decompressor: zstandard.ZstdDecompressor = _per_thread.decompressor
    return decompressor
