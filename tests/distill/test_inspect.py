from __future__ import annotations

import re
from pathlib import Path

import pytest

from distill.artifacts import RowReport
from distill.inspect import render_masks, rows_summary
from distill.row_text import read_rows
from distill.run import write_struct
from tests.distill.report.synthetic_rows import write_rows
from traces.errors import DataError

PROMPT = "<|im_start|>user\nWhich?<|im_end|>\n<|im_start|>assistant\n"
ANSWER = "42 ✓ 東京\x1b[2J\u202e<|im_end|>"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    rows = [
        (f"{name}{at:031}", f"p{at}", "train", PROMPT, ANSWER) for name in "ab" for at in (0, 1)
    ]
    write_rows(tmp_path, rows)
    return tmp_path


def test_rows_spell_the_text_they_were_made_of(run_dir: Path) -> None:
    row = next(read_rows(run_dir))
    read = "".join(token.text for token in row.tokens if token.weight == 0)
    trained = "".join(token.text for token in row.tokens if token.weight > 0)
    assert (read, trained) == (PROMPT, ANSWER)
    assert [token.text for token in row.tokens if token.special] == [
        "<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>",
    ]  # fmt: skip
    assert row.trained == sum(token.weight > 0 for token in row.tokens)


def test_a_character_cut_at_the_border_of_the_trained_span_stays_on_its_side(
    tmp_path: Path,
) -> None:
    write_rows(tmp_path, [("k", "p", "train", "ab", "東")])
    import pyarrow as pa

    path = tmp_path / "dataset" / "rows.arrow"
    with pa.ipc.open_stream(path.read_bytes()) as stream:
        table = stream.read_all()
    weights = table["weights"].to_pylist()
    weights[0][2] = 0.0  # the first byte of the character is now read, not trained
    table = table.set_column(4, "weights", pa.array(weights, pa.list_(pa.float32())))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    tokens = next(read_rows(tmp_path)).tokens
    assert [token.text for token in tokens[:3]] == ["a", "b", "\ufffd"]
    assert len(tokens) == 5


def test_without_colour_brackets_enclose_exactly_the_trained_span(run_dir: Path) -> None:
    lines = list(render_masks(run_dir, limit=1, colour=False))
    assert re.fullmatch(
        r"a0{31}  prompt p0  train  (\d+) tokens: \d+ trained, \d+ only read  weights 0, 1",
        lines[0],
    )
    assert lines[1:] == [
        "<|im_start|>user↵",
        "Which?<|im_end|>↵",
        "<|im_start|>assistant↵",
        "⟦42 ✓ 東京⟨ESC⟩[2J⟨U+202E⟩<|im_end|>⟧",
    ]


def test_with_colour_only_our_own_escapes_reach_the_terminal(run_dir: Path) -> None:
    text = "\n".join(render_masks(run_dir, limit=1, colour=True))
    escapes = set(re.findall(r"\x1b[^m]*m", text))
    assert escapes == {"\x1b[2m", "\x1b[32m", "\x1b[1;32m", "\x1b[7m", "\x1b[0m"}
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    bracketed = "\n".join(render_masks(run_dir, limit=1, colour=False))
    assert plain == bracketed.replace("⟦", "").replace("⟧", "")
    assert "\x1b[32m4\x1b[0m\x1b[1;32m2\x1b[0m" in text


def test_rows_are_chosen_by_key_and_limit(run_dir: Path) -> None:
    assert [row.key[0] for row in read_rows(run_dir)] == ["a", "a", "b", "b"]
    chosen = [
        line for line in render_masks(run_dir, key_prefix="b", colour=False) if "only" in line
    ]
    assert [line[0] for line in chosen] == ["b", "b"]
    assert len(list(read_rows(run_dir, limit=3))) == 3


def test_stored_pieces_are_used_before_any_tokenizer(tmp_path: Path) -> None:
    import pyarrow as pa

    (tmp_path / "dataset").mkdir()
    table = pa.table(
        {
            "key": ["k"],
            "prompt_id": ["p"],
            "split": ["train"],
            "input_ids": [[1, 2]],
            "weights": [[0.0, 0.5]],
            "text": [["read ", "trained"]],
        }
    )
    path = tmp_path / "dataset" / "rows.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    assert list(render_masks(tmp_path, colour=False)) == [
        "k  prompt p  train  2 tokens: 1 trained, 1 only read  weights 0, 0.5",
        "read ⟦trained⟧",
    ]


def test_what_is_missing_is_said_in_one_line(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rows.arrow holds no row with a key that starts with 'z'"):
        list(render_masks(run_dir, key_prefix="z", colour=False))
    with pytest.raises(DataError, match=r"dataset/rows.arrow is missing"):
        list(render_masks(tmp_path / "elsewhere", colour=False))
    (run_dir / "dataset" / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"no tokenizer in .* can spell the rows"):
        list(render_masks(run_dir, colour=False))
    (run_dir / "dataset" / "rows.arrow").write_bytes(b"not arrow at all")
    with pytest.raises(DataError, match=r"rows.arrow: "):
        list(render_masks(run_dir, colour=False))


def test_the_summary_is_the_report_of_the_rows(tmp_path: Path) -> None:
    report = RowReport(94, 89, {"too_long": 3, "empty": 2}, 0, 1000, 600, 400, 271, 84, 5, 89)
    write_struct(tmp_path / "dataset" / "report.json", report)
    assert rows_summary(tmp_path) == report
    with pytest.raises(DataError, match=r"elsewhere has no training rows yet"):
        rows_summary(tmp_path / "elsewhere")
