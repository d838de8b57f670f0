from __future__ import annotations

from pathlib import Path

from distill.artifacts import (
    EvaluationSummary,
    Gain,
    GateResult,
    Interval,
    Manifest,
    ModelScore,
    RowReport,
    StageRecord,
)
from distill.cli.tables import result_json, result_lines
from distill.run import write_atomically, write_struct
from traces.record import TeacherRecord


def score(strict: float, lenient: float, truncated: float = 0.0) -> ModelScore:
    return ModelScore(
        100,
        1,
        Interval(strict, strict - 0.1, strict + 0.05),
        Interval(lenient, lenient - 0.1, lenient + 0.05),
        truncated,
        0.0,
        0.0,
        88.4,
    )


SUMMARY = EvaluationSummary(
    {"max_tokens": 200},
    {"base": score(0.42, 0.56, 0.031), "teacher": score(0.9, 0.9), "student": score(0.92, 0.92)},
    [
        Gain("student", "base", "strict", Interval(0.5, 0.391, 0.6)),
        Gain("student", "teacher", "lenient", Interval(0.02, -0.05, 0.09)),
    ],
    [GateResult("gain of at least 30 points", "36 points", True)],
    ["one note"],
)


def run_directory(root: Path) -> Path:
    teacher = TeacherRecord("id", "local", "small-model", made_of="a LoRA adapter")
    write_struct(root / "manifest.json", Manifest("r", "1", "sha", "now", teacher=teacher))
    funnel = b'{"harvested": 120, "dropped": [["truncated", 4], ["loop", 0], ["wrong", 3]]'
    write_atomically(root / "curate/funnel.json", funnel + b', "kept": 113}')
    rows = RowReport(113, 112, {"too_long": 1}, 0, 9000, 8000, 1000, 99, 106, 6, 0)
    write_struct(root / "dataset/report.json", rows)
    write_atomically(root / "report.html", b"<html>")
    return root


def test_the_end_of_a_run_reads_like_this(tmp_path: Path) -> None:
    root = run_directory(tmp_path)
    assert result_lines(root, SUMMARY) == [
        "teacher: small-model (local), made of a LoRA adapter",
        "funnel: 120 harvested - 4 truncated - 3 wrong = 113 kept, 112 training rows",
        "",
        "         problems  pass@1 strict        pass@1 lenient       truncated  unclosed  tokens",
        "base          100  42.0 % [32.0, 47.0]  56.0 % [46.0, 61.0]      3.1 %     0.0 %      88",
        "teacher       100  90.0 % [80.0, 95.0]  90.0 % [80.0, 95.0]      0.0 %     0.0 %      88",
        "student       100  92.0 % [82.0, 97.0]  92.0 % [82.0, 97.0]      0.0 %     0.0 %      88",
        "",
        "student - base     strict   +50.0 points [+39.1, +60.0]",
        "student - teacher  lenient  +2.0 points [-5.0, +9.0]",
        "gate passed: gain of at least 30 points (reached 36 points)",
        "note: one note",
        f"report: {root}/report.html",
    ]


def test_a_run_that_stopped_early_shows_what_there_is(tmp_path: Path) -> None:
    assert result_lines(tmp_path, None) == [f"run: {tmp_path}"]


def test_json_holds_the_same_figures(tmp_path: Path) -> None:
    found = result_json(run_directory(tmp_path), SUMMARY, [])
    assert found["funnel"]["kept"] == 113
    assert found["summary"] is SUMMARY
    assert found["report"] == f"{tmp_path}/report.html"


def test_what_an_earlier_recipe_left_in_later_stages_is_not_shown(tmp_path: Path) -> None:
    root = run_directory(tmp_path)
    funnel = "funnel: 120 harvested - 4 truncated - 3 wrong = 113 kept"
    teacher = "teacher: small-model (local), made of a LoRA adapter"
    assert result_lines(root, None, "curate") == [teacher, funnel, f"run: {root}"]
    assert result_lines(root, None, "harvest") == [teacher, f"run: {root}"]
    found = result_json(root, None, [], "harvest")
    assert (found["funnel"], found["report"]) == (None, None)


def test_a_harvest_says_what_became_of_each_trace(tmp_path: Path) -> None:
    counts = {"requested": 9, "reused": 2, "asked": 6, "not_asked": 0, "spared": 1}
    stages = {
        "harvest": StageRecord("f", "", 1, {}, {**counts, "by_status": {"ok": 4, "timeout": 2}}),
        **dict.fromkeys(("score", "train", "evaluate base"), StageRecord("f", "", 1)),
    }
    write_struct(tmp_path / "manifest.json", Manifest("r", "1", "sha", "now", stages=stages))
    said = "traces: 9 requested = 2 there before + 4 ok + 2 timeout + 1 not needed"
    assert said in result_lines(tmp_path, None, "harvest")
    assert list(result_json(tmp_path, None, [], "harvest")["stages"]) == ["harvest"]
    assert list(result_json(tmp_path, None, [], "curate")["stages"]) == ["harvest", "score"]
    assert len(result_json(tmp_path, None, [], "evaluate")["stages"]) == 4
