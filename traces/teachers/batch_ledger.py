"""Which batches were made, and what they hold: one file that is replaced as a whole."""

from __future__ import annotations

from pathlib import Path

import msgspec

from traces.errors import DataError
from traces.jsonio import write_json


class Batch(msgspec.Struct, frozen=True, omit_defaults=True):
    """One batch. `id` is empty until the server told it; `failed` keys may be asked again.

    `made_us` is when we asked for it.
    """

    name: str
    keys: tuple[str, ...]
    id: str = ""
    failed: tuple[str, ...] = ()
    made_us: int = 0

    @property
    def pending(self) -> list[str]:
        """The keys that this batch answers, or has answered."""
        failed = set(self.failed)
        return [key for key in self.keys if key not in failed]


class BatchLedger:
    """All batches of one store, in the order in which they were made.

    Raises:
        DataError: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._batches: dict[str, Batch] = {}
        if path.exists():
            try:
                found = msgspec.json.decode(path.read_bytes(), type=list[Batch])
            except msgspec.MsgspecError as error:
                raise DataError(
                    f"{path}: {error}", "restore it from a copy; without it batches are paid twice"
                ) from error
            self._batches = {batch.name: batch for batch in found}

    @property
    def batches(self) -> list[Batch]:
        """All of them."""
        return list(self._batches.values())

    def note(self, batch: Batch) -> None:
        """Add or replace a batch; on disk when it returns."""
        self._batches[batch.name] = batch
        write_json(self.path, self.batches)

    def forget(self, batch: Batch) -> None:
        """Take a batch out that was never made."""
        del self._batches[batch.name]
        write_json(self.path, self.batches)
