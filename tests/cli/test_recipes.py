from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill.assets import asset
from distill.recipe_file import load_recipe, packaged_recipes, recipe_schema

Distill = Callable[..., Any]


def test_every_packaged_recipe_is_listed_with_its_description(distill: Distill) -> None:
    code, out, err = distill("recipes", "list")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == list(packaged_recipes())
    assert load_recipe("openai-compatible").recipe.description in out
    listed = json.loads(distill("recipes", "list", "--json").out)
    assert [row["name"] for row in listed] == list(packaged_recipes())


def test_a_recipe_is_shown_as_it_stands(distill: Distill) -> None:
    text = asset("recipes/openai-compatible.yaml").read_text("utf-8")
    assert distill("recipes", "show", "openai-compatible") == (0, text, "")


def test_the_schema_is_json(distill: Distill) -> None:
    assert json.loads(distill("recipes", "schema").out) == recipe_schema()


def test_init_writes_a_recipe_that_loads(
    distill: Distill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = distill("init", "mine")
    assert (code, err) == (0, "")
    assert out == (
        "wrote mine/recipe.yaml\nwrote mine/prompts.jsonl\nwrote mine/heldout.jsonl\n"
        "edit them, then: distill check mine/recipe.yaml\n"
    )
    assert sorted(p.name for p in Path("mine").iterdir()) == [
        "heldout.jsonl",
        "prompts.jsonl",
        "recipe.yaml",
    ]
    assert load_recipe("mine/recipe.yaml").recipe.teacher.kind == "endpoint"


def test_init_overwrites_nothing_and_leaves_no_half(distill: Distill, tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text("precious")
    code, out, err = distill("init", tmp_path)
    assert (code, out) == (2, "")
    assert err == (
        f"error: {tmp_path}/prompts.jsonl exists and is left alone\n"
        "hint: name another folder: distill init DIR\n"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["prompts.jsonl"]
    assert (tmp_path / "prompts.jsonl").read_text() == "precious"


def test_a_folder_that_is_no_run_gets_the_nearest_run(distill: Distill, tmp_path: Path) -> None:
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "quickstart/manifest.json").write_text("{}")
    code, out, err = distill("report", tmp_path / "quikstart")
    assert (code, out) == (2, "")
    assert err == (
        f"error: {tmp_path}/quikstart is not the directory of a run; "
        f"did you mean {tmp_path}/quickstart?\nhint: give the path of a run\n"
    )


def test_init_wants_a_folder_and_quotes_its_name(distill: Distill, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    code, out, err = distill("init", tmp_path / "file")
    assert (code, out) == (2, "")
    assert "is a file" in err
    last = distill("init", tmp_path / "a b").out.splitlines()[-1]
    assert last == f"edit them, then: distill check '{tmp_path}/a b/recipe.yaml'"
