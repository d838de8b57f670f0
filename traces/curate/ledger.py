"""What was measured of every trace, in columns: decisions are made from it and nothing else.

It holds no text, so thresholds can be changed and everything decided again without reading one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from traces.errors import DataError
from traces.files import replacing

FAILED, CUT, UNCLOSED, BLANK, NO_REASONING = 1, 2, 4, 8, 16
PHRASES = {"refusal": 32, "identity": 64, "cutoff": 128}
OUTCOMES = ("none", "right", "wrong", "unknown")
NONE, RIGHT, WRONG, UNKNOWN = range(4)
SKETCH_BYTES = 64


class Words(NamedTuple):
    """A column of few different strings: row i has `names[codes[i]]`; i32 [N]."""

    names: list[str]
    codes: npt.NDArray[np.int32]

    def at(self, row: int) -> str:
        """The string of one row."""
        return self.names[int(self.codes[row])]


class Ledger(NamedTuple):
    """N traces. `floor` is the similarity down to which copies were looked for.

    `flags` u8: FAILED (no usable reply), CUT, UNCLOSED, BLANK, NO_REASONING, and those of PHRASES
    (`traces.curate.phrases`). `tokens` canonical ones, i32. `tail` characters of a periodic ending,
    i32. `repeated`, `repeated_masked`: shares of 10-grams that repeat an earlier one, f64.
    `foreign`: share of letters in scripts that neither Latin, Greek nor the question has, f64.
    `compression`: characters per compressed byte, f64. `branching`: words of doubt per 1,000
    tokens, f64. `answer`, `steps`: place in OUTCOMES, u8. `overlap`, `masked`: share of the
    question's n-grams in the evaluation question `overlap_of` with equal numbers, and in
    `masked_of` with numbers masked, f64. `same_as`, `copy_of`, `similarity` as in `dedup.Copies`.
    `sketch` u8 [N, 64].
    """

    floor: float
    keys: list[str]
    prompt: Words
    domain: Words
    status: Words
    finish: Words
    flags: npt.NDArray[np.uint8]
    tokens: npt.NDArray[np.int32]
    tail: npt.NDArray[np.int32]
    repeated: npt.NDArray[np.float64]
    repeated_masked: npt.NDArray[np.float64]
    foreign: npt.NDArray[np.float64]
    compression: npt.NDArray[np.float64]
    branching: npt.NDArray[np.float64]
    answer: npt.NDArray[np.uint8]
    steps: npt.NDArray[np.uint8]
    steps_reason: Words
    overlap_of: Words
    overlap: npt.NDArray[np.float64]
    masked_of: Words
    masked: npt.NDArray[np.float64]
    same_as: npt.NDArray[np.int32]
    copy_of: npt.NDArray[np.int32]
    similarity: npt.NDArray[np.float64]
    sketch: npt.NDArray[np.uint8]


def words(found: list[str]) -> Words:
    """The column of these strings."""
    names: dict[str, int] = {}
    codes = np.fromiter((names.setdefault(w, len(names)) for w in found), np.int32, len(found))
    return Words(list(names), codes)


def save_ledger(path: Path, ledger: Ledger, made_of: str) -> None:
    """Write `ledger` as one Arrow file, whole or not at all. `made_of` names what went into it."""
    import pyarrow
    from pyarrow import ipc

    columns = {}
    for name, value in ledger._asdict().items():
        if name != "floor":
            columns[name] = _arrow(pyarrow, value)
    about = {"made_of": made_of, "floor": json.dumps(ledger.floor)}
    table = pyarrow.table(columns).replace_schema_metadata(about)
    with replacing(path) as temporary, ipc.new_file(temporary, table.schema) as writer:
        writer.write_table(table)


def load_ledger(path: Path, made_of: str | None = None) -> Ledger | None:
    """The ledger at `path`; None where there is none, or it was not `made_of` this.

    Raises:
        DataError: the file cannot be read.
    """
    import pyarrow
    from pyarrow import ipc

    if not path.exists():
        return None
    try:
        with ipc.open_file(pyarrow.memory_map(str(path))) as reader:
            about = reader.schema.metadata or {}
            if made_of is not None and about.get(b"made_of", b"").decode() != made_of:
                return None
            table = reader.read_all().combine_chunks()
        columns = {name: _plain(table.column(name), name) for name in table.column_names}
        return Ledger(floor=float(about[b"floor"]), **columns)
    except (pyarrow.ArrowException, OSError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a readable ledger: {error}", "delete it") from error


def _arrow(pyarrow: Any, value: Any) -> Any:
    if isinstance(value, Words):
        return pyarrow.DictionaryArray.from_arrays(value.codes, pyarrow.array(value.names, "str"))
    if isinstance(value, list):
        return pyarrow.array(value, "str")
    if value.ndim == 2:
        flat = pyarrow.array(value.reshape(-1))
        return pyarrow.FixedSizeListArray.from_arrays(flat, value.shape[1])
    return pyarrow.array(value)


def _plain(column: Any, name: str) -> Any:
    import pyarrow

    chunk = column.chunk(0) if column.num_chunks else column.combine_chunks()
    if name == "keys":
        return chunk.to_pylist()
    if pyarrow.types.is_dictionary(chunk.type):
        return Words(chunk.dictionary.to_pylist(), chunk.indices.to_numpy(zero_copy_only=False))
    if pyarrow.types.is_fixed_size_list(chunk.type):
        return chunk.flatten().to_numpy().reshape(-1, SKETCH_BYTES)
    return chunk.to_numpy(zero_copy_only=False)
