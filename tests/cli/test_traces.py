from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("traces.summary", reason="needs traces.summary")
pytest.importorskip("traces.transfer", reason="needs traces.transfer")

Distill = Callable[..., Any]

RECIPE = """\
name: small
prompts: [{kind: task, task: largest-of-four, count: 4}]
teacher: {kind: solver}
student: {model: some/student}
evaluate: {problems: [{kind: task, task: largest-of-four, count: 4}]}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distill: Distill) -> Path:
    """The directory of a run that harvested four solver traces and kept them."""
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(RECIPE)
    assert distill("curate", "r.yaml", "--quiet").code == 0
    return Path("runs/small")


def keys(run: Path) -> list[str]:
    lines = (run / "curate/decisions.jsonl").read_text().splitlines()
    return [json.loads(line)["key"] for line in lines]


def test_a_run_is_counted(distill: Distill, run: Path) -> None:
    code, out, err = distill("traces", "stats", run)
    assert (code, err) == (0, "")
    assert "ok: 4" in out
    assert json.loads(distill("traces", "stats", run / "harvest/traces.sqlite", "--json").out)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_traces_go_out_and_come_in_again(distill: Distill, run: Path, suffix: str) -> None:
    out = distill("traces", "export", run, f"all.{suffix}", "--json").out
    assert json.loads(out)["traces"] == 4
    out = distill("traces", "import", f"all.{suffix}", "copy.sqlite", "--json").out
    assert json.loads(out)["traces"] == 4
    first = json.loads(distill("traces", "show", run, keys(run)[0], "--json").out)
    copy = json.loads(distill("traces", "show", "copy.sqlite", keys(run)[0], "--json").out)
    assert copy["trace"] == first["trace"]
    assert copy["prompt"] == first["prompt"]


def test_conversations_are_written_for_other_tools(distill: Distill, run: Path) -> None:
    assert distill("traces", "export", run, "chat.jsonl", "--messages").code == 0
    rows = [json.loads(line) for line in Path("chat.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    assert [message["role"] for message in rows[0]["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize("command", [["traces", "show"], ["inspect", "--trace"]])
def test_one_trace_is_shown_with_its_fate(distill: Distill, run: Path, command: list[str]) -> None:
    key = keys(run)[0]
    args = [*command, run, key] if command[0] == "traces" else ["inspect", run, "--trace", key]
    code, out, err = distill(*args)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"key       {key}"
    assert lines[1] == "status    ok"
    assert any(line.startswith("answer    right by ") for line in lines)
    assert any(line.startswith("steps     right by ") for line in lines)
    assert "decision  kept" in lines
    assert "--- prompt" in lines
    assert "--- answer" in lines
    assert "--- reference" in lines


def test_a_store_that_is_not_there_is_one_line(distill: Distill, tmp_path: Path) -> None:
    code, out, err = distill("traces", "stats", tmp_path / "none.sqlite")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert not (tmp_path / "none.sqlite").exists()


def test_a_damaged_store_is_salvaged_and_the_lost_trace_named(distill: Distill, run: Path) -> None:
    store = run / "harvest/traces.sqlite"
    connection = sqlite3.connect(store)
    connection.execute("UPDATE traces SET body = x'00' WHERE seq = 2")
    connection.commit()
    key = connection.execute("SELECT key FROM traces WHERE seq = 2").fetchone()[0]
    connection.close()
    code, _, err = distill("traces", "export", run, "all.jsonl")
    assert code == 2
    assert f"trace {key} is damaged" in err
    assert "distill traces salvage STORE NEW" in err
    found = json.loads(distill("traces", "salvage", run, "new.sqlite", "--json").out)
    assert found["rows"]["traces"] == 3
    assert found["lost"] == [f"traces {key}"]
    assert distill("traces", "export", "new.sqlite", "all.jsonl").code == 0


def test_masks_are_json_too_and_what_is_not_there_is_said(distill: Distill, run: Path) -> None:
    for more in (["--masks"], ["--masks", "--json"], []):
        code, out, err = distill("inspect", run, *more)
        assert (code, out) == (2, "")
        assert "distill train RECIPE" in err
    assert distill("inspect", run, "--masks", "--limit", "-1").code == 2
    assert distill("traces", "show", run, "").err.partition(": the key is empty\n")[1]


def test_a_folder_without_a_store_is_no_store(distill: Distill, run: Path) -> None:
    Path("all").mkdir()
    code, out, err = distill("traces", "stats", "all")
    assert (code, out) == (2, "")
    assert err == (
        "error: all: holds no harvest/traces.sqlite\n"
        "hint: give a traces.sqlite, or the directory of a run; runs are: runs/small\n"
    )
    distill("traces", "export", run, "t.jsonl")
    code, out, err = distill("traces", "import", "t.jsonl", "all")
    assert (code, out) == (2, "")
    assert "'all' is a directory" in err
    assert list(Path("all").iterdir()) == []


def test_an_export_of_logs_that_are_not_there_writes_nothing(distill: Distill, run: Path) -> None:
    code, out, err = distill("traces", "export", run, "logs.jsonl", "--logs")
    assert (code, out) == (2, "")
    assert "none of its 4 traces is of a log" in err
    assert distill("traces", "export", run, "logs.jsonl", "--logs", "--messages").code == 2
    assert distill("traces", "export", run, "logs.jsonl", "--all", "--messages").code == 2
    assert not Path("logs.jsonl").exists()


def test_a_run_is_measured_by_ranks_or_here(distill: Distill, run: Path) -> None:
    assert distill("traces", "measure", run, "--rank", "0", "--world", "1").code == 0
    again = distill("traces", "measure", run)
    assert (again.code, again.out) == (0, "")
    assert again.err == "0 of 1 parts were measured, all are there now\n"
    assert "--array=0-3" in distill("traces", "measure", run, "--print-slurm", "--world", "4").out
    for wrong in (["--world", "2"], ["--ray", "--workers", "2"]):
        assert distill("traces", "measure", run, *wrong).code == 2
