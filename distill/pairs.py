"""The traces of a run with their prompts, read from its store as often as they are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from traces.digests import DigestSet
from traces.record import Prompt, Trace
from traces.rows import StructFile
from traces.store import TraceStore

PROMPTS_HELD = 1024
"""Samples of one prompt lie near each other in a store."""


class Pairs:
    """The traces that a recipe asked for; others in the store are not its own.

    Holds 16 bytes for each trace, and what it gives one at a time.
    """

    def __init__(self, root: Path) -> None:
        """`root` is the run directory.

        Raises:
            DataError: the harvest's files are missing.
        """
        self._store = root / "harvest/traces.sqlite"
        self._keys = DigestSet(StructFile(root / "harvest/keys.jsonl", str))

    def __len__(self) -> int:
        """How many there are, as the harvest says."""
        return len(self._keys)

    def __iter__(self) -> Iterator[tuple[Prompt, Trace]]:
        """Each trace with its prompt, in the order of the store."""
        with TraceStore.open(self._store, readonly=True) as store:
            prompt = lru_cache(PROMPTS_HELD)(store.prompt)
            for trace in store.traces():
                if trace.key in self._keys:
                    yield prompt(trace.prompt_id), trace
