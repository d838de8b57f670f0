"""Recipes whose teacher is asked in batches, or by workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.artifacts import Manifest
from distill.harvest_stage import price_of
from distill.pipeline import run_pipeline
from distill.progress import Silent
from distill.recipe_file import LoadedRecipe, load_recipe
from distill.run import read_struct
from tests.batch_server import BatchFake
from traces.budget import Price
from traces.errors import UserError

RECIPE = """\
name: small
prompts:
  - {kind: task, task: largest-of-four, count: 6}
teacher: %s
student: {model: some/student}
evaluate:
  problems:
    - {kind: task, task: largest-of-four, count: 4}
"""
BATCHED = (
    "{kind: endpoint, base_url: '%s', model: m, licence: mit, batch: true, batch_poll_s: 0.05, "
    "price: {prompt: 1.0, completion: 10.0}}"
)


def recipe(folder: Path, teacher: str, *overrides: str) -> LoadedRecipe:
    path = folder / "r.yaml"
    path.write_text(RECIPE % teacher)
    return load_recipe(path, overrides=overrides)


def harvest(loaded: LoadedRecipe, folder: Path) -> Manifest:
    run_pipeline(loaded, folder / "run", upto="harvest", stopping=lambda: False, say=Silent())
    return read_struct(folder / "run/manifest.json", Manifest)


def test_a_recipe_harvests_in_batches_at_half_the_price(tmp_path: Path) -> None:
    with BatchFake(polls=2) as fake:
        loaded = recipe(tmp_path, BATCHED % fake.url, "harvest.samples=2")
        assert price_of(loaded.recipe.teacher) == Price(500_000, 5_000_000)
        counts = harvest(loaded, tmp_path).stages["harvest"].counts
    assert (counts["asked"], counts["failed"], len(fake.batches)) == (12, 0, 1)
    assert counts["cost_micro_usd"] == 12 * 14  # 7 prompt and 2 completion tokens, rounded up
    assert (tmp_path / "run/harvest/traces.batches.json").exists()


def test_workers_are_for_engines_and_keep_no_caps(tmp_path: Path) -> None:
    with BatchFake() as fake:
        loaded = recipe(tmp_path, BATCHED % fake.url, "harvest.workers={count: 2}")
        with pytest.raises(UserError, match="a teacher of kind 'endpoint' has no engine"):
            harvest(loaded, tmp_path)
