from __future__ import annotations

from pathlib import Path

import pytest

from distill.measuring import measure_rank, measure_run, slurm
from tests.tiny_recipe import run, tiny_recipe
from traces.curate import measure_store
from traces.errors import UserError


def test_curation_takes_what_was_measured_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, root = tiny_recipe(tmp_path, Path("some/student"), count=4), tmp_path / "run"
    run(loaded, root, upto="prompts")
    with pytest.raises(UserError, match="its harvest is not finished"):
        measure_run(root, workers=1, ray=False)
    run(loaded, root, upto="harvest")
    assert measure_run(root, workers=1, ray=False) == (1, 1)
    assert measure_run(root, workers=1, ray=False) == (0, 1)
    measure_rank(root, 1, 2)  # finds nothing to do
    monkeypatch.setattr(measure_store, "_measured", None)
    run(loaded, root, upto="curate")
    assert not (root / "annotate/parts").exists()


def test_the_job_array_measures_and_says_what_goes_on(tmp_path: Path) -> None:
    root = tmp_path / "run"
    run(tiny_recipe(tmp_path, Path("some/student"), count=4), root, upto="harvest")
    script = slurm(root, 4)
    assert f'distill traces measure {root} --rank "$SLURM_ARRAY_TASK_ID" --world 4\n' in script
    assert script.endswith("`distill curate` of the recipe goes on from there")
