"""An ablation on a random two-layer Llama, with a solver as its teacher."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tiny_recipe import tiny_recipe


def test_arms_train_on_equal_tokens_and_are_compared_pairwise(
    tiny_model: Path, tmp_path: Path, distill: Callable[..., Any]
) -> None:
    recipe = tiny_recipe(tmp_path, tiny_model).path
    root = tmp_path / "runs"
    command = ["ablate", recipe, "--arms", "none,dedup", "--steps", "1"]
    command += ["--run-dir", root, "--quiet"]
    code, out, err = distill(*command)
    assert (code, err) == (0, "")
    found = json.loads(out.splitlines()[-1])
    assert found["problems"] == 4
    first, second = found["arms"]
    assert (first["name"], second["name"]) == ("none", "dedup")
    assert first["budget"] == second["budget"] == min(first["available"], second["available"])
    assert first["difference"]["value"] == 0
    for arm in (first, second):
        trained = json.loads((root / arm["name"] / "train/report.json").read_text())
        assert arm["trained_tokens"] == trained["trained_tokens"] > 0
    assert second["difference"]["low"] <= second["difference"]["value"]
    assert json.loads((root / "ablation.json").read_text()) == found
    manifest = json.loads((root / "dedup/manifest.json").read_text())
    before = manifest["stages"]["train"]["finished"]
    assert json.loads(distill(*command).out.splitlines()[-1]) == found
    again = json.loads((root / "dedup/manifest.json").read_text())
    assert again["stages"]["train"]["finished"] == before
