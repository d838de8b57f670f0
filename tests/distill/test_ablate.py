"""Where an ablation does not begin; `tests/cli/test_ablate.py` runs one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill.ablate import Ablation, ablate
from distill.progress import Silent
from tests.tiny_recipe import tiny_recipe
from traces.errors import Interrupted, UserError


def go(recipe: Path, root: Path, arms: list[str], **options: Any) -> Ablation:
    settings = {"steps": 1, "overrides": (), "stopping": lambda: False, "say": Silent()}
    return ablate(str(recipe), root, arms=arms, **{**settings, **options})


def test_an_unknown_arm_is_named_and_nothing_is_written(tmp_path: Path, tiny_model: Path) -> None:
    recipe = tiny_recipe(tmp_path, tiny_model).path
    for arms in (["none", "best"], ["none"], ["none", "none"]):
        with pytest.raises(UserError, match="arms"):
            go(recipe, tmp_path / "runs", arms)
    assert not (tmp_path / "runs").exists()


def test_a_stop_is_heard(tmp_path: Path, tiny_model: Path) -> None:
    recipe = tiny_recipe(tmp_path, tiny_model).path
    with pytest.raises(Interrupted):
        go(recipe, tmp_path / "runs", ["none", "strict"], stopping=lambda: True)
