from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml

from distill.artifacts import (
    EvaluationSummary,
    Gain,
    Interval,
    Manifest,
    ModelScore,
    RowReport,
    TrainReport,
)
from distill.card import card_name, obligations, render_card, write_card
from distill.run import write_struct
from traces.curate.funnel import Funnel
from traces.licence import accept, find_licence
from traces.record import TeacherRecord

HALF = Interval(0.5, 0.25, 0.75)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "train/student").mkdir(parents=True)
    (tmp_path / "recipe.yaml").write_text("student: {model: HuggingFaceTB/SmolLM2-135M}\n")
    licence = accept(find_licence("llama-3.3-70b", pinned="b" * 64), "our lawyer, 3 May")
    teacher = TeacherRecord("t", "endpoint", "llama-3.3-70b", "rev7", made_of="a big model")
    manifest = Manifest("law", "0.1.0", "f00d", "now", teacher=teacher, licence=licence)
    write_struct(tmp_path / "manifest.json", manifest)
    write_struct(tmp_path / "curate/funnel.json", Funnel(12, (("wrong", 4),), 8))
    rows = RowReport(8, 7, {"too_long": 1}, 0, 900, 600, 300, 99, 6, 1, 0)
    write_struct(tmp_path / "dataset/report.json", rows)
    trained = TrainReport("lora", "chunked", 9, 6, 1.25, 600, 10, 20, 1.0, 5)
    write_struct(tmp_path / "train/report.json", trained)
    return tmp_path


def test_the_card_says_who_taught_what_that_obliges_to_and_the_counts(root: Path) -> None:
    path = write_card(root)
    assert path == root / "train/student/README.md"
    card = path.read_text()
    assert yaml.safe_load(card.split("---")[1])["base_model"] == "HuggingFaceTB/SmolLM2-135M"
    for text in (
        "# Llama-law", "llama-3.3-70b (revision rev7)", "a big model", '"Built with Llama"',
        "700 million", "| dropped: wrong | 4 |", "| kept | 8 |", "| trained tokens | 600 |",
        "1.2500 nats", f"| {'b' * 64} |", "not pinned", '"our lawyer, 3 May"',
        "It was not evaluated yet.",
    ):  # fmt: skip
        assert text in card


def test_the_scores_come_with_their_intervals(root: Path) -> None:
    score = ModelScore(20, 1, HALF, HALF, 0.1, 0.0, 0.0, 50.0)
    gain = Gain("student", "base", "strict", Interval(0.3, 0.1, 0.5))
    write_struct(root / "evaluate/summary.json", EvaluationSummary({}, {"student": score}, [gain]))
    card = render_card(root)
    assert "| student | 20 | 50.0 % [25.0, 75.0] | 50.0 % [25.0, 75.0] | 10.0 % |" in card
    assert "student minus base, paired, strict: +30.0 % [+10.0, +50.0]" in card
    assert "not evaluated" not in card


def test_obligations_are_the_union_each_once() -> None:
    llama, v3 = find_licence("llama-3.1-8b"), find_licence("deepseek-v3")
    duties = obligations([llama, v3, llama])
    assert len(duties) == len(set(duties)) == len(llama.obligations) + len(v3.obligations)
    assert card_name("x", duties) == "Llama-x"
    assert card_name("llama-x", duties) == "llama-x"


def test_without_a_student_there_is_no_card(root: Path) -> None:
    (root / "train/student").rmdir()
    assert write_card(root) is None


def test_the_card_of_a_teacher_that_is_no_model_names_no_licence(root: Path) -> None:
    manifest = msgspec.json.decode((root / "manifest.json").read_bytes(), type=Manifest)
    manifest.licence = None
    write_struct(root / "manifest.json", manifest)
    assert "| teacher |" not in render_card(root)
