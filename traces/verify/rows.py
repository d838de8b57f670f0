"""Verdicts on the rows of a file, for `distill verify`: question, gold and response in one row."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from traces.errors import DataError
from traces.jsonio import Fault, read_each
from traces.record import Reference
from traces.verify.check import Check, unknown
from traces.verify.run import Later, begin_check, finish

KINDS = {
    "math": "math",
    "science": "science",
    "mcq": "choice",
    "choice": "choice",
    "text": "text",
    "code": "code",
    "legal": "legal",
}
"""What a row calls its kind, and the verifier that it means."""


class Judged(NamedTuple):
    """The check of one row and what the row says. `fault` says where and why the row is none."""

    check: Check
    fault: Fault | None = None
    row: dict[str, Any] | None = None


def verify_rows(path: Path, *, workers: int, timeout_s: float) -> Iterator[Judged]:
    """One check for each row of `path`, in order. A broken row is unknown and disturbs no other.

    Rows hold `kind`, `question`, `gold`, `response` and, for `mcq`, `choices` from label to text.

    Raises:
        DataError: the file is missing or unreadable.
    """
    for about, check in finish(_begun(path), timeout_s=timeout_s, workers=workers):
        if isinstance(about, Fault):
            yield Judged(check, about)
        else:
            yield Judged(check, row=about)


def _begun(path: Path) -> Iterator[tuple[Fault | dict[str, Any], Check | Later]]:
    for row in read_each(path):
        if isinstance(row, Fault):
            yield _broken(row)
            continue
        try:
            reference, question, response = _read(row.value)
            yield row.value, begin_check(reference, response, question=question)
        except DataError as error:
            yield _broken(Fault(row.place, error.message))


def _broken(fault: Fault) -> tuple[Fault, Check]:
    return fault, unknown(f"{fault.place}: {fault.what}", "row")


def _read(row: dict[str, Any]) -> tuple[Reference, str, str]:
    kind = _text(row, "kind")
    if kind not in KINDS:
        close = get_close_matches(kind[:40].lower(), KINDS, 1)
        guess = f"; did you mean {close[0]}?" if close else f"; one of {', '.join(KINDS)}"
        raise DataError(f"kind: {kind[:40]!r} is unknown{guess}")
    choices = row.get("choices") or {}
    if not isinstance(choices, dict) or not all(isinstance(v, str) for v in choices.values()):
        raise DataError("choices: not an object from label to text")
    question = _text(row, "question") if "question" in row else ""
    reference = Reference(KINDS[kind], _text(row, "gold"), choices)
    return reference, question, _text(row, "response")


def _text(row: dict[str, Any], name: str) -> str:
    if name not in row:
        raise DataError(f"{name}: missing; the row has {', '.join(row)[:200] or 'nothing'}")
    value = row[name]
    if isinstance(value, int | float) and not isinstance(value, bool) and name == "gold":
        return str(value)
    if isinstance(value, dict) and name == "gold":
        return msgspec.json.encode(value).decode()
    if not isinstance(value, str):
        raise DataError(f"{name}: {value!r:.40} is not text")
    return value
