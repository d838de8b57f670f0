"""Reworded evaluation questions in a run: flagged, judged, and dropped on the judge's word only."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from distill.recipe_file import LoadedRecipe, load_recipe
from tests.fault_server import Answer, Ask, FaultServer, good
from tests.tiny_recipe import run
from traces.curate.reworded import Reworded
from traces.errors import RecipeError
from traces.record import Decision
from traces.rows import read_structs

RECIPE = """\
name: reworded
prompts: [{{kind: file, path: q.jsonl}}]
teacher: {{kind: endpoint, base_url: "{url}", model: m, licence: mit}}
verify: {{workers: 1{judge}}}
curate: {{overlap: {{semantic: {{encoder: "tests.tiny_recipe:encode", top: 1}}}}}}
student: {{model: some/student}}
evaluate:
  problems: [{{kind: file, path: e.jsonl}}]
"""
JUDGE = (
    ', judge: {{teacher: {{kind: endpoint, base_url: "{url}", model: judge, price: '
    "{{prompt: 1, completion: 1}}}}, max_usd: {max_usd}}}"
)


def recipe(
    folder: Path, url: str, *overrides: str, judge: bool = True, max_usd: float = 1
) -> LoadedRecipe:
    for name, questions in (("q", ("four plus five?", "how tall is she?")), ("e", ("4 + 5 = ?",))):
        rows = [json.dumps({"question": text, "answer": "9"}) for text in questions]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    path = folder / "r.yaml"
    section = JUDGE.format(url=url, max_usd=max_usd) if judge else ""
    path.write_text(RECIPE.format(url=url, judge=section))
    return load_recipe(path, overrides=overrides)


def behave(ask: Ask) -> Answer:
    if ask.body["model"] == "m":
        return good(f"to {ask.text[-20:]} I say \\boxed{{9}}")
    same = "four plus five" in ask.text
    return good("\\boxed{same}" if same else "\\boxed{different}")


def rules(folder: Path) -> dict[str, str]:
    pairs = read_structs(folder / "run/annotate/reworded.jsonl", Reworded)
    questions = {pair.prompt: pair.outcome for pair in pairs}
    decided = read_structs(folder / "run/curate/decisions.jsonl", Decision)
    return {questions[one.prompt_id]: one.rule for one in decided}


def test_a_judge_drops_what_is_the_same_problem_and_is_paid_once(tmp_path: Path) -> None:
    asked: Counter[str] = Counter()

    def watch(ask: Ask) -> Answer:
        asked[ask.body["model"]] += "<question-" in ask.text
        return behave(ask)

    with FaultServer(watch) as server:
        _, said = run(recipe(tmp_path, server.url), tmp_path / "run", upto="curate")
        assert said.ran == ["prompts", "harvest", "verify", "reworded", "curate"]
        assert rules(tmp_path) == {"right": "reworded", "wrong": "kept"}
        assert asked["judge"] == 4
        (tmp_path / "run/annotate/reworded.jsonl").unlink()
        _, said = run(recipe(tmp_path, server.url), tmp_path / "run", upto="curate")
        assert said.ran == ["reworded"]
        _, said = run(recipe(tmp_path, server.url), tmp_path / "run", upto="curate")
        assert said.ran == []
        more = recipe(tmp_path, server.url, "harvest.samples=2")
        _, said = run(more, tmp_path / "run", upto="curate")
        assert said.ran == ["harvest", "verify", "curate"]  # the questions are the same
    assert asked["judge"] == 4
    report = json.loads((tmp_path / "run/annotate/reworded.json").read_text())
    (counts,) = report.values()
    assert counts == {"questions": 1, "reworded": 1, "judged_same": 1}


def test_without_a_judge_or_money_a_flag_drops_nothing(tmp_path: Path) -> None:
    with FaultServer(behave) as server:
        run(recipe(tmp_path, server.url, max_usd=0.000001), tmp_path / "run", upto="curate")
        assert rules(tmp_path) == {"unknown": "kept"}
        _, said = run(recipe(tmp_path, server.url, judge=False), tmp_path / "run", upto="curate")
    assert "reworded" in said.ran
    assert any("1 of 1 questions may be among the training" in note for note in said.notes)
    found = read_structs(tmp_path / "run/curate/decisions.jsonl", Decision)
    assert [one.kept for one in found] == [True, True]
    assert all("perhaps reworded: 1.0000 of" in str(one.value) for one in found)


def test_a_missing_encoder_is_named_before_the_run(tmp_path: Path) -> None:
    recipe(tmp_path, "http://none", judge=False)
    text = (tmp_path / "r.yaml").read_text().replace("tests.tiny_recipe:", "no_such_module:")
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError, match=r"curate.overlap.semantic.encoder: no module 'no_such"):
        load_recipe(tmp_path / "r.yaml")
