"""Which column of a data file holds what, found by the names that public datasets use."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from traces.errors import DataError

Tiers = tuple[tuple[str, ...], ...]

# An earlier tier wins over a later one; two names of one tier are ambiguous.
QUESTION: Tiers = (
    ("question", "problem"),
    ("prompt", "query"),
    ("messages", "conversations"),
    ("instruction",),
    ("input", "text"),
)
ANSWER: Tiers = (
    (
        "answer",
        "final_answer",
        "expected_answer",
        "reference_answer",
        "correct_answer",
        "gold_answer",
        "gold",
        "ground_truth",
        "reference",
        "target",
        "answerKey",
        "answer_idx",
        "label",
    ),
    ("solution",),
)
CHOICES: Tiers = (("choices", "options"),)

# In what order a column is taken for the text that a model wrote, and for its thinking.
COMPLETION = (
    "response",
    "content",
    "completion",
    "output",
    "generation",
    "deepseek_attempt",
    "answer",
)
REASONING = ("reasoning_content", "reasoning", "thinking", "deepseek_thinking_trajectory")


def pick(tiers: Tiers, columns: Collection[str], what: str, path: Path | str) -> str | None:
    """The column that holds `what`, or None where there is none of the known names.

    Raises:
        DataError: several could.
    """
    for tier in tiers:
        found = [name for name in tier if name in columns]
        if len(found) > 1:
            raise DataError(
                f"{path}: the {what} could be in {' or '.join(map(repr, found))}",
                f"set `{what}:` to one of them",
            )
        if found:
            return found[0]
    return None


def columns_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The columns that hold a value in any of `rows`, in the order of their first appearance."""
    return list({name: 0 for row in rows for name, value in row.items() if value is not None})


def cell(row: dict[str, Any], column: str) -> Any:
    """The value of a column; `a.b` reaches into an object. None where there is none."""
    if column in row:
        return row[column]
    value: Any = row
    for name in column.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def require(column: str, rows: Sequence[dict[str, Any]], path: Path | str, what: str) -> str:
    """`column`, named by the user as holding `what`.

    Raises:
        DataError: no row has it.
    """
    if any(cell(row, column) is not None for row in rows):
        return column
    columns = columns_of(rows)
    close = get_close_matches(column, columns, 1)
    guess = f"; did you mean {close[0]!r}?" if close else ""
    raise DataError(f"{path}: no column {column!r} for the {what}{guess}", known(columns))


def known(columns: Sequence[str]) -> str:
    """The hint that lists what columns there are."""
    return f"the columns are: {', '.join(columns)}"
