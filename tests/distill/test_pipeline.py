"""The whole pipeline on a random two-layer Llama, with a solver as its teacher."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from distill.artifacts import STAGES, Manifest, RowReport, StudentScore, TrainReport
from distill.pipeline import check
from distill.row_text import read_rows
from distill.run import read_struct
from tests.tiny_recipe import Recorder, run, tiny_recipe
from traces.curate.ledger import load_ledger, save_ledger
from traces.curate.surgery import Edit
from traces.errors import DataError, Interrupted, RecipeError, UserError
from traces.record import Decision, Prompt, Trace
from traces.rows import read_structs
from traces.store import TraceStore

ROOT = Path(__file__).resolve().parents[2]
ASKED = ("evaluate base", "evaluate student")


@pytest.fixture(scope="module")
def finished(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a recipe and its finished run. Read only."""
    folder = tmp_path_factory.mktemp("pipeline")
    result, said = run(tiny_recipe(folder, tiny_model), folder / "run")
    assert said.ran == [*STAGES[:-2], *ASKED, "evaluate"]
    assert result.failed_gates == []
    assert result.summary is not None
    assert result.summary.notes == ["the teacher is a solver: it was not asked"]
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to change."""
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def test_counts_add_up_from_prompts_to_answers(finished: Path) -> None:
    folder = finished / "run"
    stages = read_struct(folder / "manifest.json", Manifest).stages
    assert stages["prompts"].counts == {"training": 12, "held_out": 4, "in_both": 0}
    assert stages["harvest"].counts["by_status"] == {"ok": 12}
    assert (stages["verify"].counts["answer_right"], stages["verify"].counts["steps_right"]) == (
        12,
        12,
    )
    decisions = read_structs(folder / "curate/decisions.jsonl", Decision)
    rows = read_struct(folder / "dataset/report.json", RowReport)
    assert len(decisions) == 12
    assert rows.traces == sum(decision.kept for decision in decisions) == rows.rows == 12
    assert (rows.train_rows, rows.validation_rows) == (11, 1)
    assert read_struct(folder / "train/report.json", TrainReport).steps == 2
    for name in ASKED:
        assert stages[name].counts["completions"] == 4


def test_no_held_out_problem_is_among_the_training_prompts(finished: Path) -> None:
    sides = [
        {prompt.id for prompt in read_structs(finished / f"run/prompts/{name}.jsonl", Prompt)}
        for name in ("training", "held_out")
    ]
    assert not sides[0] & sides[1]


def test_run_ends_in_a_report_and_a_student(finished: Path) -> None:
    report = (finished / "run/report.html").read_text()
    assert "tiny" in report
    assert "<script src" not in report
    assert (finished / "run/train/student/model.safetensors").exists()
    assert not (finished / "run/train/checkpoints").exists()


def test_second_run_skips_every_stage(copied: Path, tiny_model: Path) -> None:
    _, said = run(tiny_recipe(copied, tiny_model), copied / "run")
    assert said.ran == []
    assert said.skipped == [*STAGES[:-2], *ASKED, "evaluate"]


@pytest.mark.parametrize(
    ("override", "upto", "ran", "why"),
    [
        ("evaluate.gate.min_pass_at_1=0.9", "report", ["evaluate"], "changed: gate"),
        ("curate.min_tokens=2", "dataset", ["curate", "dataset"], "changed: curate"),
        ("train.max_length=511", "dataset", ["dataset"], "changed: max_length"),
        ("train.learning_rate=0.1", "dataset", [], ""),
        ("harvest.samples=2", "curate", ["harvest", "verify", "curate"], "changed: harvest"),
    ],
)
def test_changed_section_reruns_only_what_depends_on_it(
    override: str, upto: str, ran: list[str], why: str, copied: Path, tiny_model: Path
) -> None:
    result, said = run(tiny_recipe(copied, tiny_model, override), copied / "run", upto=upto)
    assert said.ran == ran
    if ran:
        assert said.why[ran[0]] == why
    if "gate" in why:
        assert len(result.failed_gates) == 1


def test_an_order_by_pass_rates_makes_a_ledger_that_is_gone_again(
    copied: Path, tiny_model: Path
) -> None:
    (copied / "run/annotate/ledger.arrow").unlink()
    loaded = tiny_recipe(copied, tiny_model, "train.order=easy_first", "train.max_steps=1")
    _, said = run(loaded, copied / "run", upto="train")
    assert said.ran == ["train"]


def test_more_samples_ask_only_for_the_new_ones(copied: Path, tiny_model: Path) -> None:
    loaded = tiny_recipe(copied, tiny_model, "harvest.samples=3")
    run(loaded, copied / "run", upto="harvest")
    counts = read_struct(copied / "run/manifest.json", Manifest).stages["harvest"].counts
    assert (counts["requested"], counts["reused"], counts["asked"]) == (36, 12, 24)


def test_run_of_another_recipe_is_refused(copied: Path, tiny_model: Path) -> None:
    before = (copied / "run/manifest.json").read_bytes()
    with pytest.raises(UserError, match="holds a run of the recipe 'tiny', not of 'other'"):
        run(tiny_recipe(copied, tiny_model, "name=other"), copied / "run")
    assert (copied / "run/manifest.json").read_bytes() == before


@pytest.mark.parametrize("stage", ["harvest", "verify", "train"])
def test_interrupted_stage_is_resumed(stage: str, tiny_model: Path, tmp_path: Path) -> None:
    loaded, said = tiny_recipe(tmp_path, tiny_model), Recorder()
    upto = "train" if stage == "train" else "curate"
    with pytest.raises(Interrupted):
        run(loaded, tmp_path / "run", upto=upto, stopping=lambda: stage in said.ran, say=said)
    _, again = run(loaded, tmp_path / "run", upto=upto)
    assert again.ran[0] == stage
    manifest = read_struct(tmp_path / "run/manifest.json", Manifest)
    assert manifest.begun == {}
    assert upto in manifest.stages


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.append("tests")  # `tests` itself is hidden by installed packages of that name
from tiny_recipe import Recorder, run, tiny_recipe

class Deadly(Recorder):
    count = 0
    def advance(self, n=1, **fields):
        self.count += 1
        if self.count == 30:
            os.kill(os.getpid(), signal.SIGKILL)

folder, model = map(Path, sys.argv[1:])
run(tiny_recipe(folder, model, count=80), folder / "run", upto="harvest", say=Deadly())
"""


def stored(folder: Path) -> dict[str, Trace]:
    with TraceStore.open(folder / "run/harvest/traces.sqlite", readonly=True) as store:
        return {trace.key: trace for trace in store.traces()}


def test_killed_harvest_goes_on_to_the_same_store(tiny_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(tiny_model)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()
    saved = stored(tmp_path)
    assert len(saved) >= 30
    run(tiny_recipe(tmp_path, tiny_model, count=80), tmp_path / "run", upto="harvest")
    whole = tmp_path / "whole"
    whole.mkdir()
    run(tiny_recipe(whole, tiny_model, count=80), whole / "run", upto="harvest")
    expected, found = stored(whole), stored(tmp_path)
    assert {key: trace.content for key, trace in found.items()} == {
        key: trace.content for key, trace in expected.items()
    }
    assert all(found[key] == trace for key, trace in saved.items())
    keys = (tmp_path / "run/harvest/keys.jsonl").read_bytes()
    assert keys == (whole / "run/harvest/keys.jsonl").read_bytes()


def test_check_says_what_holds_and_writes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    lines = check(tiny_recipe(tmp_path, tiny_model))
    assert lines[0] == "sum-of-three: 12 questions (task)"
    assert lines[1] == "12 training questions and 4 held out, none in both"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_pipeline_is_imported_without_torch() -> None:
    heavy = ("torch", "transformers", "trl", "datasets")
    code = f"import sys, distill.pipeline; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_evaluation_does_not_start_on_what_was_trained(copied: Path, tiny_model: Path) -> None:
    path = copied / "run/annotate/ledger.arrow"
    ledger = load_ledger(path)
    assert ledger is not None
    share = ledger.overlap.copy()
    share[2] = 0.9
    save_ledger(path, ledger._replace(overlap=share), "edited")
    with pytest.raises(DataError, match="1 training questions overlap evaluation problems"):
        run(tiny_recipe(copied, tiny_model), copied / "run")


def test_another_threshold_decides_again_from_the_same_ledger(
    copied: Path, tiny_model: Path
) -> None:
    path = copied / "run/annotate/ledger.arrow"
    before = path.stat().st_mtime_ns
    loaded = tiny_recipe(copied, tiny_model, "curate.select={tokens: 150, by: short}")
    _, said = run(loaded, copied / "run", upto="curate")
    assert said.ran == ["curate"]
    assert path.stat().st_mtime_ns == before
    rules = {d.rule for d in read_structs(copied / "run/curate/decisions.jsonl", Decision)}
    assert rules == {"kept", "budget"}
    run(tiny_recipe(copied, tiny_model, "curate.overlap.ngram=5"), copied / "run", upto="curate")
    assert path.stat().st_mtime_ns > before


def test_a_selection_by_the_student_makes_its_scores_once_and_drops_the_least_likely(
    copied: Path, tiny_model: Path
) -> None:
    wanted = tiny_recipe(copied, tiny_model, "curate.select={tokens: 150, by: likely}")
    _, said = run(wanted, copied / "run", upto="curate")
    assert said.ran == ["score", "curate"]
    scores = read_structs(copied / "run/annotate/student.jsonl", StudentScore)
    assert len(scores) == 12
    nll = {one.key: one.nll for one in scores}
    decisions = read_structs(copied / "run/curate/decisions.jsonl", Decision)
    kept = [nll[one.key] for one in decisions if one.kept]
    tokens = {one.key: one.value for one in decisions if not one.kept}
    assert {one.rule for one in decisions} == {"kept", "budget"}
    assert min(nll.values()) in kept
    assert max(nll[key] for key in tokens) > max(kept)
    counts = read_struct(copied / "run/manifest.json", Manifest).stages["score"].counts
    assert counts == {"sound": 12, "scored": 12, "made_now": 12}
    other = "curate.select={tokens: 150, by: suited}"
    _, said = run(tiny_recipe(copied, tiny_model, other), copied / "run", upto="curate")
    assert said.ran == ["curate"]
    other = "curate.select={tokens: 150, by: natural}"
    _, said = run(tiny_recipe(copied, tiny_model, other), copied / "run", upto="curate")
    assert said.ran == ["score", "curate"]
    again = read_structs(copied / "run/annotate/student.jsonl", StudentScore)
    assert [one.nll for one in again] == [one.nll for one in scores]
    assert all(one.natural is not None for one in again)


def test_alike_questions_are_noted_once_and_another_threshold_decides_again(
    copied: Path, tiny_model: Path
) -> None:
    wanted = ["curate.semantic.encoder=tests.tiny_recipe:encode"]
    run(tiny_recipe(copied, tiny_model, *wanted), copied / "run", upto="curate")
    noted = copied / "run/annotate/alike.json"
    found = msgspec.json.decode(noted.read_bytes())
    prompts = [p.id for p in read_structs(copied / "run/prompts/training.jsonl", Prompt)]
    pair = [*sorted(prompts[:2]), 0.91]
    noted.write_bytes(msgspec.json.encode({**found, "pairs": [pair]}))
    loaded = tiny_recipe(copied, tiny_model, *wanted, "curate.semantic.threshold=0.9")
    _, said = run(loaded, copied / "run", upto="curate")
    assert said.ran == ["curate"]
    decisions = read_structs(copied / "run/curate/decisions.jsonl", Decision)
    (gone,) = [d for d in decisions if not d.kept]
    assert (gone.rule, gone.threshold) == ("semantic_duplicate", 0.9)
    assert gone.value == f"0.9100 of {({*pair[:2]} - {gone.prompt_id}).pop()}"


def test_an_encoder_that_is_not_there_is_named_before_the_run(
    copied: Path, tiny_model: Path
) -> None:
    with pytest.raises(RecipeError, match=r"curate\.semantic\.encoder: no module 'no_such'"):
        tiny_recipe(copied, tiny_model, "curate.semantic.encoder=no_such:encode")


def test_what_surgery_did_to_a_row_is_recorded(copied: Path, tiny_model: Path) -> None:
    store = copied / "run/harvest/traces.sqlite"
    with TraceStore.open(store, readonly=True) as opened:
        first = next(iter(opened.traces()))
    more = " Sum of all. I hope this helps!"
    answer = f"{first.answer}{more}"
    with TraceStore.open(store) as opened:
        changed = {"content": first.content + more, "answer": answer, "attempt": 2}
        opened.add(msgspec.structs.replace(first, **changed))
    (copied / "run/dataset/rows.arrow").unlink()
    loaded = tiny_recipe(copied, tiny_model, "curate.surgery=[boilerplate]")
    run(loaded, copied / "run", upto="dataset")
    (edit,) = read_structs(copied / "run/dataset/edits.jsonl", Edit)
    assert (edit.key, edit.rule, edit.original) == (first.key, "boilerplate", " I hope this helps!")
    row = next(read_rows(copied / "run", key_prefix=first.key))
    trained = "".join(token.text for token in row.tokens if token.weight and not token.special)
    assert trained.endswith("Sum of all.")
