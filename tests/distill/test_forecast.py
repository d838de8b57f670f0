from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill import forecast as module
from distill.forecast import Figure, Forecast, forecast
from distill.machine import Device
from distill.model_size import KNOWN, training_bytes, training_flops
from distill.recipe_file import load_recipe

pytest.importorskip("traces.prompts", reason="needs traces.prompts")

RECIPE = """\
name: small
prompts: [{kind: file, path: prompts.jsonl}]
teacher: {kind: endpoint, base_url: "http://host:1/v1", model: big}
harvest: {samples: 4, max_tokens: 100}
curate: {per_prompt: 3}
student: {model: Qwen/Qwen2.5-1.5B-Instruct}
train: {epochs: 2, batch_size: 2, accumulation: 4, max_length: 200, validation_share: 0.1}
evaluate:
  problems: [{kind: file, path: held.jsonl}]
  samples: 2
  max_tokens: 100
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "nvidia_devices", list)
    for name, count in (("prompts", 20), ("held", 30)):
        rows = [{"question": f"{i:040d}", "answer": str(i)} for i in range(count)]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def predict(*overrides: str) -> Forecast:
    Path("r.yaml").write_text(RECIPE)
    return forecast(load_recipe("r.yaml", overrides=overrides))


def test_what_the_student_has_to_score_is_told_only_where_it_selects(folder: Path) -> None:
    found = predict("curate.select={tokens: 500, by: suited}")
    assert figure(found, "tokens for the student", "estimate").low == 3000
    plain = predict("curate.select={tokens: 500, by: short}")
    assert not [one for one in plain.figures if one.name == "tokens for the student"]


JUDGE = "verify.judge={teacher: {kind: endpoint, base_url: 'http://j/v1', model: j, price: %s}, %s}"


def test_the_most_that_a_judge_can_cost_is_told(folder: Path) -> None:
    price = "{prompt: 1, completion: 2}"
    found = predict(JUDGE % (price, "max_tokens: 50, max_usd: 3"))
    assert figure(found, "opinions of the judge", "bound").low == 2 * 20 * 4
    sent = figure(found, "tokens to the judge", "estimate").low
    assert sent == 160 * (250 + 10 + 100)
    cost = figure(found, "cost of the judge", "estimate").low
    assert cost == pytest.approx((160 * 360 * 1 + 160 * 50 * 2) / 1e6)
    assert figure(found, "cap of the judge", "bound").low == 3
    semantic = "curate.overlap.semantic={encoder: 'json:dumps', top: 3}"
    more = predict(JUDGE % (price, "max_tokens: 50"), semantic)
    assert figure(more, "opinions of the judge", "bound").low == 160 + 2 * 20 * 3
    assert not [one for one in more.figures if one.name == "cap of the judge"]
    assert not [one for one in predict().figures if "judge" in one.name]
    unpriced = "verify.judge={teacher: {kind: endpoint, base_url: 'http://j/v1', model: j}}"
    assert "max_usd" in figure(predict(unpriced), "cost of the judge", "unknown").note


def figure(found: Forecast, name: str, basis: str) -> Figure:
    (match,) = [f for f in found.figures if f.name == name and f.basis == basis]
    return match


@pytest.mark.parametrize(
    ("name", "basis", "value"),
    [
        ("prompts", "counted", 20),
        ("teacher requests", "counted", 80),
        ("tokens to the teacher", "estimate", 800),
        ("tokens from the teacher", "bound", 8000),
        ("tokens from the teacher", "estimate", 4000),
        ("training rows", "bound", 60),
        ("training steps", "bound", 14),
        ("student parameters", "counted", KNOWN["qwen2.5-1.5b"].parameters),
        ("held-out problems", "counted", 30),
        ("answers to score", "counted", 180),
        ("tokens of answers", "bound", 18000),
        ("cost of the teacher", "unknown", None),
    ],
)
def test_each_figure_says_what_it_is(
    folder: Path, name: str, basis: str, value: float | None
) -> None:
    assert figure(predict(), name, basis).low == value


def test_nothing_is_written(folder: Path) -> None:
    predict()
    assert sorted(p.name for p in folder.iterdir()) == ["held.jsonl", "prompts.jsonl", "r.yaml"]


def test_max_steps_bounds_the_steps(folder: Path) -> None:
    assert figure(predict("train.max_steps=3"), "training steps", "bound").low == 3


def test_an_unknown_student_makes_its_figures_unknown(folder: Path) -> None:
    found = predict("student.model=someone/mystery")
    unknown = {f.name for f in found.figures if f.basis == "unknown"}
    assert unknown >= {"student parameters", "training memory", "training time"}
    assert figure(found, "training time", "unknown").text() == "unknown"


def test_time_on_a_known_device_is_work_over_its_peak(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "nvidia_devices", lambda: [Device("NVIDIA L4", 1 << 30, 1e12)])
    found = predict()
    shape = KNOWN["qwen2.5-1.5b"]
    work = training_flops(shape, "lora", 14 * 8 * 50)
    time = figure(found, "training time", "estimate")
    assert (time.low, time.high) == (work / 0.52e12, work / 0.34e12)
    peak = training_bytes(shape, mode="lora", rank=16, tokens=400, element_bytes=2)
    assert figure(found, "training memory", "estimate").low == peak
    assert any(w.startswith("training needs about 5.") and "1.1 GB" in w for w in found.warnings)


def test_time_on_processors_has_a_part_for_each_batch_whatever_the_size(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "processors", lambda: 2)
    tokens_s = 2 * 95.0 * 134.5e6 / KNOWN["qwen2.5-1.5b"].parameters
    low = figure(predict(), "training time", "estimate").low
    assert low == pytest.approx(14 * 8 * 50 / tokens_s + 14 * 4 * 0.05)


@pytest.mark.parametrize(
    ("override", "warning"),
    [
        (
            "train.max_length=105",
            "a reply of harvest.max_tokens 100 after a prompt of 10 tokens passes "
            "train.max_length 105: such rows are dropped",
        ),
        (
            "evaluate.max_tokens=50",
            "evaluate.max_tokens 50 is below harvest.max_tokens 100: a student that writes as "
            "long as its teacher is cut off",
        ),
        (
            "evaluate.problems.0.limit=5",
            "5 held-out problems give an interval too wide to show a gain",
        ),
        (
            "evaluate.problems.0.limit=1",
            "1 held-out problem gives an interval too wide to show a gain",
        ),
    ],
)
def test_what_would_spoil_the_run_is_said(folder: Path, override: str, warning: str) -> None:
    assert warning in predict(override).warnings
    assert warning not in predict().warnings


def test_what_a_stored_teacher_takes(folder: Path) -> None:
    """60 rows of 50 tokens; 20 ids of 4 and logprobs of 2 bytes, and a tail of 2."""
    found = predict("harvest.top_logprobs=20", "train.loss={ce: 0.5, kd: {weight: 0.5}}")
    assert figure(found, "teacher's distributions", "estimate").low == 60 * 50 * 122
    assert figure(found, "of them in a batch", "bound").low == 2 * 200 * 164
    names = {each.name for each in found.figures}
    assert "tokens to score" not in names
    assert "teacher's distributions" not in {each.name for each in predict().figures}
    text = predict("harvest.top_logprobs=0", "train.loss={ce: 0.5, kd: {weight: 0.5}}")
    assert figure(text, "tokens to score", "estimate").low == 60 * 50


def test_a_local_teacher_costs_nothing(folder: Path) -> None:
    found = predict("teacher={kind: solver}")
    assert figure(found, "cost of the teacher", "counted").low == 0


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Figure("x", "counted", 12000), "12,000"),
        (Figure("x", "bound", 5, unit="tokens"), "<= 5 tokens"),
        (Figure("x", "estimate", 3600, 5400, "s"), "about 1.0 h to 1.5 h"),
        (Figure("x", "estimate", 90, unit="s"), "about 90 s"),
        (Figure("x", "estimate", 12.34e9, unit="bytes"), "about 12.3 GB"),
        (Figure("x", "unknown"), "unknown"),
    ],
)
def test_figures_are_shown_with_their_unit(found: Figure, text: str) -> None:
    assert found.text() == text
