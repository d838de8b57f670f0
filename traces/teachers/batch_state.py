"""What a batch interface is to the batch teacher."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from traces.teachers.batch_ledger import Batch
from traces.teachers.chat_reply import Reply
from traces.teachers.retry import Failure


class State(msgspec.Struct, frozen=True):
    """Where a batch stands. `word` is the provider's for it; times are in microseconds, or 0."""

    id: str
    ended: bool
    word: str
    files: list[str] = []
    errors: str = ""
    began_us: int = 0
    took_us: int = 0


class Found(msgspec.Struct, frozen=True):
    """Which lost batches were found: ids by name; the names of those that cannot be told yet.

    `suspects` are the ids of batches of which one may be a lost one.
    """

    ids: dict[str, str]
    undecided: frozenset[str] = frozenset()
    suspects: tuple[str, ...] = ()


class BatchApi(Protocol):
    """One provider's way to take many requests at once."""

    most_requests: int
    most_bytes: int

    def check(self) -> None:
        """Ask for the list of batches.

        Raises:
            TeacherError: the server cannot be reached, refuses the key, or has no batches.
        """

    def line(self, key: str, body: bytes) -> bytes:
        """One request as it is written into a batch."""

    def prepare(self, name: str, lines: Sequence[bytes]) -> bytes:
        """What `create` needs; costs nothing yet."""

    def create(self, name: str, prepared: bytes) -> str:
        """The id of a new batch. Never sent twice: it may have been made although it failed.

        Raises:
            TeacherError: it failed; run again, and it is looked for among the batches.
        """

    def find(self, lost: Sequence[Batch], known: Collection[str]) -> Found:
        """Which batches of the account are those whose id was never learnt.

        `known` are the ids that others have. A lost batch that is neither found nor undecided was
        never made.
        """

    def look(self, id_: str) -> State:
        """Where a batch stands."""

    def answers(self, state: State) -> Mapping[str, Any]:
        """What an ended batch answered, by key."""

    def read(self, answer: Any, why: str, top_logprobs: int) -> Reply | Failure:
        """What one of `answers` says; `why` is what became of the batch."""


def span_us(began: Any, ended: Any) -> tuple[int, int]:
    """When a batch began and how long it took, from seconds or RFC 3339 dates; 0 where unknown."""
    start, end = _us(began), _us(ended)
    return start, max(0, end - start) if end else 0


def _us(value: Any) -> int:
    if isinstance(value, int | float):
        return int(value * 1_000_000)
    try:
        date = datetime.datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return 0
    return int(date.timestamp() * 1_000_000)
