from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.documents import Document, cut, find_files, read_documents
from traces.errors import DataError
from traces.keys import content_hash


def document(text: str) -> Document:
    return Document("d", content_hash(text), text)


@given(st.text(alphabet="ab. \n\té", max_size=300), st.integers(1, 12))
def test_passages_are_spans_that_leave_out_white_space_only(text: str, words: int) -> None:
    passages = list(cut(document(text), words))
    assert all(text[p.start : p.end] == p.text for p in passages)
    assert (
        "".join(p.text for p in passages).split()
        == "".join(text[p.start : p.end] for p in passages).split()
    )
    assert sum(len(p.text.split()) for p in passages) == len(text.split())
    assert all(len(p.text.split()) <= words for p in passages)


def test_the_cut_is_between_paragraphs_then_sentences() -> None:
    paragraphs = "one two three four\n\nfive six seven. eight nine ten"
    assert [p.text for p in cut(document(paragraphs), 6)] == [
        "one two three four",
        "five six seven. eight nine ten",
    ]
    assert [p.text for p in cut(document(paragraphs), 5)][1:] == [
        "five six seven.",
        "eight nine ten",
    ]


def test_text_files_and_rows_are_documents_with_names(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/b.md").write_text("Bee.")
    (tmp_path / "docs/a.md").write_text("\ufeffAy.", "utf-8")
    (tmp_path / "docs/blank.md").write_text(" \n")
    (tmp_path / "rows.jsonl").write_text('{"id": "x7", "text": "Row."}\n{"text": "Other."}\n')
    files = find_files(["docs/*.md", "rows.jsonl"], tmp_path)
    found = {d.id: d.text for d in read_documents(files, base=tmp_path)}
    assert found == {
        "docs/a.md": "Ay.", "docs/b.md": "Bee.", "rows.jsonl:x7": "Row.", "rows.jsonl:2": "Other.",
    }  # fmt: skip


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "rows.jsonl").write_text('{"body": "x"}\n')
    with pytest.raises(DataError, match=r"no document is at .*nothing\*"):
        find_files(["nothing*"], tmp_path)
    with pytest.raises(DataError) as caught:
        find_files(["."], tmp_path)
    assert "for the files of a folder write" in caught.value.hint
    for name, message in (("latin.txt", "not UTF-8 at byte 4"), ("rows.jsonl", "rows.jsonl:1")):
        with pytest.raises(DataError, match=message):
            list(read_documents([tmp_path / name], base=tmp_path))
