"""Documents of one's own, cut into passages that know where they came from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from traces.columns import cell
from traces.errors import DataError
from traces.jsonio import Faults, read_rows
from traces.keys import content_hash

ROWS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
_BREAK = re.compile(r"\n[ \t]*\n\s*|(?<=[.!?])\s+|\s+")


class Document(msgspec.Struct, frozen=True):
    """One text. `id` is its file, with the line for files of rows; `sha` is of the text."""

    id: str
    sha: str
    text: str


class Passage(msgspec.Struct, frozen=True):
    """`text` is `document.text[start:end]`, in characters."""

    document: str
    document_sha: str
    start: int
    end: int
    text: str

    @property
    def id(self) -> str:
        """The same for the same words, whatever the file is called."""
        return content_hash(["passage", self.text])


def find_files(patterns: Sequence[str], base: Path) -> list[Path]:
    """The files that `patterns`, relative to `base`, name, sorted within each pattern.

    Raises:
        DataError: a pattern finds nothing.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = base / Path(pattern).expanduser()
        files = [path] if path.is_file() else sorted(_matching(path))
        if not files:
            hint = f"for the files of a folder write {str(path / '*')!r}" if path.is_dir() else ""
            raise DataError(f"no document is at {str(path)!r}", hint)
        found |= dict.fromkeys(files)
    return list(found)


def _matching(path: Path) -> Iterator[Path]:
    parts = path.parts
    first = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), None)
    if first is None:
        return iter(())
    root = Path(*parts[:first])
    return (p for p in root.glob(str(Path(*parts[first:]))) if p.is_file())


def read_documents(files: Iterable[Path], *, base: Path, text: str = "text") -> Iterator[Document]:
    """The documents of `files`: a text file is one, in files of rows each row is one.

    `text` is the column of rows that holds the text; ids are relative to `base`.

    Raises:
        DataError: a file is not UTF-8, or a row has no text.
    """
    for path in files:
        name = str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
        if path.name.endswith(ROWS):
            yield from _from_rows(path, name, text)
            continue
        try:
            whole = path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: not UTF-8 at byte {error.start + 1}", "save it as UTF-8 text"
            ) from error
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
        if whole.strip():
            yield Document(name, content_hash(whole), whole)


def _from_rows(path: Path, name: str, column: str) -> Iterator[Document]:
    faults = Faults()
    for row in read_rows(path):
        value = cell(row.value, column)
        if not isinstance(value, str):
            faults.add(row.place, f"no text in column {column!r}")
        elif value.strip():
            own = row.value.get("id")
            line = row.place.rsplit(":", 1)[1]
            yield Document(f"{name}:{own if own is not None else line}", content_hash(value), value)
    faults.raise_if_any("rows like that", "name the column with `text:`")


def cut(document: Document, words: int) -> Iterator[Passage]:
    """Passages of at most `words` words, in order, that leave out only the space between them.

    The cut is the last empty line that leaves at least half of that, else the last end of a
    sentence, else a space.
    """
    text, start = document.text, _skip(document.text, 0)
    while start < len(text):
        end = _end(text, start, words)
        yield Passage(document.id, document.sha, start, end, text[start:end])
        start = _skip(text, end)


def _end(text: str, start: int, words: int) -> int:
    spaces = re.finditer(r"\s+", text[start:])
    ends = [start + m.start() for _, m in zip(range(words), spaces, strict=False)]
    if len(ends) < words:
        return len(text.rstrip())
    limit, half = ends[-1], ends[(words - 1) // 2]
    best = limit
    rank = 0
    for match in _BREAK.finditer(text, start, _skip(text, limit)):
        at = match.start()
        value = 2 if match.group().count("\n") > 1 else 1 if text[at - 1] in ".!?" else 0
        if half <= at <= limit and value >= max(rank, 1):
            best, rank = at, value
    return best


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at
