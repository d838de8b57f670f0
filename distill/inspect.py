"""Training rows in the terminal: which tokens are trained and which are only read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from distill.artifacts import RowReport
from distill.row_text import Row, Token, read_rows
from distill.run import read_struct
from distill.visible import visible
from traces.errors import DataError

RESET = "\x1b[0m"
READ = "\x1b[2m"  # dim
TRAINED = ("\x1b[32m", "\x1b[1;32m")  # in turns, so that token borders show
SPECIAL = "\x1b[7m"  # reversed
OPEN, CLOSE = "⟦", "⟧"


def render_masks(
    run_dir: Path, *, key_prefix: str = "", limit: int = 2, colour: bool
) -> Iterator[str]:
    """Lines that show the first `limit` rows whose key starts with `key_prefix`.

    Trained tokens are green in turns of normal and bold, tokens of weight 0 dim, special tokens
    reversed; without `colour`, trained spans stand in ⟦brackets⟧. Line ends are shown as ↵,
    other hidden characters by marks, so nothing a model wrote reaches the terminal raw.

    Raises:
        DataError: there are no rows, no key starts so, or no tokenizer can spell them.
    """
    for number, row in enumerate(masked_rows(run_dir, key_prefix=key_prefix, limit=limit)):
        if number:
            yield ""
        yield _heading(row)
        yield from (_coloured(row.tokens) if colour else _bracketed(row.tokens)).split("\n")


def masked_rows(run_dir: Path, *, key_prefix: str = "", limit: int = 2) -> Iterator[Row]:
    """The first `limit` rows whose key starts with `key_prefix`: each token with its weight.

    Raises:
        DataError: as `render_masks`.
    """
    row = None
    for row in read_rows(run_dir, key_prefix=key_prefix, limit=limit):
        yield row
    if row is None:
        wanted = f" with a key that starts with {key_prefix!r}" if key_prefix else ""
        raise DataError(f"{run_dir / 'dataset' / 'rows.arrow'} holds no row{wanted}")


def rows_summary(run_dir: Path) -> RowReport:
    """What became of the kept traces: how many are rows, and why others are not.

    Raises:
        DataError: the dataset stage has not run.
    """
    path = run_dir / "dataset" / "report.json"
    if not path.exists():
        raise DataError(
            f"{run_dir} has no training rows yet",
            "`distill train RECIPE` makes them; `distill traces stats RUN` counts its traces",
        )
    return read_struct(path, RowReport)


def _heading(row: Row) -> str:
    trained, total = row.trained, len(row.tokens)
    weights = sorted({token.weight for token in row.tokens})
    return (
        f"{visible(row.key)}  prompt {visible(row.prompt_id)}  {visible(row.split)}  "
        f"{total} tokens: {trained} trained, {total - trained} only read  "
        f"weights {', '.join(f'{weight:g}' for weight in weights)}"
    )


def _shown(token: Token) -> str:
    return visible(token.text).replace("\n", "↵\n")


def _bracketed(tokens: list[Token]) -> str:
    parts, inside = [], False
    for token in tokens:
        if (token.weight > 0) != inside:
            parts.append(CLOSE if inside else OPEN)
            inside = not inside
        parts.append(_shown(token))
    return "".join(parts) + (CLOSE if inside else "")


def _coloured(tokens: list[Token]) -> str:
    parts, turn = [], 0
    for token in tokens:
        style = READ
        if token.weight > 0:
            style, turn = TRAINED[turn], 1 - turn
        if token.special:
            style += SPECIAL
        # Each line closes its style itself, so that a pager can show any of them alone.
        parts.append("\n".join(f"{style}{line}{RESET}" for line in _shown(token).split("\n")))
    return "".join(parts)
